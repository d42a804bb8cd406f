// Rotary positions for every dtype (org.llmcore.op.Rope), bound by memory: 8 pairs of 4 heads a thread, 16 bytes an access.
//
// | kernel          | geometry                        | bytes moved                                 | FLOPs/element |
// |-----------------|---------------------------------|---------------------------------------------|---------------|
// | llm_rope_rotate | strides over 8 pairs of 4 heads | x, y; cos and sin from L2 for every 4 heads | 3             |
//
// One thread turns its pairs whole, so y may be x. positions and cos/sin come from memory: no device computes a sine of its own.
#include "common.cuh"

static constexpr int HEADS = 4;

// Turns eight pairs.
__device__ __forceinline__ void turn(float (&a)[8], float (&b)[8], const float (&cosine)[8], const float (&sine)[8], int inverse) {
#pragma unroll
  for (int j = 0; j < 8; j++) {
    const float s = inverse ? -sine[j] : sine[j], u = a[j], v = b[j];
    a[j] = u * cosine[j] - v * s;
    b[j] = u * s + v * cosine[j];
  }
}

extern "C" __global__ void __launch_bounds__(256)
llm_rope_rotate(void* y, int ydt, int add, const void* x, int xdt, const int* positions, const float* table, long long rows, int heads, int width,
                int neighbours, int inverse) {
  const int half = width / 2, each = (half + 7) / 8, groups = (heads + HEADS - 1) / HEADS;
  const bool fast = wide(half, (char*)y, (const char*)x, table), narrow = rows * groups * each < 1ll << 31;
  FOR_EACH(i, rows * groups * each) {
    const long long group = narrow ? (unsigned)i / (unsigned)each : i / each, row = narrow ? (unsigned)group / (unsigned)groups : group / groups;
    const int p = (int)(i - group * each) * 8, n = half - p, from = (int)(group - row * groups) * HEADS;
    const long long angles = (long long)positions[row] * width;
    float cosine[8], sine[8];
    load8(F32, cosine, table, angles + p, n, fast), load8(F32, sine, table, angles + half + p, n, fast);
    if (fast && xdt == BF16 && !neighbours) {   // all heads are fetched before one is written: y may be x, and then the compiler keeps the order
      const bf16* pairs = static_cast<const bf16*>(x) + (row * heads + from) * width + p;
      Pack8 u[HEADS], v[HEADS];
#pragma unroll
      for (int h = 0; h < HEADS; h++) {
        if (from + h >= heads) break;
        u[h] = *reinterpret_cast<const Pack8*>(pairs + (long long)h * width), v[h] = *reinterpret_cast<const Pack8*>(pairs + (long long)h * width + half);
      }
#pragma unroll
      for (int h = 0; h < HEADS; h++) {
        if (from + h >= heads) break;
        float a[8], b[8];
        load8(a, reinterpret_cast<const bf16*>(u + h)), load8(b, reinterpret_cast<const bf16*>(v + h));
        turn(a, b, cosine, sine, inverse);
        const long long at = (row * heads + from + h) * width + p;
        sink8(ydt, y, add, at, n, true, a), sink8(ydt, y, add, at + half, n, true, b);
      }
      continue;
    }
    for (int h = from; h < min(from + HEADS, heads); h++) {
      // Pairs lie at u and v: half a head apart, or side by side.
      const long long at = (row * heads + h) * width, first = at + (neighbours ? 2 * p : p), second = neighbours ? first + 8 : first + half;
      const int n1 = neighbours ? 2 * n : n, n2 = neighbours ? 2 * n - 8 : n;
      float a[8], b[8];
      load8(xdt, a, x, first, n1, fast), load8(xdt, b, x, second, n2, fast);
      if (neighbours) {
        float f[16];
#pragma unroll
        for (int j = 0; j < 8; j++) f[j] = a[j], f[8 + j] = b[j];
#pragma unroll
        for (int j = 0; j < 8; j++) a[j] = f[2 * j], b[j] = f[2 * j + 1];
      }
      turn(a, b, cosine, sine, inverse);
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
}

EXPORT_KERNEL(llm_rope_rotate)
