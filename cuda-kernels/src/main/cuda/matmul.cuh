// matmul.cuh - what the tensor-core products share: tiles in shared memory, fragments out of them, an f32 value as three bf16,
// the order of tiles, and the way of a result to memory. No kernel is in here.
//
// An operand has lines (rows of op(a), columns of op(b)) and a depth, the k of the sum. It lies in memory along (lines,
// depth) or across (depth, lines). Transposition is that difference and nothing else.
#pragma once
#include "common.cuh"

// LINES x DEPTH of an operand in shared memory, rows as in memory, in chunks of 16 bytes.
template <class T, bool ACROSS_, int LINES_, int DEPTH_> struct Tile {
  using Element = T;
  static constexpr bool ACROSS = ACROSS_;
  static constexpr int LINES = LINES_, DEPTH = DEPTH_, ROWS = ACROSS ? DEPTH : LINES, COLUMNS = ACROSS ? LINES : DEPTH;
  static constexpr int EACH = 16 / sizeof(T), CHUNKS = COLUMNS / EACH, BYTES = ROWS * COLUMNS * sizeof(T);
  static constexpr int PLANES = sizeof(T) == 4 ? 3 : 1;   // bf16 values that make up one element
};

// Byte of a chunk. Chunks change places within their row so that what one instruction reads lies in different banks: eight
// rows of one chunk for ldmatrix; for f32 four rows (or pairs of rows) of two chunks.
template <class S> __device__ __forceinline__ int place(int row, int chunk) {
  const int turn = sizeof(typename S::Element) == 4 ? ((S::ACROSS ? row >> 1 : row) & 3) << 1
                   : S::CHUNKS >= 8                 ? row & 7
                                                    : row / (8 / S::CHUNKS) & (S::CHUNKS - 1);
  return (row * S::CHUNKS + (chunk ^ turn)) * 16;
}

// The tile at (line0, k0) of an operand of `lines` x `depth`, zeros outside, by THREADS threads of which this is number t.
// Copies are asynchronous. Base and row pitch are multiples of 16 bytes.
template <class S, int THREADS>
__device__ __forceinline__ void load_tile(unsigned char* s, const typename S::Element* g, int t, int line0, int lines, int k0,
                                          int depth) {
#pragma unroll
  for (int i = 0; i < S::ROWS * S::CHUNKS / THREADS; i++) {
    const int c = t + i * THREADS, row = c / S::CHUNKS, chunk = c % S::CHUNKS;
    const int line = line0 + (S::ACROSS ? chunk * S::EACH : row), k = k0 + (S::ACROSS ? row : chunk * S::EACH);
    const bool in = line < lines && k < depth;
    const long long at = S::ACROSS ? (long long)k * lines + line : (long long)line * depth + k;
    cp_async16(s + place<S>(row, chunk), in ? g + at : g, in);
  }
}

// The same from any address, element by element, done when it returns.
template <class S, int THREADS>
__device__ __forceinline__ void load_ragged(unsigned char* s, const typename S::Element* g, int t, int line0, int lines, int k0,
                                            int depth) {
  using Bits = typename std::conditional<sizeof(typename S::Element) == 4, uint32_t, uint16_t>::type;
  const Bits* p = reinterpret_cast<const Bits*>(g);
#pragma unroll 1
  for (int c = t; c < S::ROWS * S::COLUMNS; c += THREADS) {
    const int row = c / S::COLUMNS, column = c % S::COLUMNS;
    const int line = line0 + (S::ACROSS ? column : row), k = k0 + (S::ACROSS ? row : column);
    const bool in = line < lines && k < depth;
    reinterpret_cast<Bits*>(s + place<S>(row, column / S::EACH))[column % S::EACH] =
        in ? p[S::ACROSS ? (long long)k * lines + line : (long long)line * depth + k] : Bits(0);
  }
}

// Two f32 values as three pairs of bf16 whose sum they are: 8 leading bits, the next 8, the last 8. Exact for every finite
// value of at least 2^-110 (below, what lies under 2^-133 is lost); an infinity becomes NaN.
__device__ __forceinline__ void split3(uint32_t& high, uint32_t& middle, uint32_t& low, float u, float v) {
  const uint32_t top = 0xffff0000u, a = __float_as_uint(u), b = __float_as_uint(v);
  high = a >> 16 | (b & top);
  u -= __uint_as_float(a & top), v -= __uint_as_float(b & top);
  const uint32_t c = __float_as_uint(u), d = __float_as_uint(v);
  middle = c >> 16 | (d & top);
  u -= __uint_as_float(c & top), v -= __uint_as_float(d & top);
  low = __float_as_uint(u) >> 16 | (__float_as_uint(v) & top);
}

