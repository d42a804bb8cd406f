// Products of up to 64 rows of bf16 with weights in GGML's block types (ggml.cuh) on tensor cores (org.llmcore.op.QuantMatMul). The twin in
// quant_blocks.cu takes f32; more rows are decoded first.
//
//   y[r,n] (+)= Σ_u scale[n,u] · Σ_{k in u} (q[n,k] − middle) · x[r,k] + least[n,u] · Σ_{k in u} x[r,k]      u = 32 columns, 16 of Q6_K
//
// | kernel                               | geometry                         | bytes moved                                       |
// |--------------------------------------|----------------------------------|---------------------------------------------------|
// | llm_quant_blocks_mma_<type>_<rows>   | (⌈N/16⌉, ⌈rows/32⌉), 256 threads | codes once per 32 rows; x once per 16 outputs, L2 |
//
// A block takes 8 or 32 rows. Codes less their middle are integers of at most 128, exact in bf16, so products are exact; scales are applied once, to sums in f32.
// The sums of x that minima want come from tensor cores too, by rows of ones.
//
// k is split into slabs of 256 columns, slab i to warp i mod 8, and the warps' sums are combined as a tree: a row's bits depend neither on the
// number of rows nor on its neighbours. A warp fetches its slab of 16 rows of W by cp.async one slab ahead, in pieces of 16 bytes, because blocks of 18 to 210 bytes begin
// at even addresses only. A step of 16 columns takes 4 neighbours from each lane of a row: k may be permuted as long as x is permuted alike, and so
// a word of codes holds what one lane wants. By counting, 4 to 5 instructions decode a weight for all rows.
#include "ggml.cuh"
#include "quant_mma.cuh"

static constexpr int OUTPUTS = 16, SLAB = 256, UNITS = SLAB / 32;

// 4 bytes at an even address.
__device__ __forceinline__ uint32_t bytes4(const unsigned char* p) {
  const uint16_t* h = reinterpret_cast<const uint16_t*>(p);
  return (uint32_t)h[0] | (uint32_t)h[1] << 16;
}

// 32 weights of a row of which a lane holds 4 of the first and 4 of the second 16, a code in each byte.
struct Unit {
  uint32_t codes[2];
  float scale[2];   // of the first and of the second 16
  float least;
};

template <int TYPE> struct Coded {
  using Layout = GgmlLayout<TYPE>;
  static constexpr int BYTES = Layout::BYTES, WIDTH = Layout::SUPER ? BYTES : UNITS * BYTES;   // of a block; of a slab of one row
  static constexpr int PIECES = (WIDTH + 30) / 16, PITCH = (PIECES | 1) * 16;                    // an odd number of 16 bytes: no two rows in one bank
  static constexpr bool LEAST = Layout::SHIFTED || TYPE == Q4_K || TYPE == Q5_K, HALVES = TYPE == Q6_K;
  static constexpr int MIDDLE = TYPE == Q8_0 ? 128 : TYPE == Q4_0 ? 8 : TYPE == Q5_0 ? 16 : TYPE == Q6_K ? 32 : 0;

  // Unit u of a slab, for the lane that is number q of its row.
  static MEMBER Unit unit(const unsigned char* slab, int u, int q) {
    Unit out;
    if constexpr (!Layout::SUPER) {
      const unsigned char *b = slab + u * BYTES, *codes = b + Layout::HEAD + (Layout::FIVE ? 4 : 0) + 4 * q;
      out.scale[0] = out.scale[1] = half_at(b), out.least = Layout::SHIFTED ? half_at(b + 2) : 0.0f;
      if constexpr (TYPE == Q8_0) {
        out.codes[0] = bytes4(codes) ^ 0x80808080u, out.codes[1] = bytes4(codes + 16) ^ 0x80808080u;
      } else {
        const uint32_t w = bytes4(codes), fifth = Layout::FIVE ? bytes4(b + Layout::HEAD) >> 4 * q : 0;
        out.codes[0] = (w & 0x0f0f0f0fu) | spread(fifth), out.codes[1] = (w >> 4 & 0x0f0f0f0fu) | spread(fifth >> 16);
      }
    } else if constexpr (TYPE == Q6_K) {
      const int half = u / 4, quarter = u % 4;
      const float d = half_at(slab + 208);
#pragma unroll
      for (int s = 0; s < 2; s++) {
        const uint32_t low = bytes4(slab + half * 64 + quarter % 2 * 32 + 16 * s + 4 * q), high = bytes4(slab + 128 + half * 32 + 16 * s + 4 * q);
        out.codes[s] = (low >> quarter / 2 * 4 & 0x0f0f0f0fu) | (high >> 2 * quarter & 0x03030303u) << 4;
        out.scale[s] = __fmul_rn(d, (float)(signed char)slab[192 + 2 * u + s]);
      }
      out.least = 0.0f;
    } else {
      float scale, least;
      Layout::scales(slab + 4, u, scale, least);
      out.scale[0] = out.scale[1] = __fmul_rn(half_at(slab), scale), out.least = -__fmul_rn(half_at(slab + 2), least);
#pragma unroll
      for (int s = 0; s < 2; s++) {
        out.codes[s] = bytes4(slab + (TYPE == Q5_K ? 48 : 16) + u / 2 * 32 + 16 * s + 4 * q) >> u % 2 * 4 & 0x0f0f0f0fu;
        if (TYPE == Q5_K) out.codes[s] |= (bytes4(slab + 16 + 16 * s + 4 * q) >> u & 0x01010101u) << 4;
      }
    }
    return out;
  }

  // 4 bits as bit 4 of 4 bytes.
  static MEMBER uint32_t spread(uint32_t bits) { return ((bits & 15) * 0x00204081u & 0x01010101u) << 4; }

  // 4 codes less the middle as two pairs of bf16.
  static MEMBER void decode(uint32_t& first, uint32_t& second, uint32_t w) {
    if constexpr (TYPE == Q8_0) decode_byte(first, second, w, MIDDLE);
    else decode_small(first, second, w, __float2bfloat162_rn(128.0f + MIDDLE));
  }
};

