// Move: fill, copy with conversion, permutation of axes, windows (org.llmcore.op.Move).
//
// | kernel          | computes                                          | bytes per element      |
// |-----------------|---------------------------------------------------|------------------------|
// | llm_move_fill    | y[i] = value                                      | write y                |
// | llm_move_copy    | y[i] (+)= x[i]                                    | read x, (y), write y   |
// | llm_move_permute | y[i] (+)= x[Σ_d coordinate_d(i) · stride_d]       | read x, (y), write y   |
// | llm_move_window  | small[i] (+)= large[at(i)], or the other way      | read, (read), write    |
//
// Geometry: blocks of 256 threads that stride over the elements of the smaller side; fill and copy take 8 at a time, 16 bytes an access where both
// addresses are multiples of 16 (one element a thread copied at 1.7 TB/s on an H100). No FLOPs but the addition. A permutation reads without
// coalescing where the last axis moves; it is on no hot path of a Llama.
#include "common.cuh"

// Up to 8 numbers by value: dimensions and strides of tensors.
struct Eight { long long n[8]; };

extern "C" __global__ void __launch_bounds__(256) llm_move_fill(void* y, int ydt, long long n, float value) {
  const bool aligned = wide(0, y);
  FOR_EACH_8(i, n) {
    const float v[8] = {value, value, value, value, value, value, value, value};
    store8(ydt, y, i, n - i, aligned && i + 8 <= n, v);
  }
}

extern "C" __global__ void __launch_bounds__(256) llm_move_copy(void* y, int ydt, int add, const void* x, int xdt, long long n) {
  const bool aligned = wide(0, x, y);
  FOR_EACH_8(i, n) {
    const bool fast = aligned && i + 8 <= n;
    float v[8];
    load8(xdt, v, x, i, n - i, fast);
    sink8(ydt, y, add, i, n - i, fast, v);
  }
}

// dims are y's, padded in front with 1; strides are x's elements per step along each of them.
extern "C" __global__ void __launch_bounds__(256)
llm_move_permute(void* y, int ydt, int add, const void* x, int xdt, long long n, Eight dims, Eight strides) {
  FOR_EACH(i, n) {
    long long at = 0, rest = i;
    for (int d = 7; d >= 0; d--) at += rest % dims.n[d] * strides.n[d], rest /= dims.n[d];
    sink(ydt, y, add, i, load(xdt, x, at));
  }
}

// Element i of the small tensor is element i / run * span + offset + i % run of the large one; y is the small one if `take`.
extern "C" __global__ void __launch_bounds__(256)
llm_move_window(void* y, int ydt, int add, const void* x, int xdt, long long n, long long run, long long span, long long offset, int take) {
  FOR_EACH(i, n) {
    const long long at = i / run * span + offset + i % run;
    sink(ydt, y, add, take ? i : at, load(xdt, x, take ? at : i));
  }
}

EXPORT_KERNEL(llm_move_fill)
EXPORT_KERNEL(llm_move_copy)
EXPORT_KERNEL(llm_move_permute)
EXPORT_KERNEL(llm_move_window)
