// TopK: the k largest among the first columns of each row, falling, and Σ exp((x - max)·scale) of those columns (org.llmcore.op.TopK).
//
// Geometry: a block of 1024 threads per row, 8 columns a thread and turn; 16 KiB of shared memory.
//
// A key is a number of 64 bits that orders values, and equal ones by id, so no two are equal. Every thread finds the largest key of its columns; the k-th
// largest of those is a bound that at least k keys reach, for logits of a model hardly more. Those are collected in any order and sorted, so the result does not
// depend on that order. Should more than 1024 reach the bound, the k-th of 1024 of them is a better one, and the row is read again.
//
// x is read twice, the second time from L2; two FLOPs an element in either pass and an exponential. Sums: each thread's columns in order, then a tree. Sorting is
// bitonic: 55 steps over 1024 keys, 28 where 128 remain. By arithmetic a row of 32,000 columns takes two
// passes of 128 KB at 64 bytes a cycle, 2.4 µs, and 83 steps of some 80 cycles, 3.9 µs at 1.7 GHz; with the latency of 4 turns a pass some 8 µs.
#include "common.cuh"

static constexpr int THREADS = 1024, KEPT = 1024;
using Key = unsigned long long;

__device__ __forceinline__ Key key_of(float v, int id) {
  const int bits = v != v ? 0x7fc00000 : __float_as_int(v + 0.0f);   // one NaN, above +∞; -0 is 0
  const unsigned rising = (unsigned)(bits ^ (bits >> 31 & 0x7fffffff)) ^ 0x80000000u;
  return (Key)rising << 32 | (unsigned)~id;
}
__device__ __forceinline__ float value_of(Key k) {
  const int bits = (int)((unsigned)(k >> 32) ^ 0x80000000u);
  return __int_as_float(bits ^ (bits >> 31 & 0x7fffffff));
}

// n keys, a power of two, falling (Batcher 1968); everybody may read them afterwards.
__device__ __forceinline__ void sort_falling(Key* keys, int n) {
  for (int size = 2; size <= n; size *= 2)
    for (int stride = size / 2; stride; stride /= 2) {
      __syncthreads();
      for (int i = threadIdx.x; i < n / 2; i += THREADS) {
        const int a = 2 * i - (i & (stride - 1)), b = a + stride;
        const Key x = keys[a], y = keys[b];
        if ((x < y) == ((a & size) == 0)) keys[a] = y, keys[b] = x;
      }
    }
  __syncthreads();
}

extern "C" __global__ void __launch_bounds__(1024)
llm_top_k(float* values, int* ids, float* total, const void* x, int xdt, const float* scale, int width, int columns, int k) {
  __shared__ Key largest[THREADS], found[KEPT];
  __shared__ float scratch[32];
  __shared__ int reaching;
  const long long row = (long long)blockIdx.x * width;
  const bool fast = wide(width, (const char*)x);
  Key mine = 0;   // below the key of any value
  for (int c = threadIdx.x * 8; c < columns; c += 8 * THREADS) {
    float f[8];
    load8(xdt, f, x, row + c, columns - c, fast);
#pragma unroll
    for (int j = 0; j < 8; j++) {
      const Key key = key_of(f[j], c + j);
      if (j < columns - c && key > mine) mine = key;
    }
  }
  largest[threadIdx.x] = mine;
  sort_falling(largest, THREADS);

  const float top = value_of(largest[0]), s = scale[blockIdx.x];
  Key bound = largest[k - 1];
  float sum;
  int count;
  do {
    if (threadIdx.x == 0) reaching = 0;
    __syncthreads();   // and everybody knows the bound
    sum = 0.0f;
    for (int c = threadIdx.x * 8; c < columns; c += 8 * THREADS) {
      float f[8];
      load8(xdt, f, x, row + c, columns - c, fast);
#pragma unroll
      for (int j = 0; j < 8; j++) {
        if (j >= columns - c) continue;
        sum += expf((f[j] - top) * s);
        const Key key = key_of(f[j], c + j);
        if (key < bound) continue;
        const int at = atomicAdd(&reaching, 1);
        if (at < KEPT) found[at] = key;
      }
    }
    sum = block_sum(sum, scratch);   // and everything found is there
    count = reaching;
    int n = 2;
    while (n < min(count, KEPT)) n *= 2;
    for (int i = count + threadIdx.x; i < n; i += THREADS) found[i] = 0;
    sort_falling(found, n);
    bound = found[k - 1];
  } while (count > KEPT);
  if (threadIdx.x < k) {
    values[(long long)blockIdx.x * k + threadIdx.x] = value_of(found[threadIdx.x]);
    ids[(long long)blockIdx.x * k + threadIdx.x] = (int)~(unsigned)found[threadIdx.x];
  }
  if (threadIdx.x == 0) total[blockIdx.x] = sum;
}

EXPORT_KERNEL(llm_top_k)