// 16 rows of W against 8·J of x.
template <int TYPE, int J>
__device__ __forceinline__ void product(void* y, int ydt, int add, const bf16* x, const unsigned char* codes, int width, int rows, int N, int K) {
  using F = Coded<TYPE>;
  DYN_SHARED(raw);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, q = lane & 3, first = blockIdx.x * OUTPUTS, r0 = blockIdx.y * 8 * J;
  const int slabs = (K + SLAB - 1) / SLAB;
  const long long total_bytes = (long long)N * width;
  auto from = [&](int row, int slab) { return (long long)min(first + row, N - 1) * width + slab * F::WIDTH; };   // past the end the last row again, whose results nobody keeps
  auto buffer = [&](int slab, int row) { return raw + ((slab / WARPS % 2 * WARPS + warp) * OUTPUTS + row) * F::PITCH; };
  auto stage = [&](int slab) {
    if (slab < slabs)
#pragma unroll 1
      for (int i = lane; i < OUTPUTS * F::PIECES; i += 32) {
        const int row = i / F::PIECES, piece = i % F::PIECES;
        const long long begin = from(row, slab), at = (begin & ~15LL) + 16 * piece;
        if (at < begin + min(F::WIDTH, width - slab * F::WIDTH)) quant_piece(buffer(slab, row) + 16 * piece, codes, at, total_bytes);
      }
    cp_async_commit();
  };
  const uint32_t one = pack2(1.0f, 1.0f), ones[4] = {one, one, one, one};
  float total[J][4] = {};
  stage(warp);
#pragma unroll 1
  for (int slab = warp; slab < slabs; slab += WARPS) {
    stage(slab + WARPS);
    cp_async_wait<1>();
    __syncwarp();
    const unsigned char *top = buffer(slab, g) + (from(g, slab) & 15), *bottom = buffer(slab, g + 8) + (from(g + 8, slab) & 15);
    const int units = min(UNITS, (K - slab * SLAB) / 32);
#pragma unroll 1
    for (int u = 0; u < units; u++) {
      const Unit a = F::unit(top, u, q), b = F::unit(bottom, u, q);
      uint32_t w[2][4];   // of each step 4 of the lane's columns in two rows of W
#pragma unroll
      for (int s = 0; s < 2; s++) F::decode(w[s][0], w[s][2], a.codes[s]), F::decode(w[s][1], w[s][3], b.codes[s]);
#pragma unroll
      for (int j = 0; j < J; j++) {
        const bf16* line = x + (long long)min(r0 + j * 8 + g, rows - 1) * K + slab * SLAB + u * 32 + 4 * q;
        float part[4] = {}, sum[4] = {};
#pragma unroll
        for (int s = 0; s < 2; s++) {
          const uint2 v = *reinterpret_cast<const uint2*>(line + 16 * s);
          const uint32_t pairs[2] = {v.x, v.y};
          mma_bf16_16816(part, w[s], pairs);
          if (F::LEAST) mma_bf16_16816(sum, ones, pairs);
          if (!F::HALVES && s == 0) continue;
          scaled(total[j], part, a.scale[s], b.scale[s]);
          if (F::HALVES) part[0] = part[1] = part[2] = part[3] = 0.0f;
        }
        if (F::LEAST) scaled(total[j], sum, a.least, b.least);
      }
    }
    __syncwarp();   // the buffer may be filled again
  }
  __syncthreads();   // and those of other warps be used for sums
  finish(total, raw, y, ydt, add, first, r0, rows, N);
}

