// Root-mean-square normalisation for every dtype (org.llmcore.op.RmsNorm), bound by memory.
//
// | kernel                  | geometry                                   | bytes moved, elements of R·C                        | FLOPs/element |
// |-------------------------|--------------------------------------------|-----------------------------------------------------|---------------|
// | llm_rms_norm_forward    | a block of 128 threads per row             | x, y; w from L2, x again from L1                    | 4             |
// | llm_rms_norm_forward_added | the same                                | x, r, h, y; w from L2, h again from L1              | 5             |
// | llm_rms_norm_backward_x | a block of 128 threads per row             | dy, x, dx; w from L2, dy and x again from L1        | 8             |
// | llm_rms_norm_backward_w | a block of 512 threads per 32 columns      | dy, x: whole sectors of 32 bytes                    | 3             |
//
// 16 bytes an access where rows and addresses allow it, single elements elsewhere, the same sums either way. Sums over a row: thread t takes
// columns 8t … 8t+7, then those 1024 further on, then a tree. dw is one ascending chain over rows that starts from the destination when adding
// (rule 2 of org.llmcore.op.Kernel): 16 warps fetch and multiply 128 rows ahead while one adds 128 products per column, 4 cycles each, so that
// the chain of 8192 rows takes 20 µs, less than its bytes. No atomics.
//
// Rows of bf16 up to 4096 columns are held in registers (`_row`): all that a thread reads is under way at once, and nothing is read twice.
#include "common.cuh"

static constexpr int HELD = 4, SPAN = 1024;   // pieces of 8 columns a thread, from one to the next

__device__ __forceinline__ void take(Pack8 (&to)[HELD], const bf16* row, int columns) {
#pragma unroll
  for (int i = 0; i < HELD; i++) {
    const int c = threadIdx.x * 8 + i * SPAN;
    if (c < columns) to[i] = *reinterpret_cast<const Pack8*>(row + c);
  }
}
__device__ __forceinline__ void open(float (&f)[8], const Pack8& p) { load8(f, reinterpret_cast<const bf16*>(&p)); }
__device__ __forceinline__ bool holds(int columns, int a, int b, int c, int d) {
  return columns <= HELD * SPAN && a == BF16 && b == BF16 && c == BF16 && d == BF16;
}

// y = norm(x), or h = x + r, y = norm(h) where ADDED.
template <bool ADDED>
__device__ __forceinline__ void forward_row(bf16* y, float* rstd, bf16* h, const bf16* x, const bf16* r, const bf16* w, int columns, float eps) {
  __shared__ float scratch[32];
  const long long row = (long long)blockIdx.x * columns;
  Pack8 u[HELD], v[HELD], g[HELD];
  take(u, x + row, columns), take(g, w, columns);
  if (ADDED) take(v, r + row, columns);
  float s = 0.0f;
#pragma unroll
  for (int i = 0; i < HELD; i++) {
    const int c = threadIdx.x * 8 + i * SPAN;
    if (c >= columns) continue;
    float a[8], b[8];
    open(a, u[i]);
    if (ADDED) {
      open(b, v[i]);
#pragma unroll
      for (int j = 0; j < 8; j++) a[j] += b[j];
      store8(h + row + c, a);
#pragma unroll
      for (int j = 0; j < 4; j++) u[i].h[j] = __floats2bfloat162_rn(a[2 * j], a[2 * j + 1]);
      open(a, u[i]);   // as it was rounded
    }
#pragma unroll
    for (int j = 0; j < 8; j++) s = fmaf(a[j], a[j], s);
  }
  s = block_sum(s, scratch);
  const float k = 1.0f / sqrtf(s / columns + eps);
  if (threadIdx.x == 0) rstd[blockIdx.x] = k;
#pragma unroll
  for (int i = 0; i < HELD; i++) {
    const int c = threadIdx.x * 8 + i * SPAN;
    if (c >= columns) continue;
    float a[8], b[8];
    open(a, u[i]), open(b, g[i]);
#pragma unroll
    for (int j = 0; j < 8; j++) a[j] *= k * b[j];
    store8(y + row + c, a);
  }
}

