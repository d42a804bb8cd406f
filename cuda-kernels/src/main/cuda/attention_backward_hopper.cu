// Attention over sequences laid end to end, backward, for bf16 heads of 64 or 128 columns on Hopper's asynchronous tensor cores
// (org.llmcore.op.Attention; Dao 2023, arXiv:2307.08691; Shah et al. 2024, arXiv:2407.08608). The twin in attention_backward_mma.cu takes every
// other width, dtype and GPU, and has the statistics (llm_attention_backward_stats) that both read.
//
// | kernel                              | block                               | shared memory (width 64, 128) | FLOPs | moved per block                         |
// |-------------------------------------|-------------------------------------|-------------------------------|-------|-----------------------------------------|
// | llm_attention_backward_q_hopper_d*  | 384 threads, 128 queries of a head  | 96 KiB, 192 KiB               | 6·D   | q, do, dq once, K and V to the diagonal |
// | llm_attention_backward_kv_hopper_d* | 384 threads, 128 keys of a k/v head | 100 KiB, 196 KiB              | 8·D   | k, v, dk, dv once; q, do of its heads   |
//
// FLOPs are those of a visible pair and head. Two passes and no atomics, so two runs give the same bits; longest blocks first. Warpgroups 1 and 2
// own 64 rows each. Warpgroup 0 fills a ring of 4 stages with tiles of 64 rows of the other side by bulk tensor copies; over keys its second warp
// also copies the queries' statistics, by plain loads, since a sequence may begin at an odd row.
//
// Keys:    Sᵀ = K·Qᵀ and dPᵀ = V·dOᵀ from shared memory, then dV += Pᵀ·dO and dK += dSᵀ·Q with P and dS as left operands in the registers where they
//          stand. exp2 of a tile runs under its own dPᵀ and under the other warpgroup's products. 192 registers of sums.
// Queries: S = Q·Kᵀ and dP = dO·Vᵀ with Q and dO as left operands in registers for the whole block, so that shared memory gives 64 bytes a cycle for
//          the right operand alone (a 64x64x16 product takes 32 cycles; with both operands there it would want all of its 128 bytes a cycle). dQ += dS·K is
//          waited for at the end of a tile: one tile behind, ptxas has too few registers and serialises all products.
//
// 4 sequences of 2048, 32 heads of 128, causal: 481 GFLOP, and 3 % on the diagonal for nothing. On an H100 353 µs (queries, tensor cores busy 64 % of
// the time) and 522 µs (keys, 56 %). exp2 takes 256 cycles of a tile's 1024 (keys) or 768 (queries) cycles of tensor cores, on another unit. A stage
// is 32 KiB for 8.4 MFLOP (keys).
//
// Rows past the end of a sequence belong to a neighbour: as a right operand they are overwritten by zeros, and P and dS are masked.
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#include "attention_hopper.cuh"

static constexpr int ROWS = 64, OWN = 2 * ROWS, STAGES = 4;