#define PARAMETERS void *y, int ydt, int add, const bf16 *x, const unsigned char *codes, int width, int rows, int N, int K
#define PRODUCT(TYPE, J) product<TYPE, J>(y, ydt, add, x, codes, width, rows, N, K)

extern "C" __global__ void __launch_bounds__(256, 2) llm_quant_blocks_mma_Q8_0_8(PARAMETERS) { PRODUCT(Q8_0, 1); }
extern "C" __global__ void __launch_bounds__(256, 2) llm_quant_blocks_mma_Q8_0_32(PARAMETERS) { PRODUCT(Q8_0, 4); }
extern "C" __global__ void __launch_bounds__(256, 2) llm_quant_blocks_mma_Q4_0_8(PARAMETERS) { PRODUCT(Q4_0, 1); }
extern "C" __global__ void __launch_bounds__(256, 2) llm_quant_blocks_mma_Q4_0_32(PARAMETERS) { PRODUCT(Q4_0, 4); }
extern "C" __global__ void __launch_bounds__(256, 2) llm_quant_blocks_mma_Q4_1_8(PARAMETERS) { PRODUCT(Q4_1, 1); }
extern "C" __global__ void __launch_bounds__(256, 2) llm_quant_blocks_mma_Q4_1_32(PARAMETERS) { PRODUCT(Q4_1, 4); }
extern "C" __global__ void __launch_bounds__(256, 2) llm_quant_blocks_mma_Q5_0_8(PARAMETERS) { PRODUCT(Q5_0, 1); }
extern "C" __global__ void __launch_bounds__(256, 2) llm_quant_blocks_mma_Q5_0_32(PARAMETERS) { PRODUCT(Q5_0, 4); }
extern "C" __global__ void __launch_bounds__(256, 2) llm_quant_blocks_mma_Q5_1_8(PARAMETERS) { PRODUCT(Q5_1, 1); }
extern "C" __global__ void __launch_bounds__(256, 2) llm_quant_blocks_mma_Q5_1_32(PARAMETERS) { PRODUCT(Q5_1, 4); }
extern "C" __global__ void __launch_bounds__(256, 2) llm_quant_blocks_mma_Q4_K_8(PARAMETERS) { PRODUCT(Q4_K, 1); }
extern "C" __global__ void __launch_bounds__(256, 2) llm_quant_blocks_mma_Q4_K_32(PARAMETERS) { PRODUCT(Q4_K, 4); }
extern "C" __global__ void __launch_bounds__(256, 2) llm_quant_blocks_mma_Q5_K_8(PARAMETERS) { PRODUCT(Q5_K, 1); }
extern "C" __global__ void __launch_bounds__(256, 2) llm_quant_blocks_mma_Q5_K_32(PARAMETERS) { PRODUCT(Q5_K, 4); }
extern "C" __global__ void __launch_bounds__(256, 2) llm_quant_blocks_mma_Q6_K_8(PARAMETERS) { PRODUCT(Q6_K, 1); }
extern "C" __global__ void __launch_bounds__(256, 2) llm_quant_blocks_mma_Q6_K_32(PARAMETERS) { PRODUCT(Q6_K, 4); }

EXPORT_KERNEL(llm_quant_blocks_mma_Q8_0_8)
EXPORT_KERNEL(llm_quant_blocks_mma_Q8_0_32)
EXPORT_KERNEL(llm_quant_blocks_mma_Q4_0_8)
EXPORT_KERNEL(llm_quant_blocks_mma_Q4_0_32)
EXPORT_KERNEL(llm_quant_blocks_mma_Q4_1_8)
EXPORT_KERNEL(llm_quant_blocks_mma_Q4_1_32)
EXPORT_KERNEL(llm_quant_blocks_mma_Q5_0_8)
EXPORT_KERNEL(llm_quant_blocks_mma_Q5_0_32)
EXPORT_KERNEL(llm_quant_blocks_mma_Q5_1_8)
EXPORT_KERNEL(llm_quant_blocks_mma_Q5_1_32)
EXPORT_KERNEL(llm_quant_blocks_mma_Q4_K_8)
EXPORT_KERNEL(llm_quant_blocks_mma_Q4_K_32)
EXPORT_KERNEL(llm_quant_blocks_mma_Q5_K_8)
EXPORT_KERNEL(llm_quant_blocks_mma_Q5_K_32)
EXPORT_KERNEL(llm_quant_blocks_mma_Q6_K_8)
EXPORT_KERNEL(llm_quant_blocks_mma_Q6_K_32)
