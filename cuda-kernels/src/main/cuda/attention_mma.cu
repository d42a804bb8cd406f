// Attention over sequences laid end to end, forward, for bf16 and f16 on tensor cores (org.llmcore.op.Attention; Dao 2023,
// arXiv:2307.08691). Head widths that are multiples of 8 up to 128: the tile is 64 or 128 wide, zeros past the width.
//
// | kernel                          | block                                      | shared memory | moved per block                  |
// |---------------------------------|--------------------------------------------|---------------|----------------------------------|
// | llm_attention_forward_mma_d64   | 4 warps, 128 queries of a head, 32 a warp  | 32 KiB        | Q and O once, K and V up to the  |
// | llm_attention_forward_mma_d128  | the same                                   | 64 KiB        | diagonal: K, V from L2 T/128 times |
//
// 4·D FLOPs per visible pair and head; tiles of the diagonal are computed whole, except the stretches of a warp without a visible key.
// A warp holds 32 queries, so a fragment of K or V feeds two products: 0.63 of the tensor cores' time goes to reading shared memory, where
// 16 queries a warp would need 1.0. K and V pass in tiles of 64 through one buffer each: V arrives under Q·Kᵀ and the softmax, the next K
// under P·V, and two blocks share a multiprocessor. Scores stay in registers; softmax in base 2 with the scale folded in, statistics in f32;
// P is rounded to the operands' dtype for P·V while its sum is not. Longest tiles first. No atomics; a row's sums are those of its sequence.
#include "attention.cuh"

static constexpr int QUERIES = 128, KEYS = 64;

template <class E, int D>
__device__ __forceinline__ void attend(E* o, float* lse, const E* q, const E* k, const E* v, const int* starts, int sequences, int heads, int groups, int width,
                                       float scale, int causal) {
  DYN_SHARED(raw);
  E *sq = reinterpret_cast<E*>(raw), *sk = sq + QUERIES * D, *sv = sk + KEYS * D;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t2 = (lane & 3) * 2;
  const Place p = place(starts, sequences, gridDim.x - 1 - blockIdx.x, QUERIES, 1);
  if (p.sequence == sequences) return;
  const int h = blockIdx.y, rows = p.to - p.from, row0 = p.first + warp * 32;   // the warp's first query
  const long long ldq = (long long)heads * width, ldk = (long long)groups * width, mine = (p.from + p.first) * ldq + h * width;
  const long long theirs = p.from * ldk + h / (heads / groups) * width;
  const int keys = causal ? min(p.first + QUERIES, rows) : rows, tiles = (keys + KEYS - 1) / KEYS;
  const float c2 = scale * LOG2E;
  k += theirs, v += theirs;

  load_tile<D, QUERIES>(sq, q + mine, ldq, rows - p.first, width);
  load_tile<D, KEYS>(sk, k, ldk, rows, width);
  cp_async_commit();

  float acc[2][D / 8][4], top[2][2], sum[2][2];
#pragma unroll
  for (int m = 0; m < 2; m++) {
    top[m][0] = top[m][1] = -INFINITY, sum[m][0] = sum[m][1] = 0.0f;
#pragma unroll
    for (int j = 0; j < D / 8; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) acc[m][j][e] = 0.0f;
  }

  for (int t = 0; t < tiles; t++) {
    const int u0 = t * KEYS;
    const bool sees = row0 < rows && (!causal || u0 <= row0 + 31);   // the warp has a visible key here
    cp_async_wait<0>();
    __syncthreads();   // K of this tile is here, and nobody reads the last tile's V
    load_tile<D, KEYS>(sv, v + u0 * ldk, ldk, rows - u0, width);
    cp_async_commit();

    float s[2][KEYS / 8][4];
    if (sees) {
#pragma unroll
      for (int m = 0; m < 2; m++)
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
          for (int e = 0; e < 4; e++) s[m][j][e] = 0.0f;
#pragma unroll
      for (int kk = 0; kk < D / 16; kk++) {
        uint32_t a[2][4];
        left<D>(a[0], sq, warp * 32, kk * 2), left<D>(a[1], sq, warp * 32 + 16, kk * 2);
#pragma unroll
        for (int j = 0; j < KEYS / 16; j++) {
          uint32_t b0[2], b1[2];
          right<D>(b0, b1, sk, j * 16, kk * 2);
#pragma unroll
          for (int m = 0; m < 2; m++) mma<E>(s[m][2 * j], a[m], b0), mma<E>(s[m][2 * j + 1], a[m], b1);
        }
      }
      if (u0 + KEYS > rows || (causal && u0 + KEYS - 1 > row0)) {
#pragma unroll
        for (int m = 0; m < 2; m++)
#pragma unroll
          for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
              const int u = u0 + j * 8 + t2 + (e & 1), row = row0 + m * 16 + g + (e >> 1) * 8;
              if (u >= rows || (causal && u > row)) s[m][j][e] = -INFINITY;
            }
      }
#pragma unroll
      for (int m = 0; m < 2; m++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
          float n = top[m][r];   // every row sees key 0, so n is a number from the first tile on
#pragma unroll
          for (int j = 0; j < KEYS / 8; j++) n = fmaxf(n, fmaxf(s[m][j][2 * r], s[m][j][2 * r + 1]));
          n = fmaxf(n, __shfl_xor_sync(0xffffffffu, n, 1));
          n = fmaxf(n, __shfl_xor_sync(0xffffffffu, n, 2));
          const float base = n * c2, fade = exp2f(fmaf(top[m][r], c2, -base));
          float l = 0.0f;
#pragma unroll
          for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
            for (int e = 2 * r; e < 2 * r + 2; e++) s[m][j][e] = exp2f(fmaf(s[m][j][e], c2, -base)), l += s[m][j][e];
          sum[m][r] = fmaf(sum[m][r], fade, l);   // this lane's columns; the four lanes of a row meet at the end
          top[m][r] = n;
#pragma unroll
          for (int j = 0; j < D / 8; j++) acc[m][j][2 * r] *= fade, acc[m][j][2 * r + 1] *= fade;
        }
    }
    cp_async_wait<0>();
    __syncthreads();   // V of this tile is here, and nobody reads its K any more
    if (t + 1 < tiles) load_tile<D, KEYS>(sk, k + (u0 + KEYS) * ldk, ldk, rows - u0 - KEYS, width);
    cp_async_commit();
    if (sees) {
#pragma unroll
      for (int kk = 0; kk < KEYS / 16; kk++) {
        uint32_t a[2][4];
        as_left<E>(a[0], s[0][2 * kk], s[0][2 * kk + 1]), as_left<E>(a[1], s[1][2 * kk], s[1][2 * kk + 1]);
#pragma unroll
        for (int j = 0; j < D / 16; j++) {
          uint32_t b0[2], b1[2];
          right_t<D>(b0, b1, sv, kk * 16, j * 2);
#pragma unroll
          for (int m = 0; m < 2; m++) mma<E>(acc[m][2 * j], a[m], b0), mma<E>(acc[m][2 * j + 1], a[m], b1);
        }
      }
    }
  }
