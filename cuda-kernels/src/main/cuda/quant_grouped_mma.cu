// Products of up to 64 rows of bf16 with weights on a uniform grid per group (org.llmcore.tensor.Grouped) on tensor cores, for groups of a multiple
// of 128 columns or one for all (org.llmcore.op.QuantMatMul). The twin in quant_grouped.cu takes f32, reordered columns and small groups; more rows
// are decoded first.
//
//   y[r,n] (+)= Σ_g scale[n,g] · Σ_{k in g} (q[n,k] − zero[n,g]) · x[r,k]
//
// | kernel                              | geometry                         | bytes moved                                                             |
// |-------------------------------------|----------------------------------|-------------------------------------------------------------------------|
// | llm_quant_grouped_mma_<bits>_<rows> | (⌈N/16⌉, ⌈rows/32⌉), 256 threads | codes, scales and zeros once per 32 rows; x once per 16 outputs, from L2 |
//
// A block takes 8, 16 or 32 rows. A code less its zero is an integer of at most 256, exact in bf16, so the products are exact and a group's scale is
// applied once to its sum in f32. By counting, 1.5 instructions decode a weight (2.5 of 8 bits) for all rows; where one row decoded into f32 and
// multiplied there, all of it took 20 a weight (Nsight) and 56 µs for 11008x4096 in 4 bits on an H100, whose bytes take 9.
//
// k is split into slabs of 128 columns, slab i to warp i mod 8, and the warps' sums are combined as a tree: a row's bits depend neither on the
// number of rows nor on its neighbours. A lane holds 32 columns of a slab in two of the rows of a piece, 16 bytes of 4-bit codes
// each, as they lie in memory: k may be permuted as long as x is permuted alike. Codes are fetched one slab ahead; what hides the latency are three
// blocks on a multiprocessor: 17.9 µs for 11008x4096 in 4 bits on an H100 where two blocks took 25.9 with four slabs ahead, and two blocks of 32
// outputs 32.9 with one.
#include "quant_mma.cuh"

// Codes of a lane's 32 columns of one row, and what is needed of its group.
template <int BITS> struct Slab {
  uint4 codes[BITS == 8 ? 2 : BITS == 3 ? 2 : 1];
  float scale;
  float zero;
};

// The lane's 16 columns 32·q + 16·half … of a slab lie in the bytes of a piece, under a shift; of three bits the third in another piece.
template <int BITS> __device__ __forceinline__ int shift_of(int q, int half) { return BITS == 8 ? 0 : BITS == 4 ? 4 * half : (2 * q + half) % 4 * 2; }

// Word t of 4 codes as two pairs of bf16, each less the zero. `less` is 128 + zero twice.
template <int BITS> __device__ __forceinline__ void decode(uint32_t (&pair)[2], const Slab<BITS>& s, int q, int half, int t, bf162 less) {
  auto word = [](const uint4& v, int i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; };
  if constexpr (BITS == 8) {
    decode_byte(pair[0], pair[1], word(half ? s.codes[1] : s.codes[0], t), s.zero);
  } else {
    uint32_t w = word(s.codes[0], t) >> shift_of<BITS>(q, half) & (BITS == 4 ? 0x0f0f0f0fu : 0x03030303u);
    if constexpr (BITS == 3) w |= (word(s.codes[1], t) >> (2 * q + half) & 0x01010101u) << 2;
    decode_small(pair[0], pair[1], w, less);
  }
}

// 16 rows of W against 8·J of x.
template <int BITS, int J>
__device__ __forceinline__ void product(void* y, int ydt, int add, const bf16* x, const unsigned char* codes, const void* scales, int sdt, const f16* zeros,
                                        int size, int groups, int width, int rows, int N, int K) {
  constexpr int HALVES = J == 4 || BITS == 8 ? 1 : 2;   // at once, where registers last
  DYN_SHARED(raw);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, q = lane & 3, first = blockIdx.x * 16, r0 = blockIdx.y * 8 * J;
  float total[J][4] = {};
  Slab<BITS> next[2];
  auto take = [&](int k0) {   // the slab that begins at column k0
    const int column = k0 + q * 32, piece = BITS == 8 ? column / 16 : BITS == 4 ? column / 32 : BITS == 2 ? column / 64 : k0 / 128 * 3 + q / 2;
    const int group = groups == 1 ? 0 : k0 / size;
    const bool in = column < K;
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const long long row = min(first + i * 8 + g, N - 1);   // past the end the last row again, whose results nobody keeps
      const uint4* p = reinterpret_cast<const uint4*>(codes + row * width) + piece;
      next[i].codes[0] = in ? __ldcs(p) : make_uint4(0, 0, 0, 0);
      if constexpr (BITS == 8) next[i].codes[1] = in && column + 16 < K ? __ldcs(p + 1) : make_uint4(0, 0, 0, 0);
      if constexpr (BITS == 3) next[i].codes[1] = in ? __ldcs(p + 2 - q / 2) : make_uint4(0, 0, 0, 0);
      next[i].scale = k0 < K ? load(sdt, scales, row * groups + group) : 0.0f, next[i].zero = k0 < K ? get(zeros, row * groups + group) : 0.0f;
    }
  };
  take(warp * 128);
