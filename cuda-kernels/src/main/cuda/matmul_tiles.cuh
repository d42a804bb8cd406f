// matmul_tiles.cuh - y (+)= alpha · op(a) · op(b) by mma.sync: the body of every kernel in matmul_mma.cu and matmul_mixed.cu.
//
// Tiles of 128x128x32, 256 threads as 2x4 warps of 64x32, a ring of stages filled by cp.async, ldmatrix, mma.sync m16n8k16,
// sums in f32. Where an operand's base or row pitch is no multiple of 16 bytes, its tiles come by plain loads instead. Edges
// are zeros on the way in and masked on the way out.
//
// Where one operand is f32 it is three bf16 planes (split3), so that each product of the three with a bf16 is exact. A slab
// of 16 k is summed by itself, least plane first, and slabs are added by IEEE additions: the tensor cores, which cut the bits
// that do not fit instead of rounding, only ever see sums of 48 products.
#pragma once
#include "matmul.cuh"

static constexpr int BM = 128, BN = 128, BK = 32, WM = 64, WN = 32;

// `wide`: bit 0 for a, 1 for b, 2 for y. Grid (tiles, 1, products); dynamic shared memory: STAGES stages of both tiles.
template <class A, class B, bool TA, bool TB>
__device__ __forceinline__ void product(void* y, int ydt, int add, const A* a, const B* b, int M, int N, int K, int wide,
                                        float alpha) {
  using TileA = Tile<A, TA, BM, BK>;
  using TileB = Tile<B, !TB, BN, BK>;
  constexpr int PA = TileA::PLANES, PB = TileB::PLANES, STAGES = PA + PB > 2 ? 3 : 4, STAGE = TileA::BYTES + TileB::BYTES;
  using Half = typename std::conditional<sizeof(A) == 2, A, B>::type;
  DYN_SHARED(raw);
  const int warp = threadIdx.x >> 5, wm = (warp >> 2) * WM, wn = (warp & 3) * WN, steps = (K + BK - 1) / BK;
  int m0, n0;
  tile_at(blockIdx.x, (M + BM - 1) / BM, (N + BN - 1) / BN, m0, n0);
  m0 *= BM, n0 *= BN;
  const int z = blockIdx.z;
  const A* ga = a + (long long)z * M * K;
  const B* gb = b + (long long)z * N * K;
  float acc[WM / 16][WN / 8][4] = {};
#pragma unroll 1
  for (int k = 1 - STAGES; k < steps; k++) {   // the first rounds only load
    cp_async_wait<STAGES - 2>();
    __syncthreads();   // stage k is there for all, and nobody reads stage k-1 any more
    const int ahead = k + STAGES - 1;
    if (ahead < steps) {
      unsigned char* s = raw + ahead % STAGES * STAGE;
      if (wide & 1) load_tile<TileA, 256>(s, ga, threadIdx.x, m0, M, ahead * BK, K);
      else load_ragged<TileA, 256>(s, ga, threadIdx.x, m0, M, ahead * BK, K);
      if (wide & 2) load_tile<TileB, 256>(s + TileA::BYTES, gb, threadIdx.x, n0, N, ahead * BK, K);
      else load_ragged<TileB, 256>(s + TileA::BYTES, gb, threadIdx.x, n0, N, ahead * BK, K);
    }
    cp_async_commit();
    if (k < 0) continue;
    const unsigned char *sa = raw + k % STAGES * STAGE, *sb = sa + TileA::BYTES;
#pragma unroll
    for (int kk = 0; kk < BK; kk += 16) {
      uint32_t fb[WN / 16][PB][4];
#pragma unroll
      for (int j = 0; j < WN / 16; j++) fragment<TileB>(fb[j], sb, wn + j * 16, kk);
#pragma unroll
      for (int i = 0; i < WM / 16; i++) {
        uint32_t fa[PA][4];
        fragment<TileA>(fa, sa, wm + i * 16, kk);
#pragma unroll
        for (int j = 0; j < WN / 8; j++) {
          if constexpr (PA + PB == 2) {
            multiply<Half>(acc[i][j], fa[0], fb[j / 2][0][j % 2 * 2], fb[j / 2][0][j % 2 * 2 + 1]);
          } else {
            float slab[4] = {};
#pragma unroll
            for (int p = 2; p >= 0; p--) {
              const int pa = PA == 3 ? p : 0, pb = PB == 3 ? p : 0;
              multiply<Half>(slab, fa[pa], fb[j / 2][pb][j % 2 * 2], fb[j / 2][pb][j % 2 * 2 + 1]);
            }
#pragma unroll
            for (int e = 0; e < 4; e++) acc[i][j][e] += slab[e];
          }
        }
      }
    }
  }
  cp_async_wait<0>();
  __syncthreads();   // the stages become patches
  float* patch = reinterpret_cast<float*>(raw) + warp * PATCH;
#pragma unroll 1
  for (int i = 0; i < WM / 16; i++) {
#pragma unroll
    for (int u = 0; u < WM / 16 * WN / 8; u++) {   // registers have no index: those of piece i are picked out of all
      const float(&d)[4] = acc[u / (WN / 8)][u % (WN / 8)];
      if (u / (WN / 8) == i) patch_in(patch, u % (WN / 8), d[0], d[1], d[2], d[3]);
    }
    __syncwarp();
    patch_out(patch, y, ydt, add, alpha, wide & 4, (long long)z * M * N, m0 + wm + i * 16, n0 + wn, M, N);
    __syncwarp();
  }
}

// A kernel's parameters, and how it hands them on.
#define PRODUCT_PARAMETERS \
  void *y, int ydt, int add, const void *a, const void *b, int M, int N, int K, int wide, float alpha
#define PRODUCT(A, B, TA, TB) \
  product<A, B, TA, TB>(y, ydt, add, static_cast<const A*>(a), static_cast<const B*>(b), M, N, K, wide, alpha)
