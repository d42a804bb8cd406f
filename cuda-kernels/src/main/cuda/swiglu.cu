// The gated unit of a Llama for every dtype (org.llmcore.op.SwiGlu), bound by memory: 8 elements a thread, 16 bytes an access.
//
// | kernel              | geometry                 | bytes moved per element         | FLOPs/element |
// |---------------------|--------------------------|---------------------------------|---------------|
// | llm_swiglu_forward  | strides over 8 elements  | gate, up, h                     | 6             |
// | llm_swiglu_backward | strides over 8 elements  | dh, gate, up, dgate, dup        | 14            |
#include "common.cuh"

__device__ __forceinline__ float logistic(float x) { return 1.0f / (1.0f + expf(-x)); }

extern "C" __global__ void __launch_bounds__(256)
llm_swiglu_forward(void* h, int hdt, const void* gate, int gdt, const void* up, int udt, long long n) {
  const bool aligned = wide(0, (char*)h, (const char*)gate, (const char*)up);
  FOR_EACH_8(i, n) {
    const bool fast = aligned && i + 8 <= n;
    float g[8], u[8];
    load8(gdt, g, gate, i, n - i, fast), load8(udt, u, up, i, n - i, fast);
#pragma unroll
    for (int j = 0; j < 8; j++) u[j] *= g[j] * logistic(g[j]);
    store8(hdt, h, i, n - i, fast, u);
  }
}

// A null dgate or dup is wanted by nobody.
extern "C" __global__ void __launch_bounds__(256)
llm_swiglu_backward(void* dgate, int dgdt, int dgadd, void* dup, int dudt, int duadd, const void* dh, int dhdt, const void* gate, int gdt, const void* up,
                    int udt, long long n) {
  const bool aligned = wide(0, (char*)dgate, (char*)dup, (const char*)dh, (const char*)gate, (const char*)up);
  FOR_EACH_8(i, n) {
    const bool fast = aligned && i + 8 <= n;
    float g[8], d[8], u[8];
    load8(gdt, g, gate, i, n - i, fast), load8(dhdt, d, dh, i, n - i, fast), load8(udt, u, up, i, n - i, fast);
#pragma unroll
    for (int j = 0; j < 8; j++) {
      const float s = logistic(g[j]), own = d[j];
      d[j] = own * g[j] * s;
      g[j] = own * u[j] * s * (1.0f + g[j] * (1.0f - s));
    }
    if (dup) sink8(dudt, dup, duadd, i, n - i, fast, d);
    if (dgate) sink8(dgdt, dgate, dgadd, i, n - i, fast, g);
  }
}

EXPORT_KERNEL(llm_swiglu_forward)
EXPORT_KERNEL(llm_swiglu_backward)
