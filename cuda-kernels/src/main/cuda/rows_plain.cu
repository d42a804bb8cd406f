// The row-wise and element-wise operators of a Llama for every dtype, in plain f32: RmsNorm, Rope, SwiGlu, Embedding, CrossEntropy.
// What the tuned kernels are compared with, and the path of dtypes and sizes those do not take.
//
// | kernel                              | geometry                              | bytes moved                       | FLOPs/element |
// |-------------------------------------|---------------------------------------|-----------------------------------|---------------|
// | llm_rms_norm_forward                 | a block of 128 threads per row        | x twice (L2), w, y                | 4             |
// | llm_rms_norm_backward_x              | a block of 128 threads per row        | dy, x, w twice (L2), dx           | 8             |
// | llm_rms_norm_backward_w              | a thread per column, chain over rows  | dy, x once, dw                    | 3             |
// | llm_rope_rotate                      | strides over pairs                    | x, y, cos and sin                 | 3             |
// | llm_swiglu_forward, _backward        | strides over elements                 | gate, up, h; + dh, dgate, dup     | 6, 14         |
// | llm_embedding_forward                | strides over elements of y            | one row, y                        | 0             |
// | llm_embedding_backward               | a thread per column, chain over tokens| dy, dtable read and written       | 1             |
// | llm_cross_entropy_forward, _backward, _fused | a block of 256 threads per token | z twice (_fused also writes it) | 6             |
//
// Sums over a row: thread t takes columns t, t+blockDim, …, then a tree. Sums over tokens that end in a parameter's gradient are one
// ascending chain that starts from the destination when adding (rule 2 of org.llmcore.op.Kernel). No atomics.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(128)
llm_rms_norm_forward(void* y, int ydt, float* rstd, const void* x, int xdt, const void* w, int wdt, int columns, float eps) {
  __shared__ float scratch[32];
  const long long row = (long long)blockIdx.x * columns;
  float s = 0.0f;
  for (int c = threadIdx.x; c < columns; c += blockDim.x) { const float v = load(xdt, x, row + c); s += v * v; }
  s = block_sum(s, scratch);
  const float r = 1.0f / sqrtf(s / columns + eps);
  if (threadIdx.x == 0) rstd[blockIdx.x] = r;
  for (int c = threadIdx.x; c < columns; c += blockDim.x) store(ydt, y, row + c, load(xdt, x, row + c) * r * load(wdt, w, c));
}

// dx = rstd · (w∘dy - x · rstd² · mean(w∘dy∘x))
extern "C" __global__ void __launch_bounds__(128)
llm_rms_norm_backward_x(void* dx, int dxdt, int add, const void* dy, int dydt, const void* x, int xdt, const void* w, int wdt, const float* rstd,
                        int columns) {
  __shared__ float scratch[32];
  const long long row = (long long)blockIdx.x * columns;
  const float r = rstd[blockIdx.x];
  float s = 0.0f;
  for (int c = threadIdx.x; c < columns; c += blockDim.x) s += load(wdt, w, c) * load(dydt, dy, row + c) * load(xdt, x, row + c);
  const float k = block_sum(s, scratch) / columns * r * r;
  for (int c = threadIdx.x; c < columns; c += blockDim.x)
    sink(dxdt, dx, add, row + c, r * (load(wdt, w, c) * load(dydt, dy, row + c) - load(xdt, x, row + c) * k));
}

extern "C" __global__ void __launch_bounds__(256)
llm_rms_norm_backward_w(void* dw, int dwdt, int add, const void* dy, int dydt, const void* x, int xdt, const float* rstd, int rows, int columns) {
  FOR_EACH(c, columns) {
    float s = add ? load(dwdt, dw, c) : 0.0f;
    for (long long r = 0; r < rows; r++) s += load(dydt, dy, r * columns + c) * load(xdt, x, r * columns + c) * rstd[r];
    store(dwdt, dw, c, s);
  }
}

// One thread turns one pair, so y may be x. positions and cos/sin come from memory: no device computes a sine of its own.
extern "C" __global__ void __launch_bounds__(256)
llm_rope_rotate(void* y, int ydt, int add, const void* x, int xdt, const int* positions, const float* table, long long pairs, int heads, int width,
                int neighbours, int inverse) {
  const int half = width / 2;
  FOR_EACH(i, pairs) {
    const int p = i % half;
    const long long head = i / half, angles = (long long)positions[head / heads] * width;
    const long long iu = head * width + (neighbours ? 2 * p : p), iv = neighbours ? iu + 1 : iu + half;
    const float cosine = table[angles + p], sine = inverse ? -table[angles + half + p] : table[angles + half + p];
    const float u = load(xdt, x, iu), v = load(xdt, x, iv);
    sink(ydt, y, add, iu, u * cosine - v * sine);
    sink(ydt, y, add, iv, u * sine + v * cosine);
  }
}

__device__ __forceinline__ float logistic(float x) { return 1.0f / (1.0f + expf(-x)); }

