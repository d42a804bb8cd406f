// Softmax cross entropy for every dtype (org.llmcore.op.CrossEntropy), bound by memory: a block of 256 threads per token, 16 bytes an access.
//
// | kernel                                 | bytes moved per logit                             | FLOPs/element |
// |----------------------------------------|---------------------------------------------------|---------------|
// | llm_cross_entropy_forward              | z read once                                       | 5             |
// | llm_cross_entropy_backward             | z read, dz written                                | 4             |
// | llm_cross_entropy_fused                | z read, read again (L2), written                  | 9             |
//
// The maximum and the sum of exponentials are taken in one pass: each thread rescales its sum when its maximum grows (Milakov & Gimelshein
// 2018, arXiv:1805.02867), then the block adds the sums, all brought to the row's maximum, as a tree.
#include "common.cuh"

// log Σ exp over one row, by the whole block.
__device__ __forceinline__ float row_lse(int dtype, const void* z, long long row, int columns, bool fast, float* scratch) {
  float top = -INFINITY, sum = 0.0f;
  for (int c = threadIdx.x * 8; c < columns; c += 2048) {
    float f[8], higher = top;
    load8(dtype, f, z, row + c, columns - c, fast);
    const int n = min(8, columns - c);
#pragma unroll
    for (int j = 0; j < 8; j++) if (j < n) higher = fmaxf(higher, f[j]);
    const float base = higher == -INFINITY ? 0.0f : higher;
    sum *= expf(top - base);
#pragma unroll
    for (int j = 0; j < 8; j++) if (j < n) sum += expf(f[j] - base);
    top = higher;
  }
  const float most = block_max(top, scratch), base = most == -INFINITY ? 0.0f : most;
  return base + logf(block_sum(sum * expf(top - base), scratch));
}

static constexpr int IGNORE = -100;   // a target without a loss; any other outside the vocabulary gives NaN
__device__ __forceinline__ float token_loss(int dtype, const void* z, long long row, int columns, int target, float lse) {
  if (target == IGNORE) return 0.0f;
  return target >= 0 && target < columns ? lse - load(dtype, z, row + target) : NAN;
}

extern "C" __global__ void __launch_bounds__(256)
llm_cross_entropy_forward(float* loss, float* lse, const void* z, int zdt, const int* targets, int columns) {
  __shared__ float scratch[32];
  const long long row = (long long)blockIdx.x * columns;
  const float l = row_lse(zdt, z, row, columns, wide(columns, (const char*)z), scratch);
  if (threadIdx.x == 0) lse[blockIdx.x] = l, loss[blockIdx.x] = token_loss(zdt, z, row, columns, targets[blockIdx.x], l);
}

// dz = g · (exp(z - lse) - [c = target]); dz may be z.
__device__ __forceinline__ void gradient(void* dz, int dzdt, int add, const void* z, int zdt, long long row, int columns, bool fast, float g, float lse, int target) {
  for (int c = threadIdx.x * 8; c < columns; c += 2048) {
    float f[8];
    load8(zdt, f, z, row + c, columns - c, fast);
#pragma unroll
    for (int j = 0; j < 8; j++) f[j] = g * (expf(f[j] - lse) - (c + j == target ? 1.0f : 0.0f));
    sink8(dzdt, dz, add, row + c, columns - c, fast, f);
  }
}

extern "C" __global__ void __launch_bounds__(256)
llm_cross_entropy_backward(void* dz, int dzdt, int add, const float* dloss, const void* z, int zdt, const float* lse, const int* targets, int columns) {
  const int target = targets[blockIdx.x];
  gradient(dz, dzdt, add, z, zdt, (long long)blockIdx.x * columns, columns, wide(columns, (char*)dz, (const char*)z), target == IGNORE ? 0.0f : dloss[blockIdx.x],
           lse[blockIdx.x], target);
}

// The loss, and the gradient of the logits for an upstream gradient of `scale`; dz may be z.
extern "C" __global__ void __launch_bounds__(256)
llm_cross_entropy_fused(float* loss, void* dz, int dzdt, const void* z, int zdt, const int* targets, int columns, float scale) {
  __shared__ float scratch[32];
  const long long row = (long long)blockIdx.x * columns;
  const bool fast = wide(columns, (char*)dz, (const char*)z);
  const int target = targets[blockIdx.x];
  const float l = row_lse(zdt, z, row, columns, fast, scratch);
  if (threadIdx.x == 0) loss[blockIdx.x] = token_loss(zdt, z, row, columns, target, l);
  __syncthreads();   // the target's logit is read before it is overwritten
  gradient(dz, dzdt, 0, z, zdt, row, columns, fast, target == IGNORE ? 0.0f : scale, l, target);
}

EXPORT_KERNEL(llm_cross_entropy_forward)
EXPORT_KERNEL(llm_cross_entropy_backward)
EXPORT_KERNEL(llm_cross_entropy_fused)