#pragma unroll
  for (int m = 0; m < 2; m++) {
    const int first = row0 + m * 16;
#pragma unroll
    for (int r = 0; r < 2; r++) {
      sum[m][r] += __shfl_xor_sync(0xffffffffu, sum[m][r], 1);
      sum[m][r] += __shfl_xor_sync(0xffffffffu, sum[m][r], 2);
      const int row = first + g + r * 8;
      if (row < rows && (lane & 3) == 0) lse[(long long)(p.from + row) * heads + h] = fmaf(top[m][r], scale, logf(sum[m][r]));
      const float part = 1.0f / sum[m][r];
#pragma unroll
      for (int j = 0; j < D / 8; j++) acc[m][j][2 * r] *= part, acc[m][j][2 * r + 1] *= part;
    }
    save_product<D>(o + mine + (warp * 32 + m * 16) * ldq, 0, sq, warp * 32 + m * 16, acc[m], 1.0f, ldq, rows - first, width);
  }
}

template <int D>
__device__ __forceinline__ void attend(void* o, float* lse, const void* q, int dtype, const void* k, const void* v, const int* starts, int sequences, int heads,
                                       int groups, int width, float scale, int causal) {
  if (dtype == BF16) attend<bf16, D>((bf16*)o, lse, (const bf16*)q, (const bf16*)k, (const bf16*)v, starts, sequences, heads, groups, width, scale, causal);
  else attend<f16, D>((f16*)o, lse, (const f16*)q, (const f16*)k, (const f16*)v, starts, sequences, heads, groups, width, scale, causal);
}

// One dtype for o, q, k and v.
extern "C" __global__ void __launch_bounds__(128)
llm_attention_forward_mma_d64(void* o, float* lse, const void* q, int dtype, const void* k, const void* v, const int* starts, int sequences, int heads, int groups,
                              int width, float scale, int causal) {
  attend<64>(o, lse, q, dtype, k, v, starts, sequences, heads, groups, width, scale, causal);
}
extern "C" __global__ void __launch_bounds__(128)
llm_attention_forward_mma_d128(void* o, float* lse, const void* q, int dtype, const void* k, const void* v, const int* starts, int sequences, int heads, int groups,
                               int width, float scale, int causal) {
  attend<128>(o, lse, q, dtype, k, v, starts, sequences, heads, groups, width, scale, causal);
}

EXPORT_KERNEL(llm_attention_forward_mma_d64)
EXPORT_KERNEL(llm_attention_forward_mma_d128)
