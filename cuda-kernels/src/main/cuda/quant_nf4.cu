// 4-bit NormalFloat with or without double quantization (org.llmcore.tensor.Nf4, as QLoRA holds its base).
//     w[e] = level[code[e]]·absmax[e/64]      absmax[b] = map[q[b]]·scale[b/256] + offset      e = n·K + k, high nibble first
//
// | kernel                              | geometry               | bytes moved                   | takes           |
// |-------------------------------------|------------------------|-------------------------------|-----------------|
// | llm_quant_nf4_dequantize            | strides over 8 weights | codes, absmax, y              | every K         |
// | llm_quant_nf4_row, _rows (up to 4)  | quant.cuh              | codes once, absmax, x, y      | K % 32 == 0     |
//
// `tables` is 16 levels and the 256 values of the map. `scale` is null where absmax is f32.
#include "nf4.cuh"
#include "quant.cuh"

struct NormalFloat {
  static constexpr int SLOT = 512 + 16;
  const float* levels; const float* map; const void* absmax; const float* scale; const float* offset; int inputs;
  MEMBER long long from(int row, int chunk) const { return ((long long)row * inputs + chunk * QUANT_CHUNK) / 2; }
  MEMBER int bytes(int chunk) const { return min(QUANT_CHUNK, inputs - chunk * QUANT_CHUNK) / 2; }
  MEMBER float largest(long long block) const {
    if (!scale) return static_cast<const float*>(absmax)[block];
    return nf4_absmax(map[static_cast<const unsigned char*>(absmax)[block]], scale[block / NF4_NESTED], offset[0]);
  }
  // 8 weights of one block from 4 bytes.
  MEMBER void decode(float (&w)[8], uint32_t codes, long long e) const {
    const float a = largest(e / NF4_BLOCK);
#pragma unroll
    for (int j = 0; j < 8; j++) w[j] = levels[codes >> (8 * (j / 2) + (j % 2 ? 0 : 4)) & 15] * a;
  }
  MEMBER void decode8(float (&w)[8], const unsigned char* p, int row, int first, int unit, int sub) const {
    decode(w, *reinterpret_cast<const uint32_t*>(p + 16 * unit + 4 * sub), (long long)row * inputs + first + 32 * unit + 8 * sub);
  }
};

extern "C" __global__ void __launch_bounds__(256)
llm_quant_nf4_dequantize(void* y, int ydt, const unsigned char* codes, const float* tables, const void* absmax, const float* scale, const float* offset,
                         long long n) {
  __shared__ float levels[16];
  if (threadIdx.x < 16) levels[threadIdx.x] = tables[threadIdx.x];
  __syncthreads();
  const NormalFloat f{levels, tables + 16, absmax, scale, offset, 0};
  FOR_EACH(i, (n + 7) / 8) {
    const long long e = 8 * i;
    const int have = (int)(n - e < 8 ? n - e : 8);
    uint32_t q = 0;
    if (have == 8) q = *reinterpret_cast<const uint32_t*>(codes + e / 2);
    else for (int b = 0; b < (have + 1) / 2; b++) q |= (uint32_t)codes[e / 2 + b] << (8 * b);
    float w[8];
    f.decode(w, q, e);
    write8(y, ydt, e, w, have, have == 8);
  }
}

template <int ROWS>
__device__ __forceinline__ void product(void* y, int ydt, int add, const void* x, int xdt, const unsigned char* codes, const float* tables,
                                        const void* absmax, const float* scale, const float* offset, int rows, int N, int K, float* levels,
                                        unsigned char* shared) {
  if (threadIdx.x < 16) levels[threadIdx.x] = tables[threadIdx.x];   // the first barrier of quant_rows comes before its first use
  const NormalFloat f{levels, tables + 16, absmax, scale, offset, K};
  quant_rows<ROWS>(f, codes, (long long)N * K / 2, y, ydt, add, x, xdt, rows, N, K, shared);
}

extern "C" __global__ void __launch_bounds__(128, 4)
llm_quant_nf4_row(void* y, int ydt, int add, const void* x, int xdt, const unsigned char* codes, const float* tables, const void* absmax,
                  const float* scale, const float* offset, int rows, int N, int K) {
  DYN_SHARED(shared);
  __shared__ float levels[16];
  product<1>(y, ydt, add, x, xdt, codes, tables, absmax, scale, offset, rows, N, K, levels, shared);
}

extern "C" __global__ void __launch_bounds__(128, 4)
llm_quant_nf4_rows(void* y, int ydt, int add, const void* x, int xdt, const unsigned char* codes, const float* tables, const void* absmax,
                   const float* scale, const float* offset, int rows, int N, int K) {
  DYN_SHARED(shared);
  __shared__ float levels[16];
  product<4>(y, ydt, add, x, xdt, codes, tables, absmax, scale, offset, rows, N, K, levels, shared);
}

EXPORT_KERNEL(llm_quant_nf4_dequantize)
EXPORT_KERNEL(llm_quant_nf4_row)
EXPORT_KERNEL(llm_quant_nf4_rows)
