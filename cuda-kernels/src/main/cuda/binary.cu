// Binary: y = f(a, b) with broadcasting, and the gradient of one operand (org.llmcore.op.Binary). 1 to 4 FLOPs an element: bytes decide.
//
// | kernel                   | when                     | geometry                                     | bytes moved per element      |
// |--------------------------|--------------------------|----------------------------------------------|------------------------------|
// | llm_binary_forward_flat  | a, b and y of one shape  | strides over 8 elements, 16 bytes an access  | a, b, y                      |
// | llm_binary_backward_flat | the same                 | the same                                     | dy, (a), (b), the gradient   |
// | llm_binary_forward       | an operand is stretched  | strides over y's elements                    | a, b, y                      |
// | llm_binary_backward      | the same                 | strides over the operand's elements          | dy, (a), (b), gradient once  |
//
// Where an operand is stretched, shapes are 8 dimensions of y, padded in front with 1, and per operand its stride along each, 0 where it is
// stretched; indices are divided in 32 bits where they fit. (An H100 took 1.1 ms for the gradient of a sum of 8192x4096 by 64-bit divisions along
// eight dimensions, seven of them 1: a fifth of a LoRA step.)
//
// The gradient of a stretched operand is a chain in ascending order of y's elements by one thread, which starts from the
// destination when adding: no atomics, and splitting a batch between two calls changes no bit (rule 2 of org.llmcore.op.Kernel).
#include "common.cuh"

struct Eight { long long n[8]; };
enum : int { ADD, SUB, MUL, DIV };   // the ordinals of Binary.Function

__device__ __forceinline__ float apply(int f, float u, float v) { return f == ADD ? u + v : f == SUB ? u - v : f == MUL ? u * v : u / v; }
// What one element of y gives to the gradient of a, or of b if `second`.
__device__ __forceinline__ float slope(int f, int second, float w, float u, float v) {
  if (f == ADD) return w;
  if (f == SUB) return second ? -w : w;
  if (!second) return f == MUL ? w * v : w / v;
  return f == MUL ? w * u : -w * u / (v * v);
}

// Offsets of element i of a tensor of these dimensions, by the strides of three others.
template <class I>
__device__ __forceinline__ void walk(I i, const Eight& dims, const Eight& s0, const Eight& s1, const Eight& s2, long long& o0, long long& o1, long long& o2) {
  for (int d = 7; i; d--) {   // what is left of i is 0 when only dimensions of 1 are
    const I n = (I)dims.n[d], c = i % n;
    i /= n, o0 += c * s0.n[d], o1 += c * s1.n[d], o2 += c * s2.n[d];
  }
}
__device__ __forceinline__ void walk(bool narrow, long long i, const Eight& dims, const Eight& s0, const Eight& s1, const Eight& s2, long long& o0,
                                     long long& o1, long long& o2) {
  if (narrow) walk((unsigned)i, dims, s0, s1, s2, o0, o1, o2); else walk(i, dims, s0, s1, s2, o0, o1, o2);
}

extern "C" __global__ void __launch_bounds__(256)
llm_binary_forward_flat(void* y, int ydt, const void* a, int adt, const void* b, int bdt, long long n, int f) {
  const bool aligned = wide(0, (const char*)y, (const char*)a, (const char*)b);
  FOR_EACH_8(i, n) {
    const bool fast = aligned && i + 8 <= n;
    float u[8], v[8];
    load8(adt, u, a, i, n - i, fast), load8(bdt, v, b, i, n - i, fast);
#pragma unroll
    for (int j = 0; j < 8; j++) u[j] = apply(f, u[j], v[j]);
    store8(ydt, y, i, n - i, fast, u);
  }
}

extern "C" __global__ void __launch_bounds__(256)
llm_binary_backward_flat(void* g, int gdt, int add, const void* dy, int dydt, const void* a, int adt, const void* b, int bdt, long long n, int f, int second) {
  const bool aligned = wide(0, (const char*)g, (const char*)dy, (const char*)a, (const char*)b);
  FOR_EACH_8(i, n) {
    const bool fast = aligned && i + 8 <= n;
    float w[8], u[8] = {}, v[8] = {};
    load8(dydt, w, dy, i, n - i, fast);
    if (f >= MUL && second) load8(adt, u, a, i, n - i, fast);
    if (f == DIV || (f == MUL && !second)) load8(bdt, v, b, i, n - i, fast);
#pragma unroll
    for (int j = 0; j < 8; j++) w[j] = slope(f, second, w[j], u[j], v[j]);
    sink8(gdt, g, add, i, n - i, fast, w);
  }
}

extern "C" __global__ void __launch_bounds__(256)
llm_binary_forward(void* y, int ydt, const void* a, int adt, const void* b, int bdt, long long n, const __grid_constant__ Eight dims, const __grid_constant__ Eight as,
                   const __grid_constant__ Eight bs, int f) {
  FOR_EACH(i, n) {
    long long ia = 0, ib = 0, none = 0;
    walk(n >> 32 == 0, i, dims, as, bs, dims, ia, ib, none);
    store(ydt, y, i, apply(f, load(adt, a, ia), load(bdt, b, ib)));
  }
}

// `own` are the dimensions of the operand, `over` those along which it is stretched (1 elsewhere): own · over = dims, axis by axis.
extern "C" __global__ void __launch_bounds__(256)
llm_binary_backward(void* g, int gdt, int add, const void* dy, int dydt, const void* a, int adt, const void* b, int bdt, long long n,
                    long long repeats, const __grid_constant__ Eight own, const __grid_constant__ Eight over, const __grid_constant__ Eight ys,
                    const __grid_constant__ Eight as, const __grid_constant__ Eight bs, int f, int second) {
  FOR_EACH(i, n) {
    long long y0 = 0, a0 = 0, b0 = 0;
    walk(n >> 32 == 0, i, own, ys, as, bs, y0, a0, b0);
    float sum = add ? load(gdt, g, i) : 0.0f;
    for (long long r = 0; r < repeats; r++) {
      long long iy = y0, ia = a0, ib = b0;
      walk(repeats >> 32 == 0, r, over, ys, as, bs, iy, ia, ib);
      sum += slope(f, second, load(dydt, dy, iy), f >= MUL && second ? load(adt, a, ia) : 0.0f, f >= MUL ? load(bdt, b, ib) : 1.0f);
    }
    store(gdt, g, i, sum);
  }
}

EXPORT_KERNEL(llm_binary_forward_flat)
EXPORT_KERNEL(llm_binary_backward_flat)
EXPORT_KERNEL(llm_binary_forward)
EXPORT_KERNEL(llm_binary_backward)
