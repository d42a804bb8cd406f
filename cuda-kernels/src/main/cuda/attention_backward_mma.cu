// Attention over sequences laid end to end, backward, for bf16 and f16 on tensor cores (org.llmcore.op.Attention; Dao 2023,
// arXiv:2307.08691), in two passes instead of one that adds dQ atomically: 14·D FLOPs per visible pair and head instead of 10·D buy the
// same bits in every run.
//
// | kernel                             | block                                             | shared memory | FLOPs | moved per block                     |
// |------------------------------------|---------------------------------------------------|---------------|-------|-------------------------------------|
// | llm_attention_backward_stats       | 16 lanes per (row, head)                          | 0             | 2·D   | do and o once, 8 bytes written      |
// | llm_attention_backward_q_mma_d*    | 4 warps, 64 queries of a head, 16 a warp          | 32 or 64 KiB  | 6·D   | q, do, dq once, K and V to the diagonal |
// | llm_attention_backward_kv_mma_d*   | 4 warps, 64 keys of a key/value head, 16 a warp   | 32.5 or 64.5  | 8·D   | k, v, dk, dv once; q, do of the group's heads |
//
// P = exp2(S·scale·log2 e - lse·log2 e) is recomputed. The pass over queries has S = Q·Kᵀ and dP = dO·Vᵀ; the pass over keys has their transposes
// K·Qᵀ and V·dOᵀ, so that P and dS are left operands of the next product where they stand and nothing of them passes through shared
// memory. The other side comes in tiles of 32 rows, two stages, one barrier a tile. A sum is made by one warp, over ascending heads of the
// group and ascending tiles of the row's own sequence: no atomics. Longest tiles first. P and dS are rounded to the operands' dtype.
#include "attention.cuh"

static constexpr int OWN = 64, OTHER = 32;   // rows of a block, rows of a passing tile

// {lse · log2 e, do·o} of every row and head, head by head, so that a tile's lie together.
extern "C" __global__ void __launch_bounds__(256)
llm_attention_backward_stats(float2* stats, const void* dout, const void* o, int dtype, const float* lse, int rows, int heads, int width) {
  const long long n = (long long)rows * heads;
  const int lane = threadIdx.x & 15;
  for (long long first = (long long)blockIdx.x * 16; first < n; first += (long long)gridDim.x * 16) {
    const long long i = first + threadIdx.x / 16;
    float s = 0.0f;
    if (i < n && lane * 8 < width) {
      float a[8], b[8];
      load8(dtype, a, dout, i * width + lane * 8), load8(dtype, b, o, i * width + lane * 8);
#pragma unroll
      for (int j = 0; j < 8; j++) s = fmaf(a[j], b[j], s);
    }
#pragma unroll
    for (int m = 8; m; m >>= 1) s += __shfl_xor_sync(0xffffffffu, s, m);
    if (i < n && lane == 0) stats[i % heads * rows + i / heads] = make_float2(lse[i] * LOG2E, s);
  }
}

// p = exp2(s·c2 - x) where seen, 0 elsewhere; ds = p·(dp - y). s becomes p and dp becomes ds.
__device__ __forceinline__ void differentiate(float& s, float& dp, float c2, float2 stat, bool seen) {
  s = seen ? exp2f(fmaf(s, c2, -stat.x)) : 0.0f;
  dp = seen ? s * (dp - stat.y) : 0.0f;
}

