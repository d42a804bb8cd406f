// Products of up to 64 rows of bf16 with 4-bit NormalFloat weights (org.llmcore.tensor.Nf4) on tensor cores, for rows of a multiple of 128
// columns (org.llmcore.op.QuantMatMul). The twin in quant_nf4.cu takes f32 and other widths; more rows are decoded first.
//
//   y[r,n] (+)= Σ_b absmax[n,b] · Σ_{k in b} level[code[n,k]] · x[r,k]
//
// | kernel                      | geometry                         | bytes moved                                                       |
// |-----------------------------|----------------------------------|-------------------------------------------------------------------|
// | llm_quant_nf4_mma_<rows>    | (⌈N/16⌉, ⌈rows/32⌉), 256 threads | codes and absmax once per 32 rows; x once per 16 outputs, from L2 |
//
// A block takes 8, 16 or 32 rows. A level is three bf16 planes whose sum it is (split3), so products are exact, and a block's absmax is applied once
// to its sum in f32. The planes of the 16 levels stand in shared memory once for each lane, so that lanes with different codes do not meet in a bank:
// one access of 8 bytes, two instructions for its address and 1.5 to pair neighbours decode a weight for all rows. By counting, 11008x4096 with 8 rows takes a
// multiprocessor of an H200 some 12 µs of shared memory and as much of instructions, at once, beside 7 of bytes; decoded into f32 and multiplied there it took 149.
//
// k is split into slabs of 128 columns, slab i to warp i mod 8, and the warps' sums are combined as a tree: a row's bits depend neither on the
// number of rows nor on its neighbours. A lane holds 16 columns of each of a slab's two blocks in two rows of W, 8 bytes each, as they lie in memory: k
// may be permuted as long as x is permuted alike. Codes and absmax are fetched one slab ahead; what hides the latency are three blocks on a multiprocessor, two with more rows,
// and that many have registers only for 8 columns at a time.
#include "nf4.cuh"
#include "quant_mma.cuh"

static constexpr int LANE_LEVELS = 16 * 32;

// 16 columns of each of a slab's two blocks in one row of W.
struct Slab {
  uint2 codes[2];
  uint32_t largest[2];   // a code where `scale` counts, else the bits of an f32
  float scale;           // of both: an even block and the next
};

// The planes of the level whose code begins at bit `at` of w: 8 leading bits and the next 8; the last 8. `lane` is the place of the lane's first level, below 256.
__device__ __forceinline__ uint2 level(const uint2* levels, uint32_t lane, uint32_t w, int at) {
  const uint32_t place = ((at < 8 ? w << (8 - at) : w >> (at - 8)) & 0xf00u) | lane;
  return *reinterpret_cast<const uint2*>(reinterpret_cast<const unsigned char*>(levels) + place);
}

// 16 rows of W against 8·J of x.
template <int J>
__device__ __forceinline__ void product(void* y, int ydt, int add, const bf16* x, const unsigned char* codes, const float* tables, const void* absmax,
                                        const float* scale, const float* offset, int rows, int N, int K) {
  DYN_SHARED(raw);
  __shared__ uint2 levels[LANE_LEVELS];   // 256 bytes a level, 8 of them a lane's
  __shared__ float map[256];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, q = lane & 3, first = blockIdx.x * 16, r0 = blockIdx.y * 8 * J;
  for (int i = threadIdx.x; i < LANE_LEVELS; i += 256) {
    uint32_t high, middle, low;
    split3(high, middle, low, tables[i / 32], 0.0f);
    levels[i] = make_uint2((high & 0xffffu) | middle << 16, low & 0xffffu);
  }
  map[threadIdx.x] = tables[16 + threadIdx.x];
  const float least = scale ? offset[0] : 0.0f;
  __syncthreads();
  const uint32_t mine = lane * sizeof(uint2);

  float total[J][4] = {};
  Slab next[2];
  auto take = [&](int k0) {   // the slab that begins at column k0
    if (k0 >= K) return;
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const long long e = (long long)min(first + i * 8 + g, N - 1) * K + k0, block = e / NF4_BLOCK;   // past the end the last row again, whose results nobody keeps
      const uint2* from = reinterpret_cast<const uint2*>(codes + e / 2) + q;
#pragma unroll
      for (int b = 0; b < 2; b++) {
        next[i].codes[b] = __ldcs(from + b * NF4_BLOCK / 16);
        next[i].largest[b] = scale ? static_cast<const unsigned char*>(absmax)[block + b] : static_cast<const uint32_t*>(absmax)[block + b];
      }
      next[i].scale = scale ? scale[block / NF4_NESTED] : 0.0f;
    }
  };
  float largest[2][2];   // of the slab at hand
  auto settle = [&] {     // once what `take` fetched is there
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const Slab& s = next[i / 2];
      largest[i / 2][i % 2] = scale ? nf4_absmax(map[s.largest[i % 2]], s.scale, least) : __uint_as_float(s.largest[i % 2]);
    }
  };
  take(warp * 128);
  if (warp * 128 < K) settle();