template <int D>
__device__ __forceinline__ void backward_q(bf16* dq, int add, const CUtensorMap& q, const CUtensorMap& dout, const CUtensorMap& k, const CUtensorMap& v,
                                           const float2* stats, const int* starts, int sequences, int heads, int groups, float scale, int causal) {
  DYN_SHARED(raw);   // q, do of both warpgroups, stages of k and v
  unsigned char* ring = raw + 4 * TILE<D, ROWS>;
  uint64_t *full = reinterpret_cast<uint64_t*>(ring + STAGES * 2 * TILE<D, ROWS>), *empty = full + STAGES, *own = empty + STAGES;
  const Place p = place(starts, sequences, gridDim.x - 1 - blockIdx.x, OWN, 1);
  if (p.sequence == sequences) return;
  const int h = blockIdx.y, rows = p.to - p.from, keys = causal ? min(p.first + OWN, rows) : rows, group = threadIdx.x / 128, tid = threadIdx.x % 128;
  if (threadIdx.x == 0) {
    for (int s = 0; s < STAGES; s++) mbar_init(full + s, 1), mbar_init(empty + s, 8);
    mbar_init(own, 1);
    mbar_fence_init();
  }
  __syncthreads();
  int stage = 0, phase = 0;
  if (group == 0) {
    reg_less<40>();
    if (tid == 0) {
      mbar_expect_tx(own, 4 * TILE<D, ROWS>);
#pragma unroll
      for (int w = 0; w < 2; w++) {
        fetch<D, ROWS>(raw + w * TILE<D, ROWS>, q, own, h, p.from + p.first + w * ROWS);
        fetch<D, ROWS>(raw + (2 + w) * TILE<D, ROWS>, dout, own, h, p.from + p.first + w * ROWS);
      }
      for (int u0 = 0; u0 < keys; u0 += ROWS) {
        unsigned char* s = ring + stage * 2 * TILE<D, ROWS>;
        mbar_wait(empty + stage, phase ^ 1);   // the first round passes at once
        mbar_expect_tx(full + stage, 2 * TILE<D, ROWS>);
        fetch<D, ROWS>(s, k, full + stage, h / (heads / groups), p.from + u0);
        fetch<D, ROWS>(s + TILE<D, ROWS>, v, full + stage, h / (heads / groups), p.from + u0);
        if (++stage == STAGES) stage = 0, phase ^= 1;
      }
    }
  } else {
    reg_more<232>();
    const int lane = tid & 31, warp = tid >> 5, t2 = (lane & 3) * 2, row0 = p.first + (group - 1) * ROWS, row = row0 + warp * 16 + (lane >> 2);
    const int seen = row0 >= rows ? 0 : causal ? min(row0 + ROWS, keys) : keys;   // keys of this warpgroup
    const float c2 = scale * LOG2E;
    unsigned char* mine = raw + (group - 1) * TILE<D, ROWS>;
    float2 stat[2];
#pragma unroll
    for (int r = 0; r < 2; r++)
      stat[r] = row + 8 * r < rows ? stats[(long long)h * starts[sequences] + p.from + row + 8 * r] : make_float2(INFINITY, 0.0f);
    uint32_t fq[D / 16][4], fg[D / 16][4], f[4][4];
    mbar_wait(own, 0);
#pragma unroll
    for (int kk = 0; kk < D / 16; kk++) {
      const int panel = kk / 4 * PANEL<ROWS>;
      left<64>(fq[kk], reinterpret_cast<const bf16*>(mine + panel), warp * 16, kk % 4 * 2);
      left<64>(fg[kk], reinterpret_cast<const bf16*>(mine + 2 * TILE<D, ROWS> + panel), warp * 16, kk % 4 * 2);
    }
    float acc[D / 2], s[32], dp[32];
    clear(acc);
    wgmma_hold(acc), wgmma_hold(fq), wgmma_hold(fg);
    for (int u0 = 0; u0 < keys; u0 += ROWS) {
      const int valid = rows - u0;
      unsigned char *sk = ring + stage * 2 * TILE<D, ROWS>, *sv = sk + TILE<D, ROWS>;
      mbar_wait(full + stage, phase);
      if (valid < ROWS) blank<ROWS>(sk, D / 64, valid);
      if (u0 < seen) {
        wgmma_fence();
        products<D, ROWS>(s, fq, sk);
        wgmma_commit();
        products<D, ROWS>(dp, fg, sv);
        wgmma_commit();
        wgmma_wait<1>();
        wgmma_hold(s);
#pragma unroll
        for (int e = 0; e < 32; e++) s[e] = ex2(fmaf(s[e], c2, -stat[e / 2 % 2].x));
        wgmma_wait<0>();
        wgmma_hold(dp);
#pragma unroll
        for (int e = 0; e < 32; e++) s[e] *= dp[e] - stat[e / 2 % 2].y;
        if (valid < ROWS || (causal && u0 + ROWS > row0)) {
          const int last = (causal ? row - u0 : ROWS) - t2, to = valid - t2;   // columns of this thread's first row that are seen
#pragma unroll
          for (int e = 0; e < 32; e++)
            if (e / 4 * 8 + e % 2 > last + e / 2 % 2 * 8 || e / 4 * 8 + e % 2 >= to) s[e] = 0.0f;
        }
        as_left(f, s);
        wgmma_hold(f);
        wgmma_fence();
        accumulate<D, ROWS>(acc, f, sk);
        wgmma_commit();
        wgmma_wait<0>();
        wgmma_hold(acc);
      }
      if (lane == 0) mbar_arrive(empty + stage);
      if (++stage == STAGES) stage = 0, phase ^= 1;
    }
    bar_sync(1 + group, 128);   // the other warps have read their rows of the tile that becomes a patch
    const long long stride = (long long)heads * D;
    save<D>(dq + (p.from + row0 + warp * 16) * stride + h * D, add, mine, acc, scale, stride, rows - row0 - warp * 16);
  }
}

