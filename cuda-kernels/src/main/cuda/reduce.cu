// Reduce: sum, mean or maximum along one axis of (outer, count, inner) (org.llmcore.op.Reduce).
//
// | kernel                | geometry                                                | order of the sum                        |
// |-----------------------|---------------------------------------------------------|-----------------------------------------|
// | llm_reduce_rows        | inner = 1: a block of 128 threads per row               | thread t takes t, t+128, …; then a tree |
// | llm_reduce_columns     | 256 threads a block, one output element a thread        | one ascending chain                     |
// | llm_reduce_spread      | 256 threads a block, striding over x's elements         | backward of sum and mean                |
// | llm_reduce_spread_max  | 256 threads a block, one output element a thread        | backward of max: first equal element    |
//
// Forward reads x once; 1 FLOP an element. No atomics.
#include "common.cuh"

enum : int { SUM, MEAN, MAX };   // the ordinals of Reduce.Function

extern "C" __global__ void __launch_bounds__(128) llm_reduce_rows(void* y, int ydt, const void* x, int xdt, int count, int f) {
  __shared__ float scratch[32];
  const long long row = blockIdx.x;
  float s = f == MAX ? -INFINITY : 0.0f;
  for (int c = threadIdx.x; c < count; c += blockDim.x) {
    const float v = load(xdt, x, row * count + c);
    s = f == MAX ? fmaxf(s, v) : s + v;
  }
  s = f == MAX ? block_max(s, scratch) : block_sum(s, scratch);
  if (threadIdx.x == 0) store(ydt, y, row, f == MEAN ? s / count : s);
}

extern "C" __global__ void __launch_bounds__(256)
llm_reduce_columns(void* y, int ydt, const void* x, int xdt, long long n, int count, long long inner, int f) {
  FOR_EACH(i, n) {
    const long long first = i / inner * count * inner + i % inner;
    float s = f == MAX ? -INFINITY : 0.0f;
    for (int j = 0; j < count; j++) {
      const float v = load(xdt, x, first + j * inner);
      s = f == MAX ? fmaxf(s, v) : s + v;
    }
    store(ydt, y, i, f == MEAN ? s / count : s);
  }
}

extern "C" __global__ void __launch_bounds__(256)
llm_reduce_spread(void* dx, int dxdt, int add, const void* dy, int dydt, long long n, int count, long long inner, int f) {
  FOR_EACH(i, n) {
    const float g = load(dydt, dy, i / (count * inner) * inner + i % inner);
    sink(dxdt, dx, add, i, f == MEAN ? g / count : g);
  }
}

extern "C" __global__ void __launch_bounds__(256)
llm_reduce_spread_max(void* dx, int dxdt, int add, const void* dy, int dydt, const void* x, int xdt, const void* y, int ydt, long long n,
                      int count, long long inner) {
  FOR_EACH(i, n) {
    const long long first = i / inner * count * inner + i % inner;
    const float g = load(dydt, dy, i), top = load(ydt, y, i);
    bool found = false;
    for (int j = 0; j < count; j++) {
      const bool here = !found && load(xdt, x, first + j * inner) == top;
      found |= here;
      sink(dxdt, dx, add, first + j * inner, here ? g : 0.0f);
    }
  }
}

EXPORT_KERNEL(llm_reduce_rows)
EXPORT_KERNEL(llm_reduce_columns)
EXPORT_KERNEL(llm_reduce_spread)
EXPORT_KERNEL(llm_reduce_spread_max)