extern "C" __global__ void __launch_bounds__(256)
llm_swiglu_forward(void* h, int hdt, const void* gate, int gdt, const void* up, int udt, long long n) {
  FOR_EACH(i, n) {
    const float g = load(gdt, gate, i);
    store(hdt, h, i, g * logistic(g) * load(udt, up, i));
  }
}

// A null dgate or dup is wanted by nobody.
extern "C" __global__ void __launch_bounds__(256)
llm_swiglu_backward(void* dgate, int dgdt, int dgadd, void* dup, int dudt, int duadd, const void* dh, int dhdt, const void* gate, int gdt, const void* up,
                    int udt, long long n) {
  FOR_EACH(i, n) {
    const float g = load(gdt, gate, i), d = load(dhdt, dh, i), u = load(udt, up, i), s = logistic(g);
    if (dup) sink(dudt, dup, duadd, i, d * g * s);
    if (dgate) sink(dgdt, dgate, dgadd, i, d * u * s * (1.0f + g * (1.0f - s)));
  }
}

// A row of NaN for an id outside the table: the loss shows it, where a host device would have refused it.
extern "C" __global__ void __launch_bounds__(256)
llm_embedding_forward(void* y, int ydt, const int* ids, const void* table, int tdt, long long n, int columns, int rows) {
  FOR_EACH(i, n) {
    const int id = ids[i / columns];
    store(ydt, y, i, id >= 0 && id < rows ? load(tdt, table, (long long)id * columns + i % columns) : NAN);
  }
}

extern "C" __global__ void __launch_bounds__(256)
llm_embedding_backward(void* dtable, int tdt, const void* dy, int dydt, const int* ids, int tokens, int columns, int rows) {
  FOR_EACH(c, columns)
    for (long long t = 0; t < tokens; t++)
      if (ids[t] >= 0 && ids[t] < rows) sink(tdt, dtable, 1, (long long)ids[t] * columns + c, load(dydt, dy, t * columns + c));
}

// log Σ exp over one row, by the whole block.
__device__ __forceinline__ float row_lse(int dtype, const void* z, long long row, int columns, float* scratch) {
  float top = -INFINITY, sum = 0.0f;
  for (int c = threadIdx.x; c < columns; c += blockDim.x) top = fmaxf(top, load(dtype, z, row + c));
  top = block_max(top, scratch);
  for (int c = threadIdx.x; c < columns; c += blockDim.x) sum += expf(load(dtype, z, row + c) - top);
  return top + logf(block_sum(sum, scratch));
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
  const float l = row_lse(zdt, z, row, columns, scratch);
  if (threadIdx.x == 0) lse[blockIdx.x] = l, loss[blockIdx.x] = token_loss(zdt, z, row, columns, targets[blockIdx.x], l);
}

extern "C" __global__ void __launch_bounds__(256)
llm_cross_entropy_backward(void* dz, int dzdt, int add, const float* dloss, const void* z, int zdt, const float* lse, const int* targets, int columns) {
  const long long row = (long long)blockIdx.x * columns;
  const int target = targets[blockIdx.x];
  const float l = lse[blockIdx.x], g = target == IGNORE ? 0.0f : dloss[blockIdx.x];
  for (int c = threadIdx.x; c < columns; c += blockDim.x) sink(dzdt, dz, add, row + c, g * (expf(load(zdt, z, row + c) - l) - (c == target ? 1.0f : 0.0f)));
}

// The loss, and over the logits their gradient for an upstream gradient of `scale`.
extern "C" __global__ void __launch_bounds__(256) llm_cross_entropy_fused(float* loss, void* z, int zdt, const int* targets, int columns, float scale) {
  __shared__ float scratch[32];
  const long long row = (long long)blockIdx.x * columns;
  const int target = targets[blockIdx.x];
  const float l = row_lse(zdt, z, row, columns, scratch), g = target == IGNORE ? 0.0f : scale;
  if (threadIdx.x == 0) loss[blockIdx.x] = token_loss(zdt, z, row, columns, target, l);
  __syncthreads();   // the target's logit is read before it is overwritten
  for (int c = threadIdx.x; c < columns; c += blockDim.x) store(zdt, z, row + c, g * (expf(load(zdt, z, row + c) - l) - (c == target ? 1.0f : 0.0f)));
}

EXPORT_KERNEL(llm_rms_norm_forward)
EXPORT_KERNEL(llm_rms_norm_backward_x)
EXPORT_KERNEL(llm_rms_norm_backward_w)
EXPORT_KERNEL(llm_rope_rotate)
EXPORT_KERNEL(llm_swiglu_forward)
EXPORT_KERNEL(llm_swiglu_backward)
EXPORT_KERNEL(llm_embedding_forward)
EXPORT_KERNEL(llm_embedding_backward)
EXPORT_KERNEL(llm_cross_entropy_forward)
EXPORT_KERNEL(llm_cross_entropy_backward)
EXPORT_KERNEL(llm_cross_entropy_fused)
