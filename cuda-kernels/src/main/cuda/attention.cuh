// attention.cuh - what the attention kernels with tensor cores share: operands of 16 bits, tiles in shared memory, sequences cut
// into tiles. Tiles begin where a sequence begins, so that a row's sums do not depend on what else the batch holds.
#pragma once
#include "common.cuh"

static constexpr float LOG2E = 1.44269504f;   // exp(x) = exp2(x · log2 e)

// E is bf16 or f16: products in f32, two values in a register.
template <class E> __device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  if constexpr (std::is_same<E, bf16>::value) mma_bf16_16816(d, a, b); else mma_f16_16816(d, a, b);
}
template <class E> __device__ __forceinline__ uint32_t pack(float a, float b) {
  if constexpr (std::is_same<E, bf16>::value) return pack2(a, b);
  else {
    const __half2 v = __floats2half2_rn(a, b);
    uint32_t bits;
    memcpy(&bits, &v, 4);
    return bits;
  }
}
template <class E> __device__ __forceinline__ float2 unpack(uint32_t v) {
  if constexpr (std::is_same<E, bf16>::value) return make_float2(__uint_as_float(v << 16), __uint_as_float(v & 0xffff0000u));
  else {
    __half2 pair;
    memcpy(&pair, &v, 4);
    return __half22float2(pair);
  }
}
// Two columns of 8 of a product as half of the next product's left operand, without leaving the registers.
template <class E> __device__ __forceinline__ void as_left(uint32_t (&a)[4], const float (&low)[4], const float (&high)[4]) {
  a[0] = pack<E>(low[0], low[1]), a[1] = pack<E>(low[2], low[3]), a[2] = pack<E>(high[0], high[1]), a[3] = pack<E>(high[2], high[3]);
}

// Rows of W values in shared memory, in chunks of 8, turned so that eight rows of one chunk lie in different banks.
template <int W> __device__ __forceinline__ int at(int row, int chunk) { return row * W + ((chunk ^ (row & 7)) << 3); }

// Fragments of a tile of W columns that begins at row r. `left` is 16 rows by 16 columns of chunks c, c+1; `right` the same 16 rows as
// two right operands whose rows are its columns; `right_t` 16 rows as two right operands of 8 columns each.
template <int W, class E> __device__ __forceinline__ void left(uint32_t (&f)[4], const E* s, int r, int c) {
  const int lane = threadIdx.x & 31;
  ldmatrix_x4(f, s + at<W>(r + (lane & 15), c + (lane >> 4)));
}
template <int W, class E> __device__ __forceinline__ void right(uint32_t (&f0)[2], uint32_t (&f1)[2], const E* s, int r, int c) {
  const int lane = threadIdx.x & 31;
  uint32_t f[4];
  ldmatrix_x4(f, s + at<W>(r + (lane & 7) + ((lane >> 4) << 3), c + ((lane >> 3) & 1)));
  f0[0] = f[0], f0[1] = f[1], f1[0] = f[2], f1[1] = f[3];
}
template <int W, class E> __device__ __forceinline__ void right_t(uint32_t (&f0)[2], uint32_t (&f1)[2], const E* s, int r, int c) {
  const int lane = threadIdx.x & 31;
  uint32_t f[4];
  ldmatrix_x4_trans(f, s + at<W>(r + (lane & 15), c + (lane >> 4)));
  f0[0] = f[0], f0[1] = f[1], f1[0] = f[2], f1[1] = f[3];
}

// ROWS rows of `width` values, `stride` apart, into a tile of W columns; zeros past `valid` rows and past the width (a multiple of 8).
template <int W, int ROWS, class E>
__device__ __forceinline__ void load_tile(E* s, const E* from, long long stride, int valid, int width) {
  constexpr int CHUNKS = W / 8, STEP = 128 / CHUNKS;   // a thread stays in its column of chunks; rows STEP apart have one turn
  const int r = threadIdx.x / CHUNKS, q = threadIdx.x % CHUNKS;
  if (q * 8 >= width) valid = 0;
  const E* source = from + r * stride + q * 8;
  E* target = s + at<W>(r, q);
#pragma unroll
  for (int i = 0; i < ROWS; i += STEP, source += STEP * stride) cp_async16(target + i * W, r + i < valid ? source : from, r + i < valid);
}

// A warp's ROWS rows from shared memory, 16 bytes a lane.
template <int W, int ROWS, class E>
__device__ __forceinline__ void save_rows(E* to, const E* s, int r0, long long stride, int valid, int width) {
  constexpr int CHUNKS = W / 8;
#pragma unroll
  for (int i = 0; i < ROWS * CHUNKS / 32; i++) {
    const int c = (threadIdx.x & 31) + i * 32, r = c / CHUNKS, q = c % CHUNKS;
    if (r < valid && q * 8 < width)
      *reinterpret_cast<uint4*>(to + r * stride + q * 8) = *reinterpret_cast<const uint4*>(s + at<W>(r0 + r, q));
  }
}

// 16 rows of a product, scaled, to device memory by way of the warp's rows r0… in shared memory. When adding, the sum is rounded once.
template <int W, class E>
__device__ __forceinline__ void save_product(E* to, int add, E* s, int r0, const float (&acc)[W / 8][4], float scale, long long stride, int valid, int width) {
  const int lane = threadIdx.x & 31, g = lane >> 2, t2 = (lane & 3) * 2;
  __syncwarp();
#pragma unroll
  for (int j = 0; j < W / 8; j++)
#pragma unroll
    for (int r = 0; r < 2; r++) {
      float2 v = make_float2(acc[j][2 * r] * scale, acc[j][2 * r + 1] * scale);
      const int row = g + 8 * r;
      if (add && row < valid && j * 8 < width) {
        const float2 old = unpack<E>(*reinterpret_cast<const uint32_t*>(to + row * stride + j * 8 + t2));
        v.x += old.x, v.y += old.y;
      }
      *reinterpret_cast<uint32_t*>(s + at<W>(r0 + row, j) + t2) = pack<E>(v.x, v.y);
    }
  __syncwarp();
  save_rows<W, 16>(to, s, r0, stride, valid, width);
}

// Tile b when every sequence is cut into tiles of `size` items, a row being `share` items: its sequence (all = past the last tile),
// that sequence's rows [from, to), and the tile's first item counted from the sequence's. Called by whole warps.
struct Place { int sequence, from, to, first; };
__device__ __forceinline__ Place place(const int* starts, int sequences, int b, int size, int share) {
  const unsigned ALL = 0xffffffffu;
  const int lane = threadIdx.x & 31;
  for (int s0 = 0; s0 < sequences; s0 += 32) {
    const int s = s0 + lane, from = s < sequences ? starts[s] : 0, to = s < sequences ? starts[s + 1] : 0;
    const int own = ((to - from) * share + size - 1) / size;
    int upto = own;
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
      const int before = __shfl_up_sync(ALL, upto, d);
      if (lane >= d) upto += before;
    }
    const unsigned hit = __ballot_sync(ALL, upto > b);
    if (hit) {
      const int l = __ffs(hit) - 1, first = (b - __shfl_sync(ALL, upto - own, l)) * size;
      return {s0 + l, __shfl_sync(ALL, from, l), __shfl_sync(ALL, to, l), first};
    }
    b -= __shfl_sync(ALL, upto, 31);
  }
  return {sequences, 0, 0, 0};
}