__device__ __forceinline__ void backward_row(bf16* dx, int add, const bf16* dy, const bf16* x, const bf16* w, float r, int columns) {
  __shared__ float scratch[32];
  const long long row = (long long)blockIdx.x * columns;
  Pack8 d[HELD], v[HELD], g[HELD];
  take(d, dy + row, columns), take(v, x + row, columns), take(g, w, columns);
  float s = 0.0f;
#pragma unroll
  for (int i = 0; i < HELD; i++) {
    if (threadIdx.x * 8 + i * SPAN >= columns) continue;
    float a[8], b[8], f[8];
    open(a, d[i]), open(b, v[i]), open(f, g[i]);
#pragma unroll
    for (int j = 0; j < 8; j++) s = fmaf(f[j] * a[j], b[j], s);
  }
  const float k = block_sum(s, scratch) / columns * r * r;
#pragma unroll
  for (int i = 0; i < HELD; i++) {
    const int c = threadIdx.x * 8 + i * SPAN;
    if (c >= columns) continue;
    float a[8], b[8], f[8];
    open(a, d[i]), open(b, v[i]), open(f, g[i]);
#pragma unroll
    for (int j = 0; j < 8; j++) a[j] = r * (f[j] * a[j] - b[j] * k);
    if (add) {
      load8(b, dx + row + c);
#pragma unroll
      for (int j = 0; j < 8; j++) a[j] += b[j];
    }
    store8(dx + row + c, a);
  }
}

// y = norm(x); `get` gives eight elements of x, which the thread that asked finds in x afterwards.
template <typename Get>
__device__ __forceinline__ void forward(void* y, int ydt, float* rstd, const void* x, int xdt, const void* w, int wdt, int columns, float eps, bool fast,
                               Get get) {
  __shared__ float scratch[32];
  const long long row = (long long)blockIdx.x * columns;
  float s = 0.0f;
  for (int c = threadIdx.x * 8; c < columns; c += 1024) {
    float v[8];
    get(v, row + c, columns - c);
#pragma unroll
    for (int j = 0; j < 8; j++) s = fmaf(v[j], v[j], s);
  }
  s = block_sum(s, scratch);
  const float r = 1.0f / sqrtf(s / columns + eps);
  if (threadIdx.x == 0) rstd[blockIdx.x] = r;
  for (int c = threadIdx.x * 8; c < columns; c += 1024) {
    float v[8], g[8];
    load8(xdt, v, x, row + c, columns - c, fast), load8(wdt, g, w, c, columns - c, fast);
#pragma unroll
    for (int j = 0; j < 8; j++) v[j] *= r * g[j];
    store8(ydt, y, row + c, columns - c, fast, v);
  }
}

extern "C" __global__ void __launch_bounds__(128)
llm_rms_norm_forward(void* y, int ydt, float* rstd, const void* x, int xdt, const void* w, int wdt, int columns, float eps) {
  const bool fast = wide(columns, (char*)y, (const char*)x, (const char*)w);
  if (fast && holds(columns, ydt, xdt, wdt, BF16)) return forward_row<false>((bf16*)y, rstd, nullptr, (const bf16*)x, nullptr, (const bf16*)w, columns, eps);
  forward(y, ydt, rstd, x, xdt, w, wdt, columns, eps, fast, [&](float (&v)[8], long long i, int left) { load8(xdt, v, x, i, left, fast); });
}

// h = x + r, y = norm(h)
extern "C" __global__ void __launch_bounds__(128)
llm_rms_norm_forward_added(void* y, int ydt, float* rstd, void* h, int hdt, const void* x, int xdt, const void* r, int rdt, const void* w, int wdt,
                           int columns, float eps) {
  const bool fast = wide(columns, (char*)y, (char*)h, (const char*)x, (const char*)r, (const char*)w);
  if (fast && hdt == BF16 && holds(columns, ydt, xdt, rdt, wdt)) {
    return forward_row<true>((bf16*)y, rstd, (bf16*)h, (const bf16*)x, (const bf16*)r, (const bf16*)w, columns, eps);
  }
  forward(y, ydt, rstd, h, hdt, w, wdt, columns, eps, fast, [&](float (&v)[8], long long i, int left) {
    float u[8];
    load8(xdt, v, x, i, left, fast), load8(rdt, u, r, i, left, fast);
#pragma unroll
    for (int j = 0; j < 8; j++) v[j] += u[j];
    store8(hdt, h, i, left, fast, v);
    load8(hdt, v, h, i, left, fast);   // as it was rounded
  });
}