// acc += a·b where a is 16 x 32 in registers, b 32 rows of a tile.
template <int D, class E> __device__ __forceinline__ void accumulate(float (&acc)[D / 8][4], const float (&a)[OTHER / 8][4], const E* b) {
#pragma unroll
  for (int kk = 0; kk < OTHER / 16; kk++) {
    uint32_t f[4];
    as_left<E>(f, a[2 * kk], a[2 * kk + 1]);
#pragma unroll
    for (int j = 0; j < D / 16; j++) {
      uint32_t b0[2], b1[2];
      right_t<D>(b0, b1, b, kk * 16, j * 2);
      mma<E>(acc[2 * j], f, b0), mma<E>(acc[2 * j + 1], f, b1);
    }
  }
}
// s = 16 rows at a against the 32 rows of b.
template <int D, class E> __device__ __forceinline__ void products(float (&s)[OTHER / 8][4], const uint32_t (&a)[4], const E* b, int kk) {
#pragma unroll
  for (int j = 0; j < OTHER / 16; j++) {
    uint32_t b0[2], b1[2];
    right<D>(b0, b1, b, j * 16, kk * 2);
    mma<E>(s[2 * j], a, b0), mma<E>(s[2 * j + 1], a, b1);
  }
}
template <int N> __device__ __forceinline__ void clear(float (&a)[N][4]) {
#pragma unroll
  for (int j = 0; j < N; j++)
#pragma unroll
    for (int e = 0; e < 4; e++) a[j][e] = 0.0f;
}

template <class E, int D>
__device__ __forceinline__ void backward_q(E* dq, int add, const E* dout, const float2* stats, const E* q, const E* k, const E* v, const int* starts, int sequences,
                                           int heads, int groups, int width, float scale, int causal) {
  DYN_SHARED(raw);
  E *sq = reinterpret_cast<E*>(raw), *sg = sq + OWN * D, *stage = sg + OWN * D;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t2 = (lane & 3) * 2;
  const Place p = place(starts, sequences, gridDim.x - 1 - blockIdx.x, OWN, 1);
  if (p.sequence == sequences) return;
  const int h = blockIdx.y, rows = p.to - p.from, row0 = p.first + warp * 16;
  const long long ldq = (long long)heads * width, ldk = (long long)groups * width, mine = (p.from + p.first) * ldq + h * width;
  const long long theirs = p.from * ldk + h / (heads / groups) * width;
  const int keys = causal ? min(p.first + OWN, rows) : rows, tiles = (keys + OTHER - 1) / OTHER;
  const float c2 = scale * LOG2E;
  k += theirs, v += theirs;

  load_tile<D, OWN>(sq, q + mine, ldq, rows - p.first, width);
  load_tile<D, OWN>(sg, dout + mine, ldq, rows - p.first, width);
  load_tile<D, OTHER>(stage, k, ldk, rows, width);
  load_tile<D, OTHER>(stage + OTHER * D, v, ldk, rows, width);
  cp_async_commit();

  float2 stat[2];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const int row = row0 + g + 8 * r;
    stat[r] = row < rows ? stats[(long long)h * starts[sequences] + p.from + row] : make_float2(INFINITY, 0.0f);
  }
  float acc[D / 8][4];
  clear(acc);
  for (int t = 0; t < tiles; t++) {
    const int u0 = t * OTHER;
    const E *sk = stage + (t & 1) * 2 * OTHER * D, *sv = sk + OTHER * D;
    cp_async_wait<0>();
    __syncthreads();   // the tile is here, and nobody reads the other stage
    if (t + 1 < tiles) {
      E* next = stage + ((t + 1) & 1) * 2 * OTHER * D;
      load_tile<D, OTHER>(next, k + (u0 + OTHER) * ldk, ldk, rows - u0 - OTHER, width);
      load_tile<D, OTHER>(next + OTHER * D, v + (u0 + OTHER) * ldk, ldk, rows - u0 - OTHER, width);
    }
    cp_async_commit();
    if (row0 >= rows || (causal && u0 > row0 + 15)) continue;

    float s[OTHER / 8][4], dp[OTHER / 8][4];
    clear(s), clear(dp);
#pragma unroll
    for (int kk = 0; kk < D / 16; kk++) {
      uint32_t a[4];
      left<D>(a, sq, warp * 16, kk * 2);
      products<D>(s, a, sk, kk);
      left<D>(a, sg, warp * 16, kk * 2);
      products<D>(dp, a, sv, kk);
    }
#pragma unroll
    for (int j = 0; j < OTHER / 8; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const int u = u0 + j * 8 + t2 + (e & 1), row = row0 + g + (e >> 1) * 8;
        differentiate(s[j][e], dp[j][e], c2, stat[e >> 1], u < rows && (!causal || u <= row));
      }
    accumulate<D>(acc, dp, sk);
  }
  save_product<D>(dq + mine + warp * 16 * ldq, add, sq, warp * 16, acc, scale, ldq, rows - row0, width);
}

