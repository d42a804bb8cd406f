// skinny.cuh - what products of few rows share: k is split between the 8 warps of a block in a fixed way, and their sums of 16x8 are combined as a tree.
#pragma once
#include "matmul.cuh"

static constexpr int WARPS = 8;

// Sums the pieces of 16x8 of all warps into shared memory: w with w+4, +2, +1. `raw` is 4 · 512 · COUNT bytes that nobody uses.
template <int COUNT> __device__ __forceinline__ void combine(float (&acc)[COUNT][4], unsigned char* raw) {
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  float4* part = reinterpret_cast<float4*>(raw);
#pragma unroll 1
  for (int half = WARPS / 2; half; half >>= 1) {
    if (warp >= half && warp < 2 * half) {
#pragma unroll
      for (int i = 0; i < COUNT; i++) {
        part[((warp - half) * COUNT + i) * 32 + lane] = make_float4(acc[i][0], acc[i][1], acc[i][2], acc[i][3]);
      }
    }
    __syncthreads();
    if (warp < half) {
#pragma unroll
      for (int i = 0; i < COUNT; i++) {
        const float4 v = part[(warp * COUNT + i) * 32 + lane];
        acc[i][0] += v.x, acc[i][1] += v.y, acc[i][2] += v.z, acc[i][3] += v.w;
      }
    }
    __syncthreads();
  }
  if (warp == 0) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) part[i * 32 + lane] = make_float4(acc[i][0], acc[i][1], acc[i][2], acc[i][3]);
  }
  __syncthreads();
}

// Element of the combined pieces, of which there are ACROSS in a row.
template <int ACROSS> __device__ __forceinline__ float combined(const unsigned char* raw, int row, int column) {
  const int piece = row / 16 * ACROSS + column / 8, lane = row % 8 * 4 + column % 8 / 2;
  return reinterpret_cast<const float*>(raw)[(piece * 32 + lane) * 4 + row / 8 % 2 * 2 + column % 2];
}
