// Attention of new queries over keys in pages, for bf16 and f16 on tensor cores (org.llmcore.op.Attention.Decode; Kwon et al. 2023,
// arXiv:2309.06180; splitting the context as in flash decoding). Head widths that are multiples of 8 up to 128.
//
// | kernel                          | block                                             | shared memory  | moved per block                          |
// |---------------------------------|---------------------------------------------------|----------------|------------------------------------------|
// | llm_attention_pages_mma_d*      | 4 warps, 16 (query, head) pairs of a key/value head | 37 or 71 KiB | K and V of 256 keys, or of all of them, once |
// | llm_attention_pages_wide_mma_d* | the same, 32 pairs                                | 41 or 77 KiB   | the same, for twice the pairs            |
// | llm_attention_pages_merge       | a warp per (query, head)                          | 0              | (D+2)·4 bytes per 256 keys, o            |
//
// 4·D FLOPs per visible pair and head. The heads of a group and the queries of a sequence share one reading of K and V. Keys pass in tiles of 64, two
// stages, 16 bytes a copy; a warp scores 16 of the 64 keys and then sums a quarter of the columns of P·V, so a tile costs three barriers:
// little beside the 1700 cycles its bytes take. The sum of P is one more column of P·V.
//
// One order of summation for every form: tiles of 64 in a partition of 256 keys, partitions folded in ascending order. Whether each partition has a
// block of its own and the fold is llm_attention_pages_merge, or one block folds them, and how many pairs share a block, changes no bit: a
// row's result depends on its own keys alone.
#include "attention.cuh"

static constexpr int KEYS = 64, PARTITION = 256;

// (top, sum, acc) ⊕ the same of later keys; top in base 2.
struct Fold { float keep, take; };
__device__ __forceinline__ Fold fold(float& top, float later) {
  const float higher = fmaxf(top, later);
  const Fold f{exp2f(top - higher), exp2f(later - higher)};
  top = higher;
  return f;
}
__device__ __forceinline__ float fold(float own, float later, Fold f) { return fmaf(own, f.keep, later * f.take); }

