// The optimizer: AdamW, and clipping by the global norm (org.llmcore.op.AdamW, org.llmcore.op.GradientNorm).
//
// | kernel                  | geometry                  | bytes per element                             | FLOPs/element |
// |-------------------------|---------------------------|-----------------------------------------------|---------------|
// | llm_adamw_step           | strides over 8 elements   | 28 (read grad, w, m, v; write w, m, v), + w's | 14            |
// | llm_gradient_norm_sum    | one block of 1024 threads | 4 (read x)                                    | 2, in f64     |
// | llm_gradient_norm_clip   | one block of 32 threads   | 4 per slot                                    | 1, in f64     |
//
// The clip factor lies on the device, so the host never waits for it. The sum of squares is f64: thread t takes elements t, t+1024, …, then
// a tree; one block is enough for adapters, not for a model's full gradient (about 0.3 s for 7 billion by bandwidth of one multiprocessor).
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

extern "C" __global__ void __launch_bounds__(1024) llm_gradient_norm_sum(float* sum, const void* x, int xdt, long long n) {
  __shared__ double scratch[32];
  double s = 0.0;
  for (long long i = threadIdx.x; i < n; i += 1024) { const double v = load(xdt, x, i); s += v * v; }
#pragma unroll
  for (int k = 16; k; k >>= 1) s += __shfl_xor_sync(0xffffffffu, s, k);
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = s;
  __syncthreads();
  if (threadIdx.x < 32) {
    s = scratch[threadIdx.x];
#pragma unroll
    for (int k = 16; k; k >>= 1) s += __shfl_xor_sync(0xffffffffu, s, k);
    if (threadIdx.x == 0) *sum = (float)s;
  }
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
EXPORT_KERNEL(llm_gradient_norm_clip)
