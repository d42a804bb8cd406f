// quant_mma.cuh - what products of few rows with weights in few bits share on tensor cores: 16 rows of W against 8·J of x, codes that become exact bf16,
// scales applied to sums in f32.
#pragma once
#include "skinny.cuh"

// 4 codes below 128, a byte each, as two pairs of bf16 less what `less` is above 128, twice: 0x4300 + code is 128 + code.
__device__ __forceinline__ void decode_small(uint32_t& first, uint32_t& second, uint32_t w, bf162 less) {
  uint32_t pair[2];
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const uint32_t raised = __byte_perm(w, 0x43434343u, i ? 0x4342 : 0x4140);
    bf162 v;
    memcpy(&v, &raised, 4);
    v = __hsub2(v, less);
    memcpy(&pair[i], &v, 4);
  }
  first = pair[0], second = pair[1];
}

// 4 codes of a byte each as two pairs of bf16, each less `less`, an integer: 2^23 + code is exact.
__device__ __forceinline__ void decode_byte(uint32_t& first, uint32_t& second, uint32_t w, float less) {
  float f[4];
#pragma unroll
  for (int i = 0; i < 4; i++) f[i] = __uint_as_float(__byte_perm(w, 0x4b000000u, 0x7650 + i)) - (8388608.0f + less);
  first = pack2(f[0], f[1]), second = pack2(f[2], f[3]);
}

// A lane's sums of 16x8 by the scales of its two rows of W.
__device__ __forceinline__ void scaled(float (&total)[4], const float (&part)[4], float top, float bottom) {
  total[0] = fmaf(top, part[0], total[0]), total[1] = fmaf(top, part[1], total[1]);
  total[2] = fmaf(bottom, part[2], total[2]), total[3] = fmaf(bottom, part[3], total[3]);
}

// The sums of all warps to y(rows,N), from row r0 and output `first`. `raw` is 2048·J bytes that nobody uses.
template <int J>
__device__ __forceinline__ void finish(float (&total)[J][4], unsigned char* raw, void* y, int ydt, int add, int first, int r0, int rows, int N) {
  combine(total, raw);
#pragma unroll 1
  for (int e = threadIdx.x; e < 16 * J * 8; e += 256) {
    const int n = e % 16, r = e / 16;
    if (first + n < N && r0 + r < rows) sink(ydt, y, add, (long long)(r0 + r) * N + first + n, combined<J>(raw, n, r));
  }
}