// `parts` = 0: one block takes all keys and writes o. Otherwise partition blockIdx.z of every pair goes to tops {top, sum} and sums (D).
template <class E, int D, int M>   // M tiles of 16 pairs
__device__ __forceinline__ void attend_pages(E* o, float2* tops, float* sums, const E* q, const E* keys, const E* values, const int* blocks, const int* starts,
                                             const int* lengths, int sequences, int perSequence, int page, int heads, int groups, int width, float scale, int parts) {
  constexpr int PAIRS = 16 * M, COLUMNS = D / 4;   // of a warp's share of P·V
  DYN_SHARED(raw);
  E *sq = reinterpret_cast<E*>(raw), *sp = sq + PAIRS * D, *stage = sp + PAIRS * KEYS;
  float* highest = reinterpret_cast<float*>(stage + 4 * KEYS * D);   // [4][PAIRS]: of every warp's keys
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t2 = (lane & 3) * 2, share = heads / groups;
  const Place p = place(starts, sequences, blockIdx.x, PAIRS, share);
  if (p.sequence == sequences) return;
  const int rows = p.to - p.from, pairs = rows * share, before = lengths[p.sequence] - rows;   // keys before the first new row
  const int longest = before + (min(p.first + PAIRS, pairs) - 1) / share + 1;
  const int from = parts ? blockIdx.z * PARTITION : 0, to = parts ? min(longest, from + PARTITION) : longest;
  if (from >= to) return;
  const int* table = blocks + (long long)p.sequence * perSequence;
  const float c2 = scale * LOG2E;

  constexpr int CHUNKS = D / 8, STEP = 128 / CHUNKS;
  const int r0 = threadIdx.x / CHUNKS, chunk = threadIdx.x % CHUNKS;
  const bool inside = chunk * 8 < width;
#pragma unroll
  for (int i = 0; i < PAIRS; i += STEP) {
    const int pair = p.first + r0 + i;
    const bool ok = inside && pair < pairs;
    const E* source = q + ((long long)(p.from + pair / share) * heads + blockIdx.y * share + pair % share) * width + chunk * 8;
    cp_async16(sq + at<D>(r0 + i, chunk), ok ? source : q, ok);
  }
  auto fetch = [&](int u0) {
    E* target = stage + (u0 / KEYS & 1) * 2 * KEYS * D + at<D>(r0, chunk);
#pragma unroll
    for (int i = 0; i < KEYS; i += STEP) {
      const int u = u0 + r0 + i;
      const bool ok = inside && u < to;
      const long long source = ok ? (((long long)table[u / page] * page + u % page) * groups + blockIdx.y) * width + chunk * 8 : 0;
      cp_async16(target + i * D, keys + source, ok);
      cp_async16(target + (KEYS + i) * D, values + source, ok);
    }
  };
  fetch(from);
  cp_async_commit();

  int limit[M][2];                                  // keys that rows g and g+8 of tile m see
  float top[M][2], allTop[M][2];                    // of this partition, and of those before
  float acc[M][COLUMNS / 8][4], sum[M][4], all[M][COLUMNS / 8][4], allSum[M][2];
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const int pair = p.first + m * 16 + g + 8 * r;
      limit[m][r] = pair < pairs ? before + pair / share + 1 : 0;
    }
  const uint32_t ones[2] = {pack<E>(1.0f, 1.0f), pack<E>(1.0f, 1.0f)};

  for (int u0 = from; u0 < to; u0 += KEYS) {
    const E *sk = stage + (u0 / KEYS & 1) * 2 * KEYS * D, *sv = sk + KEYS * D;
    cp_async_wait<0>();
    __syncthreads();   // the tile is here, and nobody reads the other stage, or P of the last tile
    if (u0 + KEYS < to) fetch(u0 + KEYS);
    cp_async_commit();
    if (u0 % PARTITION == 0)
#pragma unroll
      for (int m = 0; m < M; m++) {
        top[m][0] = top[m][1] = -INFINITY;
#pragma unroll
        for (int e = 0; e < 4; e++) sum[m][e] = 0.0f;
#pragma unroll
        for (int j = 0; j < COLUMNS / 8; j++)
#pragma unroll
          for (int e = 0; e < 4; e++) acc[m][j][e] = 0.0f;
      }

    float s[M][2][4];
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
      for (int e = 0; e < 4; e++) s[m][0][e] = s[m][1][e] = 0.0f;
#pragma unroll
    for (int kk = 0; kk < D / 16; kk++) {
      uint32_t b0[2], b1[2];
      right<D>(b0, b1, sk, warp * 16, kk * 2);
#pragma unroll
      for (int m = 0; m < M; m++) {
        uint32_t a[4];
        left<D>(a, sq, m * 16, kk * 2);
        mma<E>(s[m][0], a, b0), mma<E>(s[m][1], a, b1);
      }
    }
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
      for (int r = 0; r < 2; r++) {
        float n = -INFINITY;
#pragma unroll
        for (int j = 0; j < 2; j++)
#pragma unroll
          for (int e = 2 * r; e < 2 * r + 2; e++) {
            if (u0 + warp * 16 + j * 8 + t2 + (e & 1) >= limit[m][r]) s[m][j][e] = -INFINITY;
            n = fmaxf(n, s[m][j][e]);
          }
        n = fmaxf(n, __shfl_xor_sync(0xffffffffu, n, 1));
        n = fmaxf(n, __shfl_xor_sync(0xffffffffu, n, 2));
        if ((lane & 3) == 0) highest[warp * PAIRS + m * 16 + g + 8 * r] = n;
      }
    __syncthreads();   // the largest score of every warp's keys
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
      for (int r = 0; r < 2; r++) {
        const int row = m * 16 + g + 8 * r;
        float n = top[m][r];
#pragma unroll
        for (int w = 0; w < 4; w++) n = fmaxf(n, highest[w * PAIRS + row]);
        const float base = n == -INFINITY ? 0.0f : n * c2, fade = exp2f(fmaf(top[m][r], c2, -base));
        top[m][r] = n;
#pragma unroll
        for (int j = 0; j < 2; j++) {
          const float a = exp2f(fmaf(s[m][j][2 * r], c2, -base)), b = exp2f(fmaf(s[m][j][2 * r + 1], c2, -base));
          *reinterpret_cast<uint32_t*>(sp + at<KEYS>(row, warp * 2 + j) + t2) = pack<E>(a, b);
        }
        sum[m][2 * r] *= fade, sum[m][2 * r + 1] *= fade;
#pragma unroll
        for (int j = 0; j < COLUMNS / 8; j++) acc[m][j][2 * r] *= fade, acc[m][j][2 * r + 1] *= fade;
      }
    __syncthreads();   // P of all 64 keys
#pragma unroll
    for (int kk = 0; kk < KEYS / 16; kk++) {
      uint32_t a[M][4];
#pragma unroll
      for (int m = 0; m < M; m++) {
        left<KEYS>(a[m], sp, m * 16, kk * 2);
        mma<E>(sum[m], a[m], ones);
      }
#pragma unroll
      for (int j = 0; j < COLUMNS / 16; j++) {
        uint32_t b0[2], b1[2];
        right_t<D>(b0, b1, sv, kk * 16, warp * (COLUMNS / 8) + j * 2);
#pragma unroll
        for (int m = 0; m < M; m++) mma<E>(acc[m][2 * j], a[m], b0), mma<E>(acc[m][2 * j + 1], a[m], b1);
      }
    }
    if (parts || ((u0 + KEYS) % PARTITION && u0 + KEYS < to)) continue;   // the partition goes on

    const int begin = u0 / PARTITION * PARTITION;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
      for (int r = 0; r < 2; r++) {
        if (begin == 0) {
          allTop[m][r] = top[m][r] * c2, allSum[m][r] = sum[m][2 * r];
#pragma unroll
          for (int j = 0; j < COLUMNS / 8; j++) all[m][j][2 * r] = acc[m][j][2 * r], all[m][j][2 * r + 1] = acc[m][j][2 * r + 1];
        } else if (begin < limit[m][r]) {
          const Fold f = fold(allTop[m][r], top[m][r] * c2);
          allSum[m][r] = fold(allSum[m][r], sum[m][2 * r], f);
#pragma unroll
          for (int j = 0; j < COLUMNS / 8; j++)
#pragma unroll
            for (int e = 2 * r; e < 2 * r + 2; e++) all[m][j][e] = fold(all[m][j][e], acc[m][j][e], f);
        }
      }
  }

