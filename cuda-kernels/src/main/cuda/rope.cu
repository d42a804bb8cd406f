// Rotary positions for every dtype (org.llmcore.op.Rope), bound by memory: 8 pairs a thread, 16 bytes an access.
//
// | kernel          | geometry                    | bytes moved                                | FLOPs/element |
// |-----------------|-----------------------------|--------------------------------------------|---------------|
// | llm_rope_rotate | strides over 8 pairs        | x, y; cos and sin from L2 for every head   | 3             |
//
// One thread turns its pairs whole, so y may be x. positions and cos/sin come from memory: no device computes a sine of its own.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(256)
llm_rope_rotate(void* y, int ydt, int add, const void* x, int xdt, const int* positions, const float* table, long long count, int heads, int width,
                int neighbours, int inverse) {
  const int half = width / 2, each = (half + 7) / 8;
  const bool fast = wide(half, (char*)y, (const char*)x, table);
  FOR_EACH(i, count * each) {
    const long long head = i / each, angles = (long long)positions[head / heads] * width;
    const int p = (int)(i % each) * 8, n = half - p;
    // Pairs lie at u and v: half a head apart, or side by side.
    const long long at = head * width, first = at + (neighbours ? 2 * p : p), second = neighbours ? first + 8 : first + half;
    const int n1 = neighbours ? 2 * n : n, n2 = neighbours ? 2 * n - 8 : n;
    float cosine[8], sine[8], a[8], b[8];
    load8(F32, cosine, table, angles + p, n, fast), load8(F32, sine, table, angles + half + p, n, fast);
    load8(xdt, a, x, first, n1, fast), load8(xdt, b, x, second, n2, fast);
    if (neighbours) {
      float f[16];
#pragma unroll
      for (int j = 0; j < 8; j++) f[j] = a[j], f[8 + j] = b[j];
#pragma unroll
      for (int j = 0; j < 8; j++) a[j] = f[2 * j], b[j] = f[2 * j + 1];
    }
#pragma unroll
    for (int j = 0; j < 8; j++) {
      const float s = inverse ? -sine[j] : sine[j], u = a[j], v = b[j];
      a[j] = u * cosine[j] - v * s;
      b[j] = u * s + v * cosine[j];
    }
    if (neighbours) {
      float f[16];
#pragma unroll
      for (int j = 0; j < 8; j++) f[2 * j] = a[j], f[2 * j + 1] = b[j];
#pragma unroll
      for (int j = 0; j < 8; j++) a[j] = f[j], b[j] = f[8 + j];
    }
    sink8(ydt, y, add, first, n1, fast, a), sink8(ydt, y, add, second, n2, fast, b);
  }
}

EXPORT_KERNEL(llm_rope_rotate)