#pragma unroll 1
  for (int k0 = warp * 128; k0 < K; k0 += WARPS * 128) {
    const uint2 top[2] = {next[0].codes[0], next[0].codes[1]}, bottom[2] = {next[1].codes[0], next[1].codes[1]};
    take(k0 + WARPS * 128);
#pragma unroll 1
    for (int b = 0; b < 2; b++) {
      const uint2 codes_top = b ? top[1] : top[0], codes_bottom = b ? bottom[1] : bottom[0];
      const int column = k0 + b * NF4_BLOCK + q * 16;
      float part[J][4] = {};
#pragma unroll 1
      for (int c = 0; c < 2; c++) {   // 8 of the lane's columns, two steps of 16 columns of all lanes
        const uint32_t w[2] = {c ? codes_top.y : codes_top.x, c ? codes_bottom.y : codes_bottom.x};
        uint32_t a[2][3][4];
#pragma unroll
        for (int i = 0; i < 8; i++) {   // byte i / 2 of a row of W holds two neighbours, the first in its high half
          const uint2 u = level(levels, mine, w[i % 2], i / 2 * 8 + 4), v = level(levels, mine, w[i % 2], i / 2 * 8);
          uint32_t(&to)[3][4] = a[i / 4];
          to[0][i % 4] = __byte_perm(u.x, v.x, 0x5410), to[1][i % 4] = __byte_perm(u.x, v.x, 0x7632), to[2][i % 4] = __byte_perm(u.y, v.y, 0x5410);
        }
#pragma unroll
        for (int j = 0; j < J; j++) {
          const uint4 v = *reinterpret_cast<const uint4*>(x + (long long)min(r0 + j * 8 + g, rows - 1) * K + column + c * 8);
          const uint32_t b0[2] = {v.x, v.y}, b1[2] = {v.z, v.w};
#pragma unroll
          for (int plane = 2; plane >= 0; plane--) mma_bf16_16816(part[j], a[0][plane], b0);
#pragma unroll
          for (int plane = 2; plane >= 0; plane--) mma_bf16_16816(part[j], a[1][plane], b1);
        }
      }
      const float s = b ? largest[0][1] : largest[0][0], t = b ? largest[1][1] : largest[1][0];
#pragma unroll
      for (int j = 0; j < J; j++) scaled(total[j], part[j], s, t);
    }
    settle();
  }
  finish(total, raw, y, ydt, add, first, r0, rows, N);
}

#define PARAMETERS                                                                                                                            \
  void *y, int ydt, int add, const bf16 *x, const unsigned char *codes, const float *tables, const void *absmax, const float *scale, const float *offset, \
      int rows, int N, int K
#define PRODUCT(J) product<J>(y, ydt, add, x, codes, tables, absmax, scale, offset, rows, N, K)

extern "C" __global__ void __launch_bounds__(256, 3) llm_quant_nf4_mma_8(PARAMETERS) { PRODUCT(1); }
extern "C" __global__ void __launch_bounds__(256, 2) llm_quant_nf4_mma_16(PARAMETERS) { PRODUCT(2); }
extern "C" __global__ void __launch_bounds__(256, 2) llm_quant_nf4_mma_32(PARAMETERS) { PRODUCT(4); }

EXPORT_KERNEL(llm_quant_nf4_mma_8)
EXPORT_KERNEL(llm_quant_nf4_mma_16)
EXPORT_KERNEL(llm_quant_nf4_mma_32)