#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int r = 0; r < 2; r++) {
      if (from >= limit[m][r]) continue;
      const int pair = p.first + m * 16 + g + 8 * r;
      const long long row = (long long)(p.from + pair / share) * heads + blockIdx.y * share + pair % share;
      if (parts && warp == 0 && (lane & 3) == 0) tops[row * parts + blockIdx.z] = make_float2(top[m][r] * c2, sum[m][2 * r]);
      const float part = parts ? 0.0f : 1.0f / allSum[m][r];
#pragma unroll
      for (int j = 0; j < COLUMNS / 8; j++) {
        const int c = warp * COLUMNS + j * 8 + t2;
        if (c >= width) continue;
        if (parts) *reinterpret_cast<float2*>(sums + (row * parts + blockIdx.z) * width + c) = make_float2(acc[m][j][2 * r], acc[m][j][2 * r + 1]);
        else *reinterpret_cast<uint32_t*>(o + row * width + c) = pack<E>(all[m][j][2 * r] * part, all[m][j][2 * r + 1] * part);
      }
    }
}

// The partitions of every (row, head), folded in ascending order; a lane takes 4 columns.
template <class E>
__device__ __forceinline__ void merge(E* o, const float2* tops, const float* sums, const int* starts, const int* lengths, int sequences, int heads, int width, int parts) {
  const int lane = threadIdx.x & 31;
  const long long pair = (long long)blockIdx.x * 4 + threadIdx.x / 32;
  const int row = (int)(pair / heads);
  if (row >= starts[sequences]) return;
  const Place p = place(starts, sequences, row, 1, 1);
  const int count = lengths[p.sequence] - (p.to - 1 - row), used = (count + PARTITION - 1) / PARTITION;
  tops += pair * parts, sums += pair * parts * width;
  const bool mine = lane * 4 < width;
  float top = tops[0].x, sum = tops[0].y;
  float4 acc = mine ? *reinterpret_cast<const float4*>(sums + lane * 4) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 4
  for (int i = 1; i < used; i++) {
    const float2 later = tops[i];
    const Fold f = fold(top, later.x);
    sum = fold(sum, later.y, f);
    if (!mine) continue;
    const float4 x = *reinterpret_cast<const float4*>(sums + (long long)i * width + lane * 4);
    acc = make_float4(fold(acc.x, x.x, f), fold(acc.y, x.y, f), fold(acc.z, x.z, f), fold(acc.w, x.w, f));
  }
  const float part = 1.0f / sum;
  if (mine) *reinterpret_cast<uint2*>(o + pair * width + lane * 4) = make_uint2(pack<E>(acc.x * part, acc.y * part), pack<E>(acc.z * part, acc.w * part));
}