template <class E, int D>
__device__ __forceinline__ void backward_kv(E* dk, int dkadd, E* dv, int dvadd, const E* dout, const float2* stats, const E* q, const E* k, const E* v, const int* starts,
                                            int sequences, int heads, int groups, int width, float scale, int causal) {
  DYN_SHARED(raw);
  E *sk = reinterpret_cast<E*>(raw), *sv = sk + OWN * D, *stage = sv + OWN * D;
  float2* sstat = reinterpret_cast<float2*>(stage + 4 * OTHER * D);   // [2][OTHER]
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t2 = (lane & 3) * 2;
  const Place p = place(starts, sequences, blockIdx.x, OWN, 1);
  if (p.sequence == sequences) return;
  const int share = heads / groups, rows = p.to - p.from, key0 = p.first + warp * 16;
  const long long ldq = (long long)heads * width, ldk = (long long)groups * width, mine = (p.from + p.first) * ldk + blockIdx.y * width;
  const int first = causal ? p.first : 0, tiles = (rows - first + OTHER - 1) / OTHER, steps = tiles * share, all = starts[sequences];
  const float c2 = scale * LOG2E;

  // Queries of step i, into its stage; and the numbers of one of them, for a thread of the first warp.
  auto fetch = [&](int i) {
    const int t0 = first + i % tiles * OTHER;
    const long long theirs = (p.from + t0) * ldq + (blockIdx.y * share + i / tiles) * width;
    E* to = stage + (i & 1) * 2 * OTHER * D;
    load_tile<D, OTHER>(to, q + theirs, ldq, rows - t0, width);
    load_tile<D, OTHER>(to + OTHER * D, dout + theirs, ldq, rows - t0, width);
  };
  auto stat = [&](int i) {
    const int t = first + i % tiles * OTHER + lane;
    return t < rows ? stats[(long long)(blockIdx.y * share + i / tiles) * all + p.from + t] : make_float2(INFINITY, 0.0f);
  };
  load_tile<D, OWN>(sk, k + mine, ldk, rows - p.first, width);
  load_tile<D, OWN>(sv, v + mine, ldk, rows - p.first, width);
  fetch(0);
  cp_async_commit();
  float2 next = make_float2(0.0f, 0.0f);
  if (warp == 0) next = stat(0);

  float ak[D / 8][4], av[D / 8][4];
  clear(ak), clear(av);
  for (int i = 0; i < steps; i++) {
    const int t0 = first + i % tiles * OTHER;
    const E *sq = stage + (i & 1) * 2 * OTHER * D, *sg = sq + OTHER * D;
    const float2* st = sstat + (i & 1) * OTHER;
    if (warp == 0) sstat[(i & 1) * OTHER + lane] = next;
    cp_async_wait<0>();
    __syncthreads();   // the tile and its numbers are here, and nobody reads the other stage
    if (i + 1 < steps) {
      fetch(i + 1);
      if (warp == 0) next = stat(i + 1);
    }
    cp_async_commit();
    if (key0 >= rows || (causal && t0 + OTHER - 1 < key0)) continue;

    float s[OTHER / 8][4], dp[OTHER / 8][4];
    clear(s), clear(dp);
#pragma unroll
    for (int kk = 0; kk < D / 16; kk++) {
      uint32_t a[4];
      left<D>(a, sk, warp * 16, kk * 2);
      products<D>(s, a, sq, kk);
      left<D>(a, sv, warp * 16, kk * 2);
      products<D>(dp, a, sg, kk);
    }
#pragma unroll
    for (int j = 0; j < OTHER / 8; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const int c = j * 8 + t2 + (e & 1), key = key0 + g + (e >> 1) * 8;   // queries past the end have p = exp2(-inf)
        differentiate(s[j][e], dp[j][e], c2, st[c], !causal || key <= t0 + c);
      }
    accumulate<D>(av, s, sg);
    accumulate<D>(ak, dp, sq);
  }
  if (dk) save_product<D>(dk + mine + warp * 16 * ldk, dkadd, sk, warp * 16, ak, scale, ldk, rows - key0, width);
  if (dv) save_product<D>(dv + mine + warp * 16 * ldk, dvadd, sv, warp * 16, av, 1.0f, ldk, rows - key0, width);
}

