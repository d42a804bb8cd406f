// attention_hopper.cuh - what the attention kernels by wgmma share: 384 threads, of which warpgroup 0 fetches and warpgroups 1 and 2 multiply, and
// tiles of ROWS rows of a head in panels of 64 columns, rows of 128 bytes with the 128-byte swizzle. K-major a tile is read along the columns,
// MN-major down the rows, so one copy serves a product with its rows and a product with its columns.
#pragma once
#include "hopper.cuh"
#include "attention.cuh"

static constexpr int CONSUMERS = 256;
template <int ROWS> constexpr int PANEL = ROWS * 128;
template <int D, int ROWS> constexpr int TILE = ROWS * D * 2;

// A tile of a head, from row y on.
template <int D, int ROWS> __device__ __forceinline__ void fetch(unsigned char* tile, const CUtensorMap& map, uint64_t* bar, int head, int y) {
#pragma unroll
  for (int p = 0; p < D / 64; p++) tma_load_2d(tile + p * PANEL<ROWS>, map, bar, head * D + p * 64, y);
}
// Zeros in rows `valid` … of panels side by side, by all consumers: these rows belong to another sequence, and 0·NaN is NaN.
template <int ROWS> __device__ __forceinline__ void blank(unsigned char* tile, int panels, int valid) {
  const int chunks = (ROWS - valid) * 8;
  for (int c = threadIdx.x - 128; c < chunks * panels; c += CONSUMERS)
    *reinterpret_cast<uint4*>(tile + c / chunks * PANEL<ROWS> + valid * 128 + c % chunks * 16) = make_uint4(0, 0, 0, 0);
  proxy_fence();
  bar_sync(1, CONSUMERS);
}

template <int TB = 0, class A> __device__ __forceinline__ void multiply(float (&d)[32], const A& a, uint64_t b, int scale) {
  if constexpr (std::is_same<A, uint64_t>::value) wgmma_m64n64k16<0, TB>(d, a, b, scale); else wgmma_m64n64k16<TB>(d, a, b, scale);
}
template <int TB = 0, class A> __device__ __forceinline__ void multiply(float (&d)[64], const A& a, uint64_t b, int scale) {
  if constexpr (std::is_same<A, uint64_t>::value) wgmma_m64n128k16<0, TB>(d, a, b, scale); else wgmma_m64n128k16<TB>(d, a, b, scale);
}
// Step kk of 16 columns of a tile that is read along its columns, in units of a descriptor.
template <int ROWS> __device__ __forceinline__ int along(int kk) { return kk / 4 * (PANEL<ROWS> >> 4) + kk % 4 * 2; }
// s = a·bᵀ over D columns, for 64 rows of a in shared memory or in registers and the ROWS of b.
template <int D, int ROWS> __device__ __forceinline__ void products(float (&s)[ROWS / 2], const void* a, const void* b) {
  const uint64_t da = tile_desc(a), db = tile_desc(b);
#pragma unroll
  for (int kk = 0; kk < D / 16; kk++) multiply(s, da + along<ROWS>(kk), db + along<ROWS>(kk), kk != 0);
}
template <int D, int ROWS> __device__ __forceinline__ void products(float (&s)[ROWS / 2], const uint32_t (&a)[D / 16][4], const void* b) {
  const uint64_t db = tile_desc(b);
#pragma unroll
  for (int kk = 0; kk < D / 16; kk++) multiply(s, a[kk], db + along<ROWS>(kk), kk != 0);
}
// acc += a·b over the ROWS of b, for D columns.
template <int D, int ROWS> __device__ __forceinline__ void accumulate(float (&acc)[D / 2], const uint32_t (&a)[ROWS / 16][4], const void* b) {
  const uint64_t db = panel_desc(b, PANEL<ROWS>);
#pragma unroll
  for (int kk = 0; kk < ROWS / 16; kk++) multiply<1>(acc, a[kk], db + kk * 128, 1);
}
// A product as the left operand of the next.
template <int K> __device__ __forceinline__ void as_left(uint32_t (&a)[K][4], const float (&s)[8 * K]) {
#pragma unroll
  for (int i = 0; i < 4 * K; i++) a[i / 4][i % 4] = pack2(s[2 * i], s[2 * i + 1]);
}
template <int N> __device__ __forceinline__ void clear(float (&a)[N]) {
#pragma unroll
  for (int i = 0; i < N; i++) a[i] = 0.0f;
}
// The warp's 16 rows of sums, by way of 64 rows of shared memory that nobody of its warpgroup reads any more.
template <int D>
__device__ __forceinline__ void save(bf16* to, int add, unsigned char* patch, const float (&acc)[D / 2], float scale, long long stride, int valid) {
  save_product<D>(to, add, reinterpret_cast<bf16*>(patch), threadIdx.x % 128 / 32 * 16, reinterpret_cast<const float(&)[D / 8][4]>(acc), scale, stride,
                  valid, D);
}
