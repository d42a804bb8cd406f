// Attention over sequences laid end to end, forward, for bf16 heads of 64 or 128 columns on Hopper's asynchronous tensor cores
// (org.llmcore.op.Attention; Shah et al. 2024, arXiv:2407.08608). The twin in attention_mma.cu takes every other width, dtype and GPU.
//
// | kernel                           | block                              | shared memory (width 64, 128) | moved per block                       |
// |----------------------------------|------------------------------------|-------------------------------|---------------------------------------|
// | llm_attention_forward_hopper_d*  | 384 threads, 128 queries of a head | 112 KiB, 224 KiB              | Q and O once, K and V to the diagonal |
//
// 4·D FLOPs per visible pair and head; the tiles of the diagonal are computed whole. Warpgroups 1 and 2 own 64 queries each. Warpgroup 0 fills a ring of
// 6 tiles of 128 keys by bulk tensor copies, in the order in which they are read: K0, K1, V0, K2, V1, …, the last V. While the scores of a tile pass
// through the softmax, P·V of the tile before runs, and S = Q·Kᵀ of this one ran under it: 64 registers of scores, 64 of sums, 32 of P.
//
// 4 sequences of 2048, 32 heads of 128, causal: 137 GFLOP, 146 with the diagonal; 283 µs on an H100, tensor cores busy 54 % of the time. exp2 of a tile takes
// 512 cycles beside the 1024 of its products, and shared memory is asked for 62 % of what it gives, 87 % with the copies. Softmax in base 2 with the scale
// folded in, statistics in f32, P rounded to bf16 for P·V while its sum is not, as in the twin; the same order of keys, so a row's bits depend on
// nothing but its sequence. Rows past the end of a sequence belong to a neighbour: V's are overwritten by zeros, scores are masked.
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#include "attention_hopper.cuh"

static constexpr int ROWS = 128, SLOTS = 6;

// Scores become exp2(s·c2 - top·c2), `top` the largest so far, `sum` theirs of this thread's columns; `fade` is what all before shrinks by.
__device__ __forceinline__ void soften(float (&s)[64], float (&top)[2], float (&sum)[2], float (&fade)[2], float c2) {
#pragma unroll
  for (int r = 0; r < 2; r++) {
    float n = top[r];   // every row sees key 0, so n is a number from the first tile on
#pragma unroll
    for (int e = 2 * r; e < 64; e += 4) n = fmaxf(n, fmaxf(s[e], s[e + 1]));
    n = fmaxf(n, __shfl_xor_sync(0xffffffffu, n, 1));
    n = fmaxf(n, __shfl_xor_sync(0xffffffffu, n, 2));
    const float base = n * c2;
    fade[r] = ex2(fmaf(top[r], c2, -base));
    float l = 0.0f;
#pragma unroll
    for (int e = 2 * r; e < 64; e += 4) s[e] = ex2(fmaf(s[e], c2, -base)), s[e + 1] = ex2(fmaf(s[e + 1], c2, -base)), l += s[e] + s[e + 1];
    sum[r] = fmaf(sum[r], fade[r], l);
    top[r] = n;
  }
}

