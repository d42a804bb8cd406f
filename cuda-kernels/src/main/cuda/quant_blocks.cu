// Weights in GGML's block types (ggml.cuh), the bytes as a GGUF file holds them.
//
// | kernel                                 | geometry               | bytes moved          |
// |----------------------------------------|------------------------|----------------------|
// | llm_quant_blocks_dequantize            | strides over 8 weights | codes, y             |
// | llm_quant_blocks_row, _rows (up to 4)  | quant.cuh              | codes once, x, y     |
//
// Blocks of 18 … 34 or 210 bytes begin at even addresses only: the 16-byte pieces go to shared memory and are taken apart there.
#include "ggml.cuh"

template <int TYPE> struct Ggml {
  using Layout = GgmlLayout<TYPE>;
  static constexpr bool SUPER = Layout::SUPER;
  static constexpr int BYTES = Layout::BYTES;
  static constexpr int CHUNK = BYTES * (SUPER ? QUANT_CHUNK / 256 : QUANT_CHUNK / 32), SLOT = (CHUNK + 15) / 16 * 16 + 16;
  int width;   // bytes of a row
  MEMBER long long from(int row, int chunk) const { return (long long)row * width + chunk * CHUNK; }
  MEMBER int bytes(int chunk) const { return min(CHUNK, width - chunk * CHUNK); }

  MEMBER void decode8(float (&w)[8], const unsigned char* p, int, int, int unit, int sub) const {
    if constexpr (TYPE == Q8_0) {
      const unsigned char* b = p + unit * BYTES;
      const float d = half_at(b);
      const uint2 q = bytes8(b + 2 + 8 * sub);
#pragma unroll
      for (int j = 0; j < 8; j++) w[j] = d * (float)(signed char)byte_of(q, j);
    } else if constexpr (!SUPER) {
      constexpr bool FIVE = Layout::FIVE, SHIFTED = Layout::SHIFTED;
      constexpr int HEAD = Layout::HEAD, MIDDLE = SHIFTED ? 0 : FIVE ? 16 : 8;
      const unsigned char* b = p + unit * BYTES;
      const float d = half_at(b), m = SHIFTED ? half_at(b + 2) : 0.0f;
      uint32_t fifth = 0;
      if (FIVE) fifth = reinterpret_cast<const uint16_t*>(b + HEAD)[sub / 2] >> (sub % 2 * 8);   // bits 8·sub … of 32
      const uint2 q = bytes8(b + HEAD + (FIVE ? 4 : 0) + sub % 2 * 8);
#pragma unroll
      for (int j = 0; j < 8; j++) {
        const int v = (byte_of(q, j) >> (sub / 2 * 4) & 15) | (int)(fifth >> j & 1) << 4;
        w[j] = SHIFTED ? __fadd_rn(__fmul_rn(d, (float)v), m) : d * (float)(v - MIDDLE);
      }
    } else if constexpr (TYPE == Q6_K) {
      const unsigned char* b = p + unit / 8 * BYTES;
      const int pair = unit % 8, half = pair / 4, quarter = pair % 4;
      const float d = __fmul_rn(half_at(b + 208), (float)(signed char)b[192 + 2 * pair + sub / 2]);
      const uint2 low = bytes8(b + half * 64 + quarter % 2 * 32 + 8 * sub), high = bytes8(b + 128 + half * 32 + 8 * sub);
#pragma unroll
      for (int j = 0; j < 8; j++) {
        const int v = (byte_of(low, j) >> (quarter / 2 * 4) & 15) | (byte_of(high, j) >> (2 * quarter) & 3) << 4;
        w[j] = d * (float)(v - 32);
      }
    } else {
      const unsigned char* b = p + unit / 8 * BYTES;
      const int pair = unit % 8;
      float scale, least;
      Layout::scales(b + 4, pair, scale, least);
      const float d = __fmul_rn(half_at(b), scale), m = __fmul_rn(half_at(b + 2), least);
      const uint2 q = bytes8(b + (TYPE == Q5_K ? 48 : 16) + pair / 2 * 32 + 8 * sub);
      uint2 fifth = make_uint2(0, 0);
      if (TYPE == Q5_K) fifth = bytes8(b + 16 + 8 * sub);
#pragma unroll
      for (int j = 0; j < 8; j++) {
        const int v = (byte_of(q, j) >> (pair % 2 * 4) & 15) | (byte_of(fifth, j) >> pair & 1) << 4;
        w[j] = __fadd_rn(__fmul_rn(d, (float)v), -m);
      }
    }
  }
};