// dx = rstd · (w∘dy - x · rstd² · mean(w∘dy∘x))
extern "C" __global__ void __launch_bounds__(128)
llm_rms_norm_backward_x(void* dx, int dxdt, int add, const void* dy, int dydt, const void* x, int xdt, const void* w, int wdt, const float* rstd,
                        int columns) {
  __shared__ float scratch[32];
  const long long row = (long long)blockIdx.x * columns;
  const bool fast = wide(columns, (char*)dx, (const char*)dy, (const char*)x, (const char*)w);
  const float r = rstd[blockIdx.x];
  if (fast && holds(columns, dxdt, dydt, xdt, wdt)) return backward_row((bf16*)dx, add, (const bf16*)dy, (const bf16*)x, (const bf16*)w, r, columns);
  float s = 0.0f;
  for (int c = threadIdx.x * 8; c < columns; c += 1024) {
    float d[8], v[8], g[8];
    load8(dydt, d, dy, row + c, columns - c, fast), load8(xdt, v, x, row + c, columns - c, fast), load8(wdt, g, w, c, columns - c, fast);
#pragma unroll
    for (int j = 0; j < 8; j++) s = fmaf(g[j] * d[j], v[j], s);
  }
  const float k = block_sum(s, scratch) / columns * r * r;
  for (int c = threadIdx.x * 8; c < columns; c += 1024) {
    float d[8], v[8], g[8];
    load8(dydt, d, dy, row + c, columns - c, fast), load8(xdt, v, x, row + c, columns - c, fast), load8(wdt, g, w, c, columns - c, fast);
#pragma unroll
    for (int j = 0; j < 8; j++) d[j] = r * (g[j] * d[j] - v[j] * k);
    sink8(dxdt, dx, add, row + c, columns - c, fast, d);
  }
}

static constexpr int COLUMNS = 32, ROWS = 128, PITCH = COLUMNS + 4;   // a row of products begins 4 banks after the last one

extern "C" __global__ void __launch_bounds__(512)
llm_rms_norm_backward_w(void* dw, int dwdt, int add, const void* dy, int dydt, const void* x, int xdt, const float* rstd, int rows, int columns) {
  __shared__ float4 products[2][ROWS * PITCH / 4];
  const bool fast = wide(columns, (const char*)dy, (const char*)x);
  const int r = threadIdx.x / 4, c = blockIdx.x * COLUMNS + threadIdx.x % 4 * 8, own = blockIdx.x * COLUMNS + threadIdx.x;
  float d[8], v[8], k = 0.0f;
  auto fetch = [&](int r0) {
    if (r0 + r >= rows || c >= columns) return;
    const long long i = (long long)(r0 + r) * columns + c;
    load8(dydt, d, dy, i, columns - c, fast), load8(xdt, v, x, i, columns - c, fast), k = rstd[r0 + r];
  };
#pragma unroll
  for (int j = 0; j < 8; j++) d[j] = v[j] = 0.0f;
  fetch(0);
  float s = threadIdx.x < COLUMNS && own < columns && add ? load(dwdt, dw, own) : 0.0f;
  for (int r0 = 0, side = 0; r0 < rows; r0 += ROWS, side ^= 1) {
    float4* p = products[side] + (r * PITCH + threadIdx.x % 4 * 8) / 4;
    p[0] = make_float4(d[0] * v[0] * k, d[1] * v[1] * k, d[2] * v[2] * k, d[3] * v[3] * k);
    p[1] = make_float4(d[4] * v[4] * k, d[5] * v[5] * k, d[6] * v[6] * k, d[7] * v[7] * k);
    fetch(r0 + ROWS);
    __syncthreads();   // these products are here, and the chain over the last ones is done
    if (threadIdx.x < COLUMNS) {
      const int n = min(ROWS, rows - r0);
      const float* column = reinterpret_cast<const float*>(products[side]) + threadIdx.x;
#pragma unroll 8
      for (int i = 0; i < n; i++) s += column[i * PITCH];
    }
  }
  if (threadIdx.x < COLUMNS && own < columns) store(dwdt, dw, own, s);
}

EXPORT_KERNEL(llm_rms_norm_forward)
EXPORT_KERNEL(llm_rms_norm_forward_added)
EXPORT_KERNEL(llm_rms_norm_backward_x)
EXPORT_KERNEL(llm_rms_norm_backward_w)