// A piece of 16 lines and 16 k as four 8x8 blocks: lines 0-7 with k 0-7, with k 8-15, lines 8-15 with k 0-7, with k 8-15. A
// lane holds line (lane / 4) and k 2·(lane % 4), +1 of each. f32 tiles give the planes of split3.
template <class S>
__device__ __forceinline__ void fragment(uint32_t (&f)[S::PLANES][4], const unsigned char* s, int line, int k) {
  const int lane = threadIdx.x & 31;
  if constexpr (S::PLANES == 1) {
    const int block = lane >> 3, r = lane & 7;
    if constexpr (S::ACROSS) ldmatrix_x4_trans(f[0], s + place<S>(k + (block & 1) * 8 + r, line / S::EACH + (block >> 1)));
    else ldmatrix_x4(f[0], s + place<S>(line + (block >> 1) * 8 + r, k / S::EACH + (block & 1)));
  } else {
#pragma unroll
    for (int block = 0; block < 4; block++) {
      const int l = line + (block >> 1) * 8 + (lane >> 2), c = k + (block & 1) * 8 + (lane & 3) * 2;
      if constexpr (S::ACROSS) {
        const float u = *reinterpret_cast<const float*>(s + place<S>(c, l >> 2) + (l & 3) * 4);
        const float v = *reinterpret_cast<const float*>(s + place<S>(c + 1, l >> 2) + (l & 3) * 4);
        split3(f[0][block], f[1][block], f[2][block], u, v);
      } else {
        const float2 u = *reinterpret_cast<const float2*>(s + place<S>(l, c >> 2) + (c & 3) * 4);
        split3(f[0][block], f[1][block], f[2][block], u.x, u.y);
      }
    }
  }
}

// d += a·b for 16 lines of a and 8 of b, from fragments: blocks 0 and 1 of b where its lines are the first eight, 2 and 3 else.
template <class T> __device__ __forceinline__ void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const uint32_t rows[4] = {a[0], a[2], a[1], a[3]}, columns[2] = {b0, b1};
  if constexpr (std::is_same<T, f16>::value) mma_f16_16816(d, rows, columns);
  else mma_bf16_16816(d, rows, columns);
}

// Tile t of a grid of `across` x `down` tiles: bands of 8 rows, column by column, so that blocks that run together share both
// operands in the L2 cache.
__device__ __forceinline__ void tile_at(int t, int down, int across, int& row, int& column) {
  const int band = t / (8 * across), first = band * 8, rows = min(8, down - first), in = t - band * 8 * across;
  row = first + in % rows, column = in / rows;
}

// What core's Sink means: y = alpha·v, or y = fma(alpha, v, y), rounded once. For 8 neighbours at a multiple of 16 bytes.
template <class Y> __device__ __forceinline__ void sink8(Y* y, const float (&v)[8], float alpha, int add) {
  union alignas(16) { Y h[8]; uint4 w[sizeof(Y) / 2]; } u;
  uint4* p = reinterpret_cast<uint4*>(y);
#pragma unroll
  for (int i = 0; i < (int)sizeof(Y) / 2; i++) if (add) u.w[i] = p[i];
#pragma unroll
  for (int i = 0; i < 8; i++) put(u.h, i, add ? fmaf(alpha, v[i], get(u.h, i)) : alpha * v[i]);
#pragma unroll
  for (int i = 0; i < (int)sizeof(Y) / 2; i++) p[i] = u.w[i];
}
__device__ __forceinline__ void sink1(int ydt, void* y, long long i, float v, float alpha, int add) {
  store(ydt, y, i, add ? fmaf(alpha, v, load(ydt, y, i)) : alpha * v);
}

// Results leave through a patch of shared memory that belongs to one warp: 16 rows x 32 columns of f32, in as the
// accumulators of mma lie (d is the piece of 16x8 at column 8j), out in rows. PATCH is its size in floats.
static constexpr int PATCH_PITCH = 40, PATCH = 16 * PATCH_PITCH;
__device__ __forceinline__ void patch_in(float* patch, int j, float d0, float d1, float d2, float d3) {
  const int lane = threadIdx.x & 31;
  float* p = patch + (lane >> 2) * PATCH_PITCH + j * 8 + (lane & 3) * 2;
  *reinterpret_cast<float2*>(p) = make_float2(d0, d1);
  *reinterpret_cast<float2*>(p + 8 * PATCH_PITCH) = make_float2(d2, d3);
}
// `wide`: y and its row pitch are multiples of 16 bytes and 8 elements. `base`: where in y the product begins.
__device__ __forceinline__ void patch_out(const float* patch, void* y, int ydt, int add, float alpha, bool wide, long long base,
                                          int row0, int col0, int M, int N) {
  const int lane = threadIdx.x & 31;
  if (wide) {
    const int c = (lane & 3) * 8;
#pragma unroll 1
    for (int r = lane >> 2; r < 16 && row0 + r < M && col0 + c < N; r += 8) {
      const float4 a = *reinterpret_cast<const float4*>(patch + r * PATCH_PITCH + c);
      const float4 b = *reinterpret_cast<const float4*>(patch + r * PATCH_PITCH + c + 4);
      const float v[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
      const long long at = base + (long long)(row0 + r) * N + col0 + c;
      if (ydt == F32) sink8(static_cast<float*>(y) + at, v, alpha, add);
      else if (ydt == BF16) sink8(static_cast<bf16*>(y) + at, v, alpha, add);
      else sink8(static_cast<f16*>(y) + at, v, alpha, add);
    }
  } else if (col0 + lane < N) {
#pragma unroll 1
    for (int r = 0; r < min(16, M - row0); r++) {
      sink1(ydt, y, base + (long long)(row0 + r) * N + col0 + lane, patch[r * PATCH_PITCH + lane], alpha, add);
    }
  }
}