template <int D>
__device__ __forceinline__ void backward_q(void* dq, int add, const void* dout, const float2* stats, const void* q, int dtype, const void* k, const void* v, const int* starts,
                                           int sequences, int heads, int groups, int width, float scale, int causal) {
  if (dtype == BF16)
    backward_q<bf16, D>((bf16*)dq, add, (const bf16*)dout, stats, (const bf16*)q, (const bf16*)k, (const bf16*)v, starts, sequences, heads, groups, width, scale, causal);
  else backward_q<f16, D>((f16*)dq, add, (const f16*)dout, stats, (const f16*)q, (const f16*)k, (const f16*)v, starts, sequences, heads, groups, width, scale, causal);
}
template <int D>
__device__ __forceinline__ void backward_kv(void* dk, int dkadd, void* dv, int dvadd, const void* dout, const float2* stats, const void* q, int dtype, const void* k, const void* v,
                                            const int* starts, int sequences, int heads, int groups, int width, float scale, int causal) {
  if (dtype == BF16)
    backward_kv<bf16, D>((bf16*)dk, dkadd, (bf16*)dv, dvadd, (const bf16*)dout, stats, (const bf16*)q, (const bf16*)k, (const bf16*)v, starts, sequences, heads, groups, width, scale,
                         causal);
  else
    backward_kv<f16, D>((f16*)dk, dkadd, (f16*)dv, dvadd, (const f16*)dout, stats, (const f16*)q, (const f16*)k, (const f16*)v, starts, sequences, heads, groups, width, scale, causal);
}

// One dtype for do, q, k, v and the gradients. A null dk or dv is wanted by nobody.
extern "C" __global__ void __launch_bounds__(128)
llm_attention_backward_q_mma_d64(void* dq, int add, const void* dout, const float2* stats, const void* q, int dtype, const void* k, const void* v, const int* starts, int sequences,
                                 int heads, int groups, int width, float scale, int causal) {
  backward_q<64>(dq, add, dout, stats, q, dtype, k, v, starts, sequences, heads, groups, width, scale, causal);
}
extern "C" __global__ void __launch_bounds__(128)
llm_attention_backward_q_mma_d128(void* dq, int add, const void* dout, const float2* stats, const void* q, int dtype, const void* k, const void* v, const int* starts, int sequences,
                                  int heads, int groups, int width, float scale, int causal) {
  backward_q<128>(dq, add, dout, stats, q, dtype, k, v, starts, sequences, heads, groups, width, scale, causal);
}
extern "C" __global__ void __launch_bounds__(128)
llm_attention_backward_kv_mma_d64(void* dk, int dkadd, void* dv, int dvadd, const void* dout, const float2* stats, const void* q, int dtype, const void* k, const void* v,
                                  const int* starts, int sequences, int heads, int groups, int width, float scale, int causal) {
  backward_kv<64>(dk, dkadd, dv, dvadd, dout, stats, q, dtype, k, v, starts, sequences, heads, groups, width, scale, causal);
}
extern "C" __global__ void __launch_bounds__(128)
llm_attention_backward_kv_mma_d128(void* dk, int dkadd, void* dv, int dvadd, const void* dout, const float2* stats, const void* q, int dtype, const void* k, const void* v,
                                   const int* starts, int sequences, int heads, int groups, int width, float scale, int causal) {
  backward_kv<128>(dk, dkadd, dv, dvadd, dout, stats, q, dtype, k, v, starts, sequences, heads, groups, width, scale, causal);
}

EXPORT_KERNEL(llm_attention_backward_stats)
EXPORT_KERNEL(llm_attention_backward_q_mma_d64)
EXPORT_KERNEL(llm_attention_backward_q_mma_d128)
EXPORT_KERNEL(llm_attention_backward_kv_mma_d64)
EXPORT_KERNEL(llm_attention_backward_kv_mma_d128)