template <int D, int M>
__device__ __forceinline__ void attend_pages(void* o, float2* tops, float* sums, const void* q, int dtype, const void* keys, const void* values, const int* blocks,
                                             const int* starts, const int* lengths, int sequences, int perSequence, int page, int heads, int groups, int width, float scale, int parts) {
  if (dtype == BF16)
    attend_pages<bf16, D, M>((bf16*)o, tops, sums, (const bf16*)q, (const bf16*)keys, (const bf16*)values, blocks, starts, lengths, sequences, perSequence, page, heads, groups, width, scale, parts);
  else
    attend_pages<f16, D, M>((f16*)o, tops, sums, (const f16*)q, (const f16*)keys, (const f16*)values, blocks, starts, lengths, sequences, perSequence, page, heads, groups, width, scale, parts);
}

// One dtype for o, q, keys and values.
extern "C" __global__ void __launch_bounds__(128)
llm_attention_pages_mma_d64(void* o, float2* tops, float* sums, const void* q, int dtype, const void* keys, const void* values, const int* blocks, const int* starts, const int* lengths,
                            int sequences, int perSequence, int page, int heads, int groups, int width, float scale, int parts) {
  attend_pages<64, 1>(o, tops, sums, q, dtype, keys, values, blocks, starts, lengths, sequences, perSequence, page, heads, groups, width, scale, parts);
}
extern "C" __global__ void __launch_bounds__(128)
llm_attention_pages_mma_d128(void* o, float2* tops, float* sums, const void* q, int dtype, const void* keys, const void* values, const int* blocks, const int* starts, const int* lengths,
                             int sequences, int perSequence, int page, int heads, int groups, int width, float scale, int parts) {
  attend_pages<128, 1>(o, tops, sums, q, dtype, keys, values, blocks, starts, lengths, sequences, perSequence, page, heads, groups, width, scale, parts);
}
extern "C" __global__ void __launch_bounds__(128)
llm_attention_pages_wide_mma_d64(void* o, float2* tops, float* sums, const void* q, int dtype, const void* keys, const void* values, const int* blocks, const int* starts,
                                 const int* lengths, int sequences, int perSequence, int page, int heads, int groups, int width, float scale, int parts) {
  attend_pages<64, 2>(o, tops, sums, q, dtype, keys, values, blocks, starts, lengths, sequences, perSequence, page, heads, groups, width, scale, parts);
}
extern "C" __global__ void __launch_bounds__(128)
llm_attention_pages_wide_mma_d128(void* o, float2* tops, float* sums, const void* q, int dtype, const void* keys, const void* values, const int* blocks, const int* starts,
                                  const int* lengths, int sequences, int perSequence, int page, int heads, int groups, int width, float scale, int parts) {
  attend_pages<128, 2>(o, tops, sums, q, dtype, keys, values, blocks, starts, lengths, sequences, perSequence, page, heads, groups, width, scale, parts);
}
extern "C" __global__ void __launch_bounds__(128)
llm_attention_pages_merge(void* o, int dtype, const float2* tops, const float* sums, const int* starts, const int* lengths, int sequences, int heads, int width, int parts) {
  if (dtype == BF16) merge((bf16*)o, tops, sums, starts, lengths, sequences, heads, width, parts);
  else merge((f16*)o, tops, sums, starts, lengths, sequences, heads, width, parts);
}

EXPORT_KERNEL(llm_attention_pages_mma_d64)
EXPORT_KERNEL(llm_attention_pages_mma_d128)
EXPORT_KERNEL(llm_attention_pages_wide_mma_d64)
EXPORT_KERNEL(llm_attention_pages_wide_mma_d128)
EXPORT_KERNEL(llm_attention_pages_merge)