template <int D>
__device__ __forceinline__ void backward_kv(bf16* dk, int dkadd, bf16* dv, int dvadd, const CUtensorMap& q, const CUtensorMap& dout, const CUtensorMap& k,
                                            const CUtensorMap& v, const float2* stats, const int* starts, int sequences, int heads, int groups, float scale,
                                            int causal) {
  constexpr int STAGE = 2 * TILE<D, ROWS> + 1024;
  DYN_SHARED(raw);   // k, v of both warpgroups, stages of q, do and the statistics [2][ROWS]
  unsigned char* ring = raw + 4 * TILE<D, ROWS>;
  uint64_t *full = reinterpret_cast<uint64_t*>(ring + STAGES * STAGE), *empty = full + STAGES, *own = empty + STAGES;
  const Place p = place(starts, sequences, blockIdx.x, OWN, 1);
  if (p.sequence == sequences) return;
  const int share = heads / groups, rows = p.to - p.from, first = causal ? p.first : 0, group = threadIdx.x / 128, tid = threadIdx.x % 128;
  if (threadIdx.x == 0) {
    for (int s = 0; s < STAGES; s++) mbar_init(full + s, 33), mbar_init(empty + s, 8);   // the copies, and every lane that writes statistics
    mbar_init(own, 1);
    mbar_fence_init();
  }
  __syncthreads();
  int stage = 0, phase = 0;
  if (group == 0) {
    reg_less<40>();
    if (tid == 0) {
      mbar_expect_tx(own, 4 * TILE<D, ROWS>);
#pragma unroll
      for (int w = 0; w < 2; w++) {
        fetch<D, ROWS>(raw + w * TILE<D, ROWS>, k, own, blockIdx.y, p.from + p.first + w * ROWS);
        fetch<D, ROWS>(raw + (2 + w) * TILE<D, ROWS>, v, own, blockIdx.y, p.from + p.first + w * ROWS);
      }
      for (int h = blockIdx.y * share; h < (blockIdx.y + 1) * share; h++)
        for (int t0 = first; t0 < rows; t0 += ROWS) {
          unsigned char* s = ring + stage * STAGE;
          mbar_wait(empty + stage, phase ^ 1);   // the first round passes at once
          mbar_expect_tx(full + stage, 2 * TILE<D, ROWS>);
          fetch<D, ROWS>(s, q, full + stage, h, p.from + t0);
          fetch<D, ROWS>(s + TILE<D, ROWS>, dout, full + stage, h, p.from + t0);
          if (++stage == STAGES) stage = 0, phase ^= 1;
        }
    } else if (tid / 32 == 1) {
      const float2* from = stats + (long long)blockIdx.y * share * starts[sequences] + p.from;
      for (int h = 0; h < share; h++, from += starts[sequences])
        for (int t0 = first; t0 < rows; t0 += ROWS) {
          float* lse = reinterpret_cast<float*>(ring + stage * STAGE + 2 * TILE<D, ROWS>);
          mbar_wait(empty + stage, phase ^ 1);
#pragma unroll
          for (int c = tid % 32; c < ROWS; c += 32) {
            const float2 x = t0 + c < rows ? from[t0 + c] : make_float2(INFINITY, 0.0f);
            lse[c] = x.x, lse[ROWS + c] = x.y;
          }
          mbar_arrive(full + stage);
          if (++stage == STAGES) stage = 0, phase ^= 1;
        }
    }
  } else {
    reg_more<232>();
    const int lane = tid & 31, warp = tid >> 5, t2 = (lane & 3) * 2, key0 = p.first + (group - 1) * ROWS, key = key0 + warp * 16 + (lane >> 2);
    const float c2 = scale * LOG2E;
    unsigned char* mine = raw + (group - 1) * TILE<D, ROWS>;
    float ak[D / 2], av[D / 2];
    clear(ak), clear(av);
    wgmma_hold(ak), wgmma_hold(av);
    mbar_wait(own, 0);
    const int steps = (rows - first + ROWS - 1) / ROWS * share;   // heads and their tiles in one loop: two take a register too many
    for (int i = 0, t0 = first; i < steps; i++, t0 = t0 + ROWS < rows ? t0 + ROWS : first) {
      const int valid = rows - t0;
      unsigned char *sq = ring + stage * STAGE, *sg = sq + TILE<D, ROWS>;
      const float *lse = reinterpret_cast<const float*>(sg + TILE<D, ROWS>) + t2, *dot = lse + ROWS;
      mbar_wait(full + stage, phase);
      if (valid < ROWS) blank<ROWS>(sq, 2 * D / 64, valid);
      if (key0 < rows && (!causal || t0 >= key0)) {   // tiles of both sides begin at multiples of 64
        float s[32], dp[32];
        uint32_t fp[4][4], fs[4][4];
        wgmma_fence();
        products<D, ROWS>(s, mine, sq);
        wgmma_commit();
        products<D, ROWS>(dp, mine + 2 * TILE<D, ROWS>, sg);
        wgmma_commit();
        wgmma_wait<1>();
        wgmma_hold(s);
#pragma unroll
        for (int e = 0; e < 32; e++) s[e] = ex2(fmaf(s[e], c2, -lse[e / 4 * 8 + e % 2]));
        if (valid < ROWS || (causal && t0 < key0 + ROWS)) {
          const int from = causal ? key - t0 - t2 : -ROWS, to = valid - t2;   // columns of this thread's first row that are seen
#pragma unroll
          for (int e = 0; e < 32; e++)
            if (e / 4 * 8 + e % 2 < from + e / 2 % 2 * 8 || e / 4 * 8 + e % 2 >= to) s[e] = 0.0f;
        }
        as_left(fp, s);
        wgmma_hold(fp);
        wgmma_fence();
        accumulate<D, ROWS>(av, fp, sg);
        wgmma_commit();
        wgmma_wait<1>();
        wgmma_hold(dp);
#pragma unroll
        for (int e = 0; e < 32; e++) s[e] *= dp[e] - dot[e / 4 * 8 + e % 2];
        as_left(fs, s);
        wgmma_hold(fs);
        wgmma_fence();
        accumulate<D, ROWS>(ak, fs, sq);
        wgmma_commit();
        wgmma_wait<0>();
        wgmma_hold(av), wgmma_hold(ak);
      }
      if (lane == 0) mbar_arrive(empty + stage);
      if (++stage == STAGES) stage = 0, phase ^= 1;
    }
    bar_sync(1 + group, 128);   // the other warps have read the tile that becomes a patch
    const long long stride = (long long)groups * D, at = (p.from + key0 + warp * 16) * stride + blockIdx.y * D;
    if (dk) save<D>(dk + at, dkadd, mine, ak, scale, stride, rows - key0 - warp * 16);
    if (dv) save<D>(dv + at, dvadd, mine, av, 1.0f, stride, rows - key0 - warp * 16);
  }
}

