// Dropout: y[i] (+)= kept(key, first + i) ? x[i] / (1 - rate) : 0, forward and backward alike (org.llmcore.op.Dropout).
//
// kept is the finaliser of SplitMix64 over key and pair of elements, bit for bit the CPU's, so the mask is the same on every device
// and needs no memory: the lower half of a hash decides an even element, the upper half the odd one behind it. Geometry: blocks of
// 256 threads that stride over 8 elements each, 4 hashes, or 5 where x begins inside a pair. Reads x, writes y; about 12 integer
// instructions an element. 32 registers, so that all 2048 threads of a multiprocessor have their 16 or 32 bytes under way.
#include "common.cuh"

static const unsigned long long STEP = 0x9E3779B97F4A7C15ull;

// z is the counter of the pair that v[-ODD] and v[1 - ODD] would be.
template <int ODD> __device__ __forceinline__ void drop(float (&v)[8], unsigned long long z, unsigned threshold) {
#pragma unroll
  for (int j = -ODD; j < 8; j += 2, z += STEP) {
    unsigned long long h = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    h = (h ^ h >> 27) * 0x94D049BB133111EBull;
    h ^= h >> 31;
    if (j >= 0) v[j] = (unsigned)h >= threshold ? v[j] : 0.0f;
    if (j < 7) v[j + 1] = (unsigned)(h >> 32) >= threshold ? v[j + 1] : 0.0f;
  }
}

extern "C" __global__ void __launch_bounds__(256, 8)
llm_dropout_mask(void* y, int ydt, int add, const void* x, int xdt, long long n, unsigned long long key, long long first, unsigned threshold,
                 float factor) {
  const bool aligned = wide(0, (const char*)y, (const char*)x);
  FOR_EACH_8(i, n) {
    const bool fast = aligned && i + 8 <= n;
    float v[8];
    load8(xdt, v, x, i, n - i, fast);
    const unsigned long long z = key + (((unsigned long long)(first + i) >> 1) + 1) * STEP;
    if (first & 1) drop<1>(v, z, threshold);   // the same branch for all threads
    else drop<0>(v, z, threshold);
#pragma unroll
    for (int j = 0; j < 8; j++) v[j] *= factor;
    sink8(ydt, y, add, i, n - i, fast, v);
  }
}

EXPORT_KERNEL(llm_dropout_mask)
