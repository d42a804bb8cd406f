// Binary: y = f(a, b) with broadcasting, and the gradient of one operand (org.llmcore.op.Binary).
//
// Geometry: blocks of 256 threads that stride over y's elements forward, over the operand's elements backward. All shapes are given
// as 8 dimensions of y, padded in front with 1, and per operand its stride along each, 0 where it is stretched. Forward reads a and b
// and writes y; backward reads dy and the operands once per element of y and writes the operand's gradient once. 1 to 4 FLOPs.
//
// The gradient of a stretched operand is a chain in ascending order of y's elements by one thread, which starts from the
// destination when adding: no atomics, and splitting a batch between two calls changes no bit (rule 2 of org.llmcore.op.Kernel).
#include "common.cuh"

struct Eight { long long n[8]; };
enum : int { ADD, SUB, MUL, DIV };   // the ordinals of Binary.Function

extern "C" __global__ void __launch_bounds__(256)
llm_binary_forward(void* y, int ydt, const void* a, int adt, const void* b, int bdt, long long n, Eight dims, Eight as, Eight bs, int f) {
  FOR_EACH(i, n) {
    long long ia = 0, ib = 0, rest = i;
    for (int d = 7; d >= 0; d--) {
      const long long c = rest % dims.n[d];
      rest /= dims.n[d], ia += c * as.n[d], ib += c * bs.n[d];
    }
    const float u = load(adt, a, ia), v = load(bdt, b, ib);
    store(ydt, y, i, f == ADD ? u + v : f == SUB ? u - v : f == MUL ? u * v : u / v);
  }
}

// `own` are the dimensions of the operand, `over` those along which it is stretched (1 elsewhere): own · over = dims, axis by axis.
extern "C" __global__ void __launch_bounds__(256)
llm_binary_backward(void* g, int gdt, int add, const void* dy, int dydt, const void* a, int adt, const void* b, int bdt, long long n,
                    long long repeats, Eight own, Eight over, Eight ys, Eight as, Eight bs, int f, int second) {
  FOR_EACH(i, n) {
    long long y0 = 0, a0 = 0, b0 = 0, rest = i;
    for (int d = 7; d >= 0; d--) {
      const long long c = rest % own.n[d];
      rest /= own.n[d], y0 += c * ys.n[d], a0 += c * as.n[d], b0 += c * bs.n[d];
    }
    float sum = add ? load(gdt, g, i) : 0.0f;
    for (long long r = 0; r < repeats; r++) {
      long long iy = y0, ia = a0, ib = b0;
      rest = r;
      for (int d = 7; d >= 0; d--) {
        const long long c = rest % over.n[d];
        rest /= over.n[d], iy += c * ys.n[d], ia += c * as.n[d], ib += c * bs.n[d];
      }
      const float w = load(dydt, dy, iy);
      if (f == ADD) sum += w;
      else if (f == SUB) sum += second ? -w : w;
      else {
        const float v = load(bdt, b, ib);
        if (!second) sum += f == MUL ? w * v : w / v;
        else { const float u = load(adt, a, ia); sum += f == MUL ? w * u : -w * u / (v * v); }
      }
    }
    store(gdt, g, i, sum);
  }
}

EXPORT_KERNEL(llm_binary_forward)
EXPORT_KERNEL(llm_binary_backward)