// Rows are whole blocks, so the matrix is one run of units of 32 weights.
template <int TYPE> __device__ __forceinline__ void dequantize(void* y, int ydt, const unsigned char* codes, long long n) {
  const Ggml<TYPE> f{0};
  FOR_EACH(i, n / 8) {
    const long long unit = i / 4;
    float w[8];
    if (Ggml<TYPE>::SUPER) f.decode8(w, codes + unit / 8 * Ggml<TYPE>::BYTES, 0, 0, (int)(unit % 8), (int)(i % 4));
    else f.decode8(w, codes + unit * Ggml<TYPE>::BYTES, 0, 0, 0, (int)(i % 4));
    write8(y, ydt, 8 * i, w, 8, true);
  }
}

extern "C" __global__ void __launch_bounds__(256)
llm_quant_blocks_dequantize(void* y, int ydt, const unsigned char* codes, int type, long long n) {
  switch (type) {
    case Q8_0: dequantize<Q8_0>(y, ydt, codes, n); break;
    case Q4_0: dequantize<Q4_0>(y, ydt, codes, n); break;
    case Q4_1: dequantize<Q4_1>(y, ydt, codes, n); break;
    case Q5_0: dequantize<Q5_0>(y, ydt, codes, n); break;
    case Q5_1: dequantize<Q5_1>(y, ydt, codes, n); break;
    case Q4_K: dequantize<Q4_K>(y, ydt, codes, n); break;
    case Q5_K: dequantize<Q5_K>(y, ydt, codes, n); break;
    default: dequantize<Q6_K>(y, ydt, codes, n);
  }
}

template <int ROWS, int TYPE>
__device__ __forceinline__ void product(void* y, int ydt, int add, const void* x, int xdt, const unsigned char* codes, int width, int rows, int N, int K,
                                        unsigned char* shared) {
  quant_rows<ROWS>(Ggml<TYPE>{width}, codes, (long long)N * width, y, ydt, add, x, xdt, rows, N, K, shared);
}
template <int ROWS>
__device__ __forceinline__ void product(int type, void* y, int ydt, int add, const void* x, int xdt, const unsigned char* codes, int width, int rows,
                                        int N, int K, unsigned char* shared) {
  switch (type) {
    case Q8_0: product<ROWS, Q8_0>(y, ydt, add, x, xdt, codes, width, rows, N, K, shared); break;
    case Q4_0: product<ROWS, Q4_0>(y, ydt, add, x, xdt, codes, width, rows, N, K, shared); break;
    case Q4_1: product<ROWS, Q4_1>(y, ydt, add, x, xdt, codes, width, rows, N, K, shared); break;
    case Q5_0: product<ROWS, Q5_0>(y, ydt, add, x, xdt, codes, width, rows, N, K, shared); break;
    case Q5_1: product<ROWS, Q5_1>(y, ydt, add, x, xdt, codes, width, rows, N, K, shared); break;
    case Q4_K: product<ROWS, Q4_K>(y, ydt, add, x, xdt, codes, width, rows, N, K, shared); break;
    case Q5_K: product<ROWS, Q5_K>(y, ydt, add, x, xdt, codes, width, rows, N, K, shared); break;
    default: product<ROWS, Q6_K>(y, ydt, add, x, xdt, codes, width, rows, N, K, shared);
  }
}

extern "C" __global__ void __launch_bounds__(128, 4)
llm_quant_blocks_row(void* y, int ydt, int add, const void* x, int xdt, const unsigned char* codes, int type, int width, int rows, int N, int K) {
  DYN_SHARED(shared);
  product<1>(type, y, ydt, add, x, xdt, codes, width, rows, N, K, shared);
}

extern "C" __global__ void __launch_bounds__(128, 4)
llm_quant_blocks_rows(void* y, int ydt, int add, const void* x, int xdt, const unsigned char* codes, int type, int width, int rows, int N, int K) {
  DYN_SHARED(shared);
  product<4>(type, y, ydt, add, x, xdt, codes, width, rows, N, K, shared);
}

EXPORT_KERNEL(llm_quant_blocks_dequantize)
EXPORT_KERNEL(llm_quant_blocks_row)
EXPORT_KERNEL(llm_quant_blocks_rows)
