// Weights on a uniform grid per group of columns (org.llmcore.tensor.Grouped, as GPTQ and round-to-nearest make them): 2, 3, 4 and 8 bits, any group
// size, groups of reordered columns too.   w[n,k] = scale[n,g]·(q[n,k] − zero[n,g])
//
// | kernel                                  | geometry                  | bytes moved                        |
// |-----------------------------------------|---------------------------|------------------------------------|
// | llm_quant_grouped_dequantize            | strides over 8 columns    | codes, y                           |
// | llm_quant_grouped_row, _rows (up to 4)  | quant.cuh                 | codes once, scales and zeros, x, y |
//
// 16 neighbouring columns are 16 bytes under one shift and one mask, so 8 of them are 8 bytes. Rows of codes begin at multiples of 16.
#include "quant.cuh"

template <int BITS> struct Grouped {
  static constexpr int SLOT = 128 * BITS + 16;
  const void* scales; int sdt; const f16* zeros; const int* order; int size, groups, inputs, width;
  MEMBER long long from(int row, int chunk) const { return (long long)row * width + chunk * (128 * BITS); }
  MEMBER int bytes(int chunk) const { return min(128 * BITS, width - chunk * (128 * BITS)); }
  static MEMBER int code(uint2 low, uint2 high, int shift, int mask, int bit, int j) {
    return (byte_of(low, j) >> shift & mask) | (byte_of(high, j) >> bit & 1) << 2;
  }
  // The same where 8 neighbours belong to several groups: once in the machine code, not once per use.
  NOT_INLINE void scattered(float* w, uint2 low, uint2 high, int shift, int mask, int bit, long long line, int column) const {
#pragma unroll 1
    for (int j = 0; j < 8; j++) {
      const int c = min(column + j, inputs - 1);
      const long long g = line + (order ? order[c] : c / size);
      w[j] = load(sdt, scales, g) * ((float)code(low, high, shift, mask, bit, j) - get(zeros, g));
    }
  }
  MEMBER void decode8(float (&w)[8], const unsigned char* p, int row, int first, int unit, int sub) const {
    const int v = 2 * unit + sub / 2, half = sub % 2 * 8;   // vector of 16 columns, and which half of it
    const int piece = BITS == 8 ? v : BITS == 4 ? v / 2 : BITS == 2 ? v / 4 : v / 8 * 3 + v % 8 / 4;
    const int shift = BITS == 8 ? 0 : BITS == 4 ? v % 2 * 4 : v % 4 * 2, mask = BITS == 3 ? 3 : (1 << BITS) - 1;
    const uint2 low = *reinterpret_cast<const uint2*>(p + piece * 16 + half);
    uint2 high = make_uint2(0, 0);
    if (BITS == 3) high = *reinterpret_cast<const uint2*>(p + (v / 8 * 3 + 2) * 16 + half);
    const int column = first + 32 * unit + 8 * sub;
    const long long line = (long long)row * groups;
    const bool one = !order && (size % 8 == 0 || groups == 1);   // one group for all 8
    if (!one) {
      float t[8];
      scattered(t, low, high, shift, mask, v & 7, line, column);
#pragma unroll
      for (int j = 0; j < 8; j++) w[j] = t[j];
      return;
    }
    const float scale = load(sdt, scales, line + column / size), zero = get(zeros, line + column / size);
#pragma unroll
    for (int j = 0; j < 8; j++) w[j] = scale * ((float)code(low, high, shift, mask, v & 7, j) - zero);
  }
};

template <int BITS> __device__ __forceinline__ void dequantize(void* y, int ydt, const unsigned char* codes, const Grouped<BITS>& f, int N, int K) {
  const int pieces = (K + 7) / 8;
  FOR_EACH(i, (long long)N * pieces) {
    const int row = (int)(i / pieces), column = (int)(i % pieces) * 8, first = column / 128 * 128;   // 128 columns are whole packs
    float w[8];
    f.decode8(w, codes + (long long)row * f.width + first / 128 * (16 * BITS), row, first, (column - first) / 32, column % 32 / 8);
    write8(y, ydt, (long long)row * K + column, w, min(8, K - column), K % 8 == 0);
  }
}

#define GROUPED(BITS) Grouped<BITS> f{scales, sdt, zeros, order, size, groups, K, width}

extern "C" __global__ void __launch_bounds__(256)
llm_quant_grouped_dequantize(void* y, int ydt, const unsigned char* codes, const void* scales, int sdt, const f16* zeros, const int* order, int bits,
                             int size, int groups, int width, int N, int K) {
  if (bits == 4) { GROUPED(4); dequantize(y, ydt, codes, f, N, K); }
  else if (bits == 8) { GROUPED(8); dequantize(y, ydt, codes, f, N, K); }
  else if (bits == 3) { GROUPED(3); dequantize(y, ydt, codes, f, N, K); }
  else { GROUPED(2); dequantize(y, ydt, codes, f, N, K); }
}

template <int ROWS, int BITS>
__device__ __forceinline__ void product(const Grouped<BITS>& f, void* y, int ydt, int add, const void* x, int xdt, const unsigned char* codes, int rows,
                                        int N, int K, unsigned char* shared) {
  quant_rows<ROWS>(f, codes, (long long)N * f.width, y, ydt, add, x, xdt, rows, N, K, shared);
}

extern "C" __global__ void __launch_bounds__(128, 4)
llm_quant_grouped_row(void* y, int ydt, int add, const void* x, int xdt, const unsigned char* codes, const void* scales, int sdt, const f16* zeros,
                      const int* order, int bits, int size, int groups, int width, int rows, int N, int K) {
  DYN_SHARED(shared);
  if (bits == 4) { GROUPED(4); product<1>(f, y, ydt, add, x, xdt, codes, rows, N, K, shared); }
  else if (bits == 8) { GROUPED(8); product<1>(f, y, ydt, add, x, xdt, codes, rows, N, K, shared); }
  else if (bits == 3) { GROUPED(3); product<1>(f, y, ydt, add, x, xdt, codes, rows, N, K, shared); }
  else { GROUPED(2); product<1>(f, y, ydt, add, x, xdt, codes, rows, N, K, shared); }
}

extern "C" __global__ void __launch_bounds__(128, 4)
llm_quant_grouped_rows(void* y, int ydt, int add, const void* x, int xdt, const unsigned char* codes, const void* scales, int sdt, const f16* zeros,
                       const int* order, int bits, int size, int groups, int width, int rows, int N, int K) {
  DYN_SHARED(shared);
  if (bits == 4) { GROUPED(4); product<4>(f, y, ydt, add, x, xdt, codes, rows, N, K, shared); }
  else if (bits == 8) { GROUPED(8); product<4>(f, y, ydt, add, x, xdt, codes, rows, N, K, shared); }
  else if (bits == 3) { GROUPED(3); product<4>(f, y, ydt, add, x, xdt, codes, rows, N, K, shared); }
  else { GROUPED(2); product<4>(f, y, ydt, add, x, xdt, codes, rows, N, K, shared); }
}

EXPORT_KERNEL(llm_quant_grouped_dequantize)
EXPORT_KERNEL(llm_quant_grouped_row)
EXPORT_KERNEL(llm_quant_grouped_rows)
