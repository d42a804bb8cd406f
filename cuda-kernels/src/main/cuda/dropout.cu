// Dropout: y[i] (+)= kept(key, i) ? x[i] / (1 - rate) : 0, forward and backward alike (org.llmcore.op.Dropout).
//
// kept is the finaliser of SplitMix64 over (key, i), bit for bit the CPU's, so the mask is the same on every device and needs no
// memory. Geometry: blocks of 256 threads that stride over 8 elements each. Reads x, writes y; about 12 integer operations an element.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(256)
llm_dropout_mask(void* y, int ydt, int add, const void* x, int xdt, long long n, unsigned long long key, unsigned threshold, float factor) {
  const bool aligned = wide(0, (const char*)y, (const char*)x);
  FOR_EACH_8(i, n) {
    const bool fast = aligned && i + 8 <= n;
    float v[8];
    load8(xdt, v, x, i, n - i, fast);
#pragma unroll
    for (int j = 0; j < 8; j++) {
      unsigned long long z = key + (unsigned long long)(i + j + 1) * 0x9E3779B97F4A7C15ull;
      z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
      z = (z ^ z >> 27) * 0x94D049BB133111EBull;
      z = (z ^ z >> 31) >> 40;   // 24 bits: uniform in [0, 1) times 2^24
      v[j] = z >= threshold ? v[j] * factor : 0.0f;
    }
    sink8(ydt, y, add, i, n - i, fast, v);
  }
}

EXPORT_KERNEL(llm_dropout_mask)
