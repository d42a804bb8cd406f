// The optimizer: AdamW, and clipping by the global norm (org.llmcore.op.AdamW, org.llmcore.op.GradientNorm).
//
// | kernel                  | geometry                  | bytes per element                             | FLOPs/element |
// |-------------------------|---------------------------|-----------------------------------------------|---------------|
// | llm_adamw_step           | strides over 8 elements   | 28 (read grad, w, m, v; write w, m, v), + w's | 14            |
// | llm_gradient_norm_sum    | blocks of 1024 threads    | 4 (read x), 8 per block                       | 2, in f64     |
// | llm_gradient_norm_total  | one block of 1024 threads | 8 per block of the sum                        | 1, in f64     |
// | llm_gradient_norm_clip   | one block of 32 threads   | 4 per slot                                    | 1, in f64     |
//
// The clip factor lies on the device, so the host never waits for it. The sum of squares is f64 in an order that the size alone decides: a thread takes
// every so many eights of elements, a block adds its threads by a tree, the total its blocks by another. A block for every 32,768 elements, 1024 at most; an
// adapter's gradient is one block, which writes the sum itself.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(256)
llm_adamw_step(void* w, int wdt, float* master, float* m, float* v, const float* grad, const float* clip, long long n, float keep, float beta1, float rest1,
               float beta2, float rest2, float rate, float root, float eps) {
  const float factor = *clip;
  const bool aligned = wide(0, (char*)w, master, m, v, grad);
  FOR_EACH_8(i, n) {
    const bool fast = aligned && i + 8 <= n;
    float g[8], m1[8], v1[8], moved[8];
    load8(F32, g, grad, i, n - i, fast), load8(F32, m1, m, i, n - i, fast), load8(F32, v1, v, i, n - i, fast), load8(F32, moved, master, i, n - i, fast);
#pragma unroll
    for (int j = 0; j < 8; j++) {
      g[j] *= factor;
      m1[j] = fmaf(g[j], rest1, m1[j] * beta1), v1[j] = fmaf(g[j] * g[j], rest2, v1[j] * beta2);
      moved[j] = fmaf(moved[j], keep, -rate * m1[j] / fmaf(sqrtf(v1[j]), root, eps));
    }
    store8(F32, m, i, n - i, fast, m1), store8(F32, v, i, n - i, fast, v1), store8(F32, master, i, n - i, fast, moved);
    if (w != master) store8(wdt, w, i, n - i, fast, moved);
  }
}

// The sum over a block of 1024 threads, for the first of them.
__device__ __forceinline__ double block_total(double s) {
  __shared__ double scratch[32];
#pragma unroll
  for (int k = 16; k; k >>= 1) s += __shfl_xor_sync(0xffffffffu, s, k);
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = s;
  __syncthreads();
  if (threadIdx.x < 32) {
    s = scratch[threadIdx.x];
#pragma unroll
    for (int k = 16; k; k >>= 1) s += __shfl_xor_sync(0xffffffffu, s, k);
  }
  return s;
}

extern "C" __global__ void __launch_bounds__(1024) llm_gradient_norm_sum(float* sum, double* parts, const void* x, int xdt, long long n) {
  const bool aligned = wide(0, x);
  double s = 0.0;
  FOR_EACH_8(i, n) {
    float v[8];
    load8(xdt, v, x, i, n - i, aligned && i + 8 <= n);
#pragma unroll
    for (int j = 0; j < 8; j++) s += (double)v[j] * v[j];
  }
  s = block_total(s);
  if (threadIdx.x > 0) return;
  if (gridDim.x == 1) *sum = (float)s;
  else parts[blockIdx.x] = s;
}

extern "C" __global__ void __launch_bounds__(1024) llm_gradient_norm_total(float* sum, const double* parts, int n) {
  const double s = block_total(threadIdx.x < n ? parts[threadIdx.x] : 0.0);
  if (threadIdx.x == 0) *sum = (float)s;
}

extern "C" __global__ void __launch_bounds__(32) llm_gradient_norm_clip(float* norm, float* factor, const float* sums, int slots, float most) {
  double s = 0.0;
  for (int i = threadIdx.x; i < slots; i += 32) s += sums[i];
#pragma unroll
  for (int k = 16; k; k >>= 1) s += __shfl_xor_sync(0xffffffffu, s, k);
  if (threadIdx.x == 0) {
    const float n = (float)sqrt(s);
    *norm = n;
    *factor = most <= 0.0f ? 1.0f : fminf(1.0f, most / (n + 1e-6f));
  }
}

EXPORT_KERNEL(llm_adamw_step)
EXPORT_KERNEL(llm_gradient_norm_sum)
EXPORT_KERNEL(llm_gradient_norm_total)
EXPORT_KERNEL(llm_gradient_norm_clip)
