// Unary: y = f(x) and dx = dy · f'(x), element by element (org.llmcore.op.Unary, whose table gives f and f').
//
// Geometry: blocks of 256 threads that stride over the elements. Forward reads x and writes y; backward reads dy, x, y (and dx when
// adding) and writes dx. 1 to about 40 FLOPs an element (erf), so the bytes decide. Libm functions, not the fast intrinsics.
#include "common.cuh"

enum : int { NEG, EXP, LOG, SQRT, RSQRT, SQUARE, TANH, SIGMOID, RELU, SILU, GELU };   // the ordinals of Unary.Function

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
// Φ(x); erfc keeps its digits where x is far below 0.
__device__ __forceinline__ float normal(float x) { return 0.5f * erfcf(-0.70710678118654752f * x); }

extern "C" __global__ void __launch_bounds__(256) llm_unary_forward(void* y, int ydt, const void* x, int xdt, long long n, int f) {
  FOR_EACH(i, n) {
    const float v = load(xdt, x, i);
    float r = 0.0f;
    switch (f) {
      case NEG: r = -v; break;
      case EXP: r = expf(v); break;
      case LOG: r = logf(v); break;
      case SQRT: r = sqrtf(v); break;
      case RSQRT: r = 1.0f / sqrtf(v); break;
      case SQUARE: r = v * v; break;
      case TANH: r = tanhf(v); break;
      case SIGMOID: r = sigmoid(v); break;
      case RELU: r = fmaxf(v, 0.0f); break;
      case SILU: r = v * sigmoid(v); break;
      case GELU: r = v * normal(v); break;
    }
    store(ydt, y, i, r);
  }
}

extern "C" __global__ void __launch_bounds__(256)
llm_unary_backward(void* dx, int dxdt, int add, const void* dy, int dydt, const void* x, int xdt, const void* y, int ydt, long long n, int f) {
  FOR_EACH(i, n) {
    const float v = load(xdt, x, i), r = load(ydt, y, i);
    float slope = 0.0f;
    switch (f) {
      case NEG: slope = -1.0f; break;
      case EXP: slope = r; break;
      case LOG: slope = 1.0f / v; break;
      case SQRT: slope = 1.0f / (2.0f * r); break;
      case RSQRT: slope = -r / (2.0f * v); break;
      case SQUARE: slope = 2.0f * v; break;
      case TANH: slope = 1.0f - r * r; break;
      case SIGMOID: slope = r * (1.0f - r); break;
      case RELU: slope = v > 0.0f ? 1.0f : 0.0f; break;
      case SILU: { const float s = sigmoid(v); slope = s * (1.0f + v * (1.0f - s)); break; }
      case GELU: slope = normal(v) + v * expf(-0.5f * v * v) * 0.39894228040143268f; break;
    }
    sink(dxdt, dx, add, i, load(dydt, dy, i) * slope);
  }
}

EXPORT_KERNEL(llm_unary_forward)
EXPORT_KERNEL(llm_unary_backward)
