// hostblas.cpp - the five functions of cuBLAS that we call, naive and in double precision, for tests of the binding: column-major, and in the
// order of the host driver's stream.
#include <cstdint>
#include <cstring>

#define API extern "C" __attribute__((visibility("default"))) int
extern "C" int cuStreamSynchronize(void*);
static float bf(uint16_t x) { uint32_t u = (uint32_t)x << 16; float f; memcpy(&f, &u, 4); return f; }
static uint16_t bf(float f) { uint32_t u; memcpy(&u, &f, 4); return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16); }
static double get(const void* p, int type, long i) {
  if (type == 0) return ((const float*)p)[i];
  if (type == 14) return bf(((const uint16_t*)p)[i]);
  _Float16 h; memcpy(&h, (const uint16_t*)p + i, 2); return (float)h;
}
static void put(void* p, int type, long i, double v) {
  if (type == 0) ((float*)p)[i] = (float)v;
  else if (type == 14) ((uint16_t*)p)[i] = bf((float)v);
  else { _Float16 h = (_Float16)(float)v; memcpy((uint16_t*)p + i, &h, 2); }
}
API cublasCreate_v2(void** h) { *h = new void*(nullptr); return 0; }
API cublasDestroy_v2(void* h) { delete (void**)h; return 0; }
API cublasSetStream_v2(void* h, void* s) { *(void**)h = s; return 0; }
API cublasGetVersion_v2(void*, int* v) { *v = 130100; return 0; }
API cublasGemmEx(void* h, int ta, int tb, int m, int n, int k, const float* alpha, const void* a, int at, int lda, const void* b, int bt, int ldb,
                 const float* beta, void* c, int ct, int ldc, int compute, int) {
  if (compute != 68) return 15;   // CUBLAS_STATUS_NOT_SUPPORTED
  cuStreamSynchronize(*(void**)h);
  for (int j = 0; j < n; j++)
    for (int i = 0; i < m; i++) {
      double s = 0;
      for (int l = 0; l < k; l++) s += get(a, at, ta ? (long)i * lda + l : (long)l * lda + i) * get(b, bt, tb ? (long)l * ldb + j : (long)j * ldb + l);
      const long at2 = (long)j * ldc + i;
      put(c, ct, at2, *alpha * s + (*beta != 0 ? *beta * get(c, ct, at2) : 0));
    }
  return 0;
}