template <int D>
__device__ __forceinline__ void attend(bf16* o, float* lse, const CUtensorMap& q, const CUtensorMap& k, const CUtensorMap& v, const int* starts, int sequences,
                                       int heads, int groups, float scale, int causal) {
  DYN_SHARED(raw);   // q, slots of k and v
  unsigned char* ring = raw + TILE<D, ROWS>;
  uint64_t *full = reinterpret_cast<uint64_t*>(ring + SLOTS * TILE<D, ROWS>), *empty = full + SLOTS, *own = empty + SLOTS;
  const Place p = place(starts, sequences, gridDim.x - 1 - blockIdx.x, ROWS, 1);
  if (p.sequence == sequences) return;
  const int h = blockIdx.y, rows = p.to - p.from, keys = causal ? min(p.first + ROWS, rows) : rows, group = threadIdx.x / 128, tid = threadIdx.x % 128;
  if (threadIdx.x == 0) {
    for (int s = 0; s < SLOTS; s++) mbar_init(full + s, 1), mbar_init(empty + s, 8);
    mbar_init(own, 1);
    mbar_fence_init();
  }
  __syncthreads();
  int slot = 0, phase = 0;
  if (group == 0) {
    reg_less<40>();
    if (tid == 0) {
      mbar_expect_tx(own, TILE<D, ROWS>);
      fetch<D, ROWS>(raw, q, own, h, p.from + p.first);
      for (int u0 = 0; u0 < keys + ROWS; u0 += ROWS)
#pragma unroll
        for (int value = 0; value < 2; value++) {   // keys of this tile, values of the one before
          if (value ? u0 == 0 : u0 >= keys) continue;
          mbar_wait(empty + slot, phase ^ 1);   // the first round passes at once
          mbar_expect_tx(full + slot, TILE<D, ROWS>);
          fetch<D, ROWS>(ring + slot * TILE<D, ROWS>, value ? v : k, full + slot, h / (heads / groups), p.from + u0 - value * ROWS);
          if (++slot == SLOTS) slot = 0, phase ^= 1;
        }
    }
  } else {
    reg_more<232>();
    const int lane = tid & 31, warp = tid >> 5, t2 = (lane & 3) * 2, row0 = p.first + (group - 1) * 64 + warp * 16, row = row0 + (lane >> 2);
    const float c2 = scale * LOG2E;
    const unsigned char* mine = raw + (group - 1) * 64 * 128;
    float acc[D / 2], s[64], top[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f}, fade[2];
    uint32_t f[8][4];
    clear(acc);
    wgmma_hold(acc);
    mbar_wait(own, 0);
    // The slot of the next tile, which is there when this returns.
    auto arrived = [&] {
      const int now = slot;
      mbar_wait(full + slot, phase);
      if (++slot == SLOTS) slot = 0, phase ^= 1;
      return now;
    };
    // Scores of the tile at u0, which are done, to P.
    auto weigh = [&](int u0) {
      if (u0 + ROWS > rows || (causal && u0 + ROWS > row0)) {
        const int last = (causal ? row - u0 : ROWS) - t2, to = rows - u0 - t2;   // columns of this thread's first row that are seen
#pragma unroll
        for (int e = 0; e < 64; e++)
          if (e / 4 * 8 + e % 2 > last + e / 2 % 2 * 8 || e / 4 * 8 + e % 2 >= to) s[e] = -INFINITY;
      }
      soften(s, top, sum, fade, c2);
    };
    int of_k = arrived();
    wgmma_fence();
    products<D, ROWS>(s, mine, ring + of_k * TILE<D, ROWS>);
    wgmma_commit();
    wgmma_wait<0>();
    wgmma_hold(s);
    if (lane == 0) mbar_arrive(empty + of_k);
    weigh(0);
    as_left(f, s);
    wgmma_hold(f);
    for (int u0 = ROWS; u0 < keys; u0 += ROWS) {
      of_k = arrived();
      wgmma_fence();
      products<D, ROWS>(s, mine, ring + of_k * TILE<D, ROWS>);
      wgmma_commit();
      const int of_v = arrived();
      wgmma_fence();
      accumulate<D, ROWS>(acc, f, ring + of_v * TILE<D, ROWS>);
      wgmma_commit();
      wgmma_wait<1>();
      wgmma_hold(s);
      if (lane == 0) mbar_arrive(empty + of_k);
      weigh(u0);
      wgmma_wait<0>();   // P·V of the tile before
      wgmma_hold(acc);
      if (lane == 0) mbar_arrive(empty + of_v);
#pragma unroll
      for (int e = 0; e < D / 2; e++) acc[e] *= fade[e / 2 % 2];
      as_left(f, s);
      wgmma_hold(f), wgmma_hold(acc);
    }
    const int valid = rows - (keys - 1) / ROWS * ROWS;   // of the last tile
    unsigned char* sv = ring + arrived() * TILE<D, ROWS>;
    if (valid < ROWS) blank<ROWS>(sv, D / 64, valid);
    wgmma_fence();
    accumulate<D, ROWS>(acc, f, sv);
    wgmma_commit();
    wgmma_wait<0>();
    wgmma_hold(acc);
    bar_sync(1, CONSUMERS);   // nobody reads the queries any more: they become patches
#pragma unroll
    for (int r = 0; r < 2; r++) {
      sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 1);
      sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 2);
      if (row + 8 * r < rows && t2 == 0) lse[(long long)(p.from + row + 8 * r) * heads + h] = fmaf(top[r], scale, logf(sum[r]));
      sum[r] = 1.0f / sum[r];
    }
#pragma unroll
    for (int e = 0; e < D / 2; e++) acc[e] *= sum[e / 2 % 2];
    const long long stride = (long long)heads * D;
    save<D>(o + (p.from + row0) * stride + h * D, 0, raw + (group - 1) * TILE<D, 64>, acc, 1.0f, stride, rows - row0);
  }
}

#define PARAMETERS                                                                                                                                    \
  bf16 *o, float *lse, const __grid_constant__ CUtensorMap q, const __grid_constant__ CUtensorMap k, const __grid_constant__ CUtensorMap v, const int *starts, \
      int sequences, int heads, int groups, float scale, int causal

// The maps are of matrices (rows, heads·width), in boxes of 64 columns by 128 rows.
extern "C" __global__ void __launch_bounds__(384, 1)
llm_attention_forward_hopper_d64(PARAMETERS) {
  attend<64>(o, lse, q, k, v, starts, sequences, heads, groups, scale, causal);
}
extern "C" __global__ void __launch_bounds__(384, 1)
llm_attention_forward_hopper_d128(PARAMETERS) {
  attend<128>(o, lse, q, k, v, starts, sequences, heads, groups, scale, causal);
}

EXPORT_KERNEL(llm_attention_forward_hopper_d64)
EXPORT_KERNEL(llm_attention_forward_hopper_d128)
#endif