#define MAPS \
  const __grid_constant__ CUtensorMap q, const __grid_constant__ CUtensorMap dout, const __grid_constant__ CUtensorMap k, const __grid_constant__ CUtensorMap v
#define SIZES const float2 *stats, const int *starts, int sequences, int heads, int groups, float scale, int causal

// The maps are of matrices (rows, heads·width), in boxes of 64 by 64. A null dk or dv is wanted by nobody.
extern "C" __global__ void __launch_bounds__(384, 1)
llm_attention_backward_q_hopper_d64(bf16* dq, int add, MAPS, SIZES) {
  backward_q<64>(dq, add, q, dout, k, v, stats, starts, sequences, heads, groups, scale, causal);
}
extern "C" __global__ void __launch_bounds__(384, 1)
llm_attention_backward_q_hopper_d128(bf16* dq, int add, MAPS, SIZES) {
  backward_q<128>(dq, add, q, dout, k, v, stats, starts, sequences, heads, groups, scale, causal);
}
extern "C" __global__ void __launch_bounds__(384, 1)
llm_attention_backward_kv_hopper_d64(bf16* dk, int dkadd, bf16* dv, int dvadd, MAPS, SIZES) {
  backward_kv<64>(dk, dkadd, dv, dvadd, q, dout, k, v, stats, starts, sequences, heads, groups, scale, causal);
}
extern "C" __global__ void __launch_bounds__(384, 1)
llm_attention_backward_kv_hopper_d128(bf16* dk, int dkadd, bf16* dv, int dvadd, MAPS, SIZES) {
  backward_kv<128>(dk, dkadd, dv, dvadd, q, dout, k, v, stats, starts, sequences, heads, groups, scale, causal);
}

EXPORT_KERNEL(llm_attention_backward_q_hopper_d64)
EXPORT_KERNEL(llm_attention_backward_q_hopper_d128)
EXPORT_KERNEL(llm_attention_backward_kv_hopper_d64)
EXPORT_KERNEL(llm_attention_backward_kv_hopper_d128)
#endif
