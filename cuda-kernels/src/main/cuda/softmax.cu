// Softmax and log-softmax over the last dimension, forward and backward (org.llmcore.op.Softmax).
//
//   y = exp(x - lse), or x - lse          dx = y∘(dy - Σ y∘dy), or dy - exp(y)·Σ dy
//
// Geometry: a block of 128 threads per row. Forward reads x three times (the second and third from L1/L2) and writes y; backward reads
// dy and y twice. About 10 FLOPs an element. Sums: thread t takes columns t, t+128, …, then a tree.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(128) llm_softmax_forward(void* y, int ydt, const void* x, int xdt, int columns, int log) {
  __shared__ float scratch[32];
  const long long row = (long long)blockIdx.x * columns;
  float top = -INFINITY, sum = 0.0f;
  for (int c = threadIdx.x; c < columns; c += blockDim.x) top = fmaxf(top, load(xdt, x, row + c));
  top = block_max(top, scratch);
  for (int c = threadIdx.x; c < columns; c += blockDim.x) sum += expf(load(xdt, x, row + c) - top);
  sum = block_sum(sum, scratch);
  const float lse = top + logf(sum), scale = 1.0f / sum;
  for (int c = threadIdx.x; c < columns; c += blockDim.x) {
    const float v = load(xdt, x, row + c);
    store(ydt, y, row + c, log ? v - lse : expf(v - top) * scale);
  }
}

extern "C" __global__ void __launch_bounds__(128)
llm_softmax_backward(void* dx, int dxdt, int add, const void* dy, int dydt, const void* y, int ydt, int columns, int log) {
  __shared__ float scratch[32];
  const long long row = (long long)blockIdx.x * columns;
  float sum = 0.0f;
  for (int c = threadIdx.x; c < columns; c += blockDim.x) {
    const float g = load(dydt, dy, row + c);
    sum += log ? g : g * load(ydt, y, row + c);
  }
  sum = block_sum(sum, scratch);
  for (int c = threadIdx.x; c < columns; c += blockDim.x) {
    const float g = load(dydt, dy, row + c), v = load(ydt, y, row + c);
    sink(dxdt, dx, add, row + c, log ? g - expf(v) * sum : v * (g - sum));
  }
}

EXPORT_KERNEL(llm_softmax_forward)
EXPORT_KERNEL(llm_softmax_backward)