#pragma unroll 1
  for (int k0 = warp * 128; k0 < K; k0 += WARPS * 128) {
    const Slab<BITS> low = next[0], high = next[1];
    take(k0 + WARPS * 128);
    const bf162 less_low = __float2bfloat162_rn(128.0f + low.zero), less_high = __float2bfloat162_rn(128.0f + high.zero);
#pragma unroll(HALVES)
    for (int half = 0; half < 2; half++) {
      uint32_t a[4][4];   // 16 rows of W, 4 of the lane's columns a step
#pragma unroll
      for (int t = 0; t < 4; t++) {
        uint32_t u[2], v[2];
        decode(u, low, q, half, t, less_low), decode(v, high, q, half, t, less_high);
        a[t][0] = u[0], a[t][1] = v[0], a[t][2] = u[1], a[t][3] = v[1];
      }
#pragma unroll
      for (int j = 0; j < J; j++) {
        const int column = k0 + q * 32 + half * 16;
        const bf16* line = x + (long long)min(r0 + j * 8 + g, rows - 1) * K + column;
        float part[4] = {};
#pragma unroll
        for (int c = 0; c < 2; c++) {
          const uint4 v = column + c * 8 < K ? *reinterpret_cast<const uint4*>(line + c * 8) : make_uint4(0, 0, 0, 0);
          const uint32_t b0[2] = {v.x, v.y}, b1[2] = {v.z, v.w};
          mma_bf16_16816(part, a[2 * c], b0), mma_bf16_16816(part, a[2 * c + 1], b1);
        }
        scaled(total[j], part, low.scale, high.scale);
      }
    }
  }
  finish(total, raw, y, ydt, add, first, r0, rows, N);
}

#define PARAMETERS                                                                                                                                  \
  void *y, int ydt, int add, const bf16 *x, const unsigned char *codes, const void *scales, int sdt, const f16 *zeros, int size, int groups, int width, \
      int rows, int N, int K
#define PRODUCT(BITS, J) product<BITS, J>(y, ydt, add, x, codes, scales, sdt, zeros, size, groups, width, rows, N, K)

extern "C" __global__ void __launch_bounds__(256, 3)
llm_quant_grouped_mma_2_8(PARAMETERS) { PRODUCT(2, 1); }
extern "C" __global__ void __launch_bounds__(256, 2)
llm_quant_grouped_mma_2_16(PARAMETERS) { PRODUCT(2, 2); }
extern "C" __global__ void __launch_bounds__(256, 2)
llm_quant_grouped_mma_2_32(PARAMETERS) { PRODUCT(2, 4); }
extern "C" __global__ void __launch_bounds__(256, 3)
llm_quant_grouped_mma_3_8(PARAMETERS) { PRODUCT(3, 1); }
extern "C" __global__ void __launch_bounds__(256, 2)
llm_quant_grouped_mma_3_16(PARAMETERS) { PRODUCT(3, 2); }
extern "C" __global__ void __launch_bounds__(256, 2)
llm_quant_grouped_mma_3_32(PARAMETERS) { PRODUCT(3, 4); }
extern "C" __global__ void __launch_bounds__(256, 3)
llm_quant_grouped_mma_4_8(PARAMETERS) { PRODUCT(4, 1); }
extern "C" __global__ void __launch_bounds__(256, 2)
llm_quant_grouped_mma_4_16(PARAMETERS) { PRODUCT(4, 2); }
extern "C" __global__ void __launch_bounds__(256, 2)
llm_quant_grouped_mma_4_32(PARAMETERS) { PRODUCT(4, 4); }
extern "C" __global__ void __launch_bounds__(256, 3)
llm_quant_grouped_mma_8_8(PARAMETERS) { PRODUCT(8, 1); }
extern "C" __global__ void __launch_bounds__(256, 2)
llm_quant_grouped_mma_8_16(PARAMETERS) { PRODUCT(8, 2); }
extern "C" __global__ void __launch_bounds__(256, 2)
llm_quant_grouped_mma_8_32(PARAMETERS) { PRODUCT(8, 4); }

EXPORT_KERNEL(llm_quant_grouped_mma_2_8)
EXPORT_KERNEL(llm_quant_grouped_mma_2_16)
EXPORT_KERNEL(llm_quant_grouped_mma_2_32)
EXPORT_KERNEL(llm_quant_grouped_mma_3_8)
EXPORT_KERNEL(llm_quant_grouped_mma_3_16)
EXPORT_KERNEL(llm_quant_grouped_mma_3_32)
EXPORT_KERNEL(llm_quant_grouped_mma_4_8)
EXPORT_KERNEL(llm_quant_grouped_mma_4_16)
EXPORT_KERNEL(llm_quant_grouped_mma_4_32)
EXPORT_KERNEL(llm_quant_grouped_mma_8_8)
EXPORT_KERNEL(llm_quant_grouped_mma_8_16)
EXPORT_KERNEL(llm_quant_grouped_mma_8_32)
