// y (+)= alpha · op(a) · op(b) for bf16 a and b on Hopper's asynchronous tensor cores (org.llmcore.op.MatMul). Every kernel
// here has a twin in matmul_mma.cu, which takes what this one cannot: pitches or addresses that are no multiples of 16 bytes,
// batches, f16.
//
// Geometry: as many blocks as multiprocessors (or tiles), each walks over tiles of 128x256 or 128x128, 64 deep, in bands of 8
// rows. 384 threads: one thread of warpgroup 0 fills a ring of 192 KiB (4 stages of 48 or 6 of 32 KiB) by bulk tensor copies
// with the 128-byte swizzle; warpgroups 1 and 2 multiply rows 0-63 and 64-127 by wgmma m64n256k16 or m64n128k16, one group of
// instructions behind the loads of the next, while the ring already fills for the next tile. A stage goes back to the
// producer when the group after it has been issued. Results leave through patches of 16x32 floats (20 KiB in all).
//
// 2MNK FLOPs; a stage is 4.2 MFLOP for 48 KiB: 85 FLOPs a byte from L2. By arithmetic a tile of 128x256x4096
// is 64·1024 cycles of a multiprocessor's tensor cores; its epilogue writes 64 KiB, about 1500 cycles, so 2 % are lost there
// and some 5 % to the last wave. On an H100 tensor cores are busy 86 % of the time at the clock its power allows. Clusters of two blocks that share b
// by multicast copies gave nothing there (LAB.md).
//
// LOW adds a low-rank term u·v before the result is rounded (MatMul.LowRank): each 16 of its ranks are one more step over k, in which
// 16 columns of u meet three bf16 planes of v in turn. 1.6 % more work at k = 4096; a pass over y of its own is saved.
//
// An operand that lies along (lines, depth) comes as one box of 64 k by all lines: K-major. One that lies across (depth,
// lines) comes as boxes of 64 lines by 64 k, a panel of 8 KiB each: MN-major, which wgmma reads by its transpose bits.
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#include "hopper.cuh"
#include "matmul.cuh"

static constexpr int BM = 128, BK = 64, PANEL = 64 * BK * 2, RING = 192 << 10, RANKS = 16, A_BYTES = BM * BK * 2;

template <bool ACROSS, int LINES>
__device__ __forceinline__ void fetch(unsigned char* s, const CUtensorMap& map, uint64_t* full, int line, int k) {
  if (ACROSS) {
#pragma unroll
    for (int p = 0; p < LINES / 64; p++) tma_load_2d(s + p * PANEL, map, full, line + p * 64, k);
  } else tma_load_2d(s, map, full, k, line);
}

// `u` (M,r) and `v` (planes of 64 k, as b lies) are read where LOW, in `low` steps.
template <bool TA, bool TB, int BN, bool LOW>
__device__ __forceinline__ void product(void* y, int ydt, int add, const CUtensorMap& a, const CUtensorMap& b, int M, int N,
                                        int K, int wide, float alpha, const CUtensorMap& u, const CUtensorMap& v, int low) {
  constexpr int B_BYTES = BN * BK * 2, STAGE = A_BYTES + B_BYTES, STAGES = RING / STAGE;
  DYN_SHARED(raw);
  uint64_t *full = reinterpret_cast<uint64_t*>(raw + RING + 8 * PATCH * 4), *empty = full + STAGES;
  const int down = (M + BM - 1) / BM, across = (N + BN - 1) / BN, base = (K + BK - 1) / BK;
  const int steps = LOW ? base + low : base;
  const int group = threadIdx.x / 128, tid = threadIdx.x % 128;
  if (threadIdx.x == 0) {
    for (int s = 0; s < STAGES; s++) mbar_init(full + s, 1), mbar_init(empty + s, 2);
    mbar_fence_init();
  }
  __syncthreads();
  int stage = 0, phase = 0;
  if (group == 0) {
    reg_less<40>();
    if (tid == 0) {
      for (int t = blockIdx.x; t < down * across; t += gridDim.x) {
        int m, n;
        tile_at(t, down, across, m, n);
        for (int k = 0; k < steps; k++) {
          mbar_wait(empty + stage, phase ^ 1);   // the first round passes at once
          mbar_expect_tx(full + stage, STAGE);
          unsigned char* s = raw + stage * STAGE;
          if (LOW && k >= base) {
            fetch<false, BM>(s, u, full + stage, m * BM, (k - base) * RANKS);
            fetch<!TB, BN>(s + A_BYTES, v, full + stage, n * BN, (k - base) * BK);
          } else {
            fetch<TA, BM>(s, a, full + stage, m * BM, k * BK);
            fetch<!TB, BN>(s + A_BYTES, b, full + stage, n * BN, k * BK);
          }
          if (++stage == STAGES) stage = 0, phase ^= 1;
        }
      }
    }
  } else {
    reg_more<232>();
    const int warp = tid >> 5, rows = (group - 1) * 64;
    float* patch = reinterpret_cast<float*>(raw + RING) + ((group - 1) * 4 + warp) * PATCH;
    float d[BN / 2];
    for (int t = blockIdx.x; t < down * across; t += gridDim.x) {
      int m, n, before = 0;
      tile_at(t, down, across, m, n);
      for (int k = 0; k < steps; k++) {
        mbar_wait(full + stage, phase);
        const unsigned char *sa = raw + stage * STAGE, *sb = sa + A_BYTES;
        const uint64_t da = TA ? panel_desc(sa + (group - 1) * PANEL, PANEL) : tile_desc(sa + rows * 128);
        const uint64_t along = LOW && k >= base ? 0 : TA ? 128 : 2;   // the planes of v meet the same columns of u
        const uint64_t db = TB ? tile_desc(sb) : panel_desc(sb, PANEL);
        wgmma_fence();
#pragma unroll
        for (int kk = 0; kk < BK / 16; kk++) {
          const uint64_t at = da + kk * along, bt = db + kk * (TB ? 2 : 128);
          if constexpr (BN == 256) wgmma_m64n256k16<TA, !TB>(d, at, bt, k + kk != 0);
          else wgmma_m64n128k16<TA, !TB>(d, at, bt, k + kk != 0);
        }
        wgmma_commit();
        wgmma_wait<1>();   // the group before this one has read its stage
        if (k > 0 && tid == 0) mbar_arrive(empty + before);
        before = stage;
        if (++stage == STAGES) stage = 0, phase ^= 1;
      }
      wgmma_wait<0>();
      if (tid == 0) mbar_arrive(empty + before);
#pragma unroll 1
      for (int c = 0; c < BN / 32; c++) {
#pragma unroll
        for (int u = 0; u < BN / 8; u++) {   // registers have no index: the four of piece c are picked out of all
          if (u / 4 == c) patch_in(patch, u % 4, d[u * 4], d[u * 4 + 1], d[u * 4 + 2], d[u * 4 + 3]);
        }
        __syncwarp();
        patch_out(patch, y, ydt, add, alpha, wide, 0, m * BM + rows + warp * 16, n * BN + c * 32, M, N);
        __syncwarp();
      }
    }
  }
}

// scale·v (r,n) as bf16 planes for LOW, with threads along n and a block row for each 16 ranks: of 64 k the first 16 are the leading 8 bits
// of 16 ranks, the next 16 the next 8 bits, then the last; the last 16 k and ranks that v lacks are 0. `along`: (n, 64 chunks), else (64 chunks, n).
extern "C" __global__ void __launch_bounds__(64) llm_matmul_planes(bf16* planes, const float* v, int r, int n, float scale, int along) {
  const int j = blockIdx.x * blockDim.x + threadIdx.x, chunk = blockIdx.y;
  if (j >= n) return;
  uint32_t p[4][RANKS / 2] = {};
#pragma unroll
  for (int i = 0; i < RANKS / 2; i++) {
    const int rank = chunk * RANKS + 2 * i;
    const float* at = v + (long long)rank * n + j;
    const bool in = rank < r;   // and so is the next: r is a multiple of 8, since rows of u are of 16 bytes
    split3(p[0][i], p[1][i], p[2][i], in ? scale * at[0] : 0, in ? scale * at[n] : 0);
  }
  if (along) {
    uint4* to = reinterpret_cast<uint4*>(planes + ((long long)j * gridDim.y + chunk) * BK);
#pragma unroll
    for (int i = 0; i < BK / 8; i++) to[i] = make_uint4(p[i / 2][i % 2 * 4], p[i / 2][i % 2 * 4 + 1], p[i / 2][i % 2 * 4 + 2], p[i / 2][i % 2 * 4 + 3]);
  } else {
    uint16_t* to = reinterpret_cast<uint16_t*>(planes) + (long long)chunk * BK * n + j;
#pragma unroll
    for (int i = 0; i < BK; i++) to[(long long)i * n] = uint16_t(p[i / RANKS][i % RANKS / 2] >> 16 * (i % 2));
  }
}

#define HOPPER_PARAMETERS                                                                                                    \
  void *y, int ydt, int add, const __grid_constant__ CUtensorMap a, const __grid_constant__ CUtensorMap b, int M, int N, int K, \
      int wide, float alpha
#define LOW_PARAMETERS HOPPER_PARAMETERS, const __grid_constant__ CUtensorMap u, const __grid_constant__ CUtensorMap v, int low
#define PRODUCT(TA, TB, BN) product<TA, TB, BN, false>(y, ydt, add, a, b, M, N, K, wide, alpha, a, b, 0)
#define PRODUCT_LOW(TB, BN) product<false, TB, BN, true>(y, ydt, add, a, b, M, N, K, wide, alpha, u, v, low)

extern "C" __global__ void __launch_bounds__(384, 1)
llm_matmul_hopper_tn_256(HOPPER_PARAMETERS) { PRODUCT(false, true, 256); }
extern "C" __global__ void __launch_bounds__(384, 1)
llm_matmul_hopper_nn_256(HOPPER_PARAMETERS) { PRODUCT(false, false, 256); }
extern "C" __global__ void __launch_bounds__(384, 1)
llm_matmul_hopper_nt_256(HOPPER_PARAMETERS) { PRODUCT(true, false, 256); }
extern "C" __global__ void __launch_bounds__(384, 1)
llm_matmul_hopper_tt_256(HOPPER_PARAMETERS) { PRODUCT(true, true, 256); }
extern "C" __global__ void __launch_bounds__(384, 1)
llm_matmul_hopper_tn_128(HOPPER_PARAMETERS) { PRODUCT(false, true, 128); }
extern "C" __global__ void __launch_bounds__(384, 1)
llm_matmul_hopper_nn_128(HOPPER_PARAMETERS) { PRODUCT(false, false, 128); }
extern "C" __global__ void __launch_bounds__(384, 1)
llm_matmul_hopper_nt_128(HOPPER_PARAMETERS) { PRODUCT(true, false, 128); }
extern "C" __global__ void __launch_bounds__(384, 1)
llm_matmul_hopper_tt_128(HOPPER_PARAMETERS) { PRODUCT(true, true, 128); }
extern "C" __global__ void __launch_bounds__(384, 1)
llm_matmul_hopper_tn_256_low(LOW_PARAMETERS) { PRODUCT_LOW(true, 256); }
extern "C" __global__ void __launch_bounds__(384, 1)
llm_matmul_hopper_nn_256_low(LOW_PARAMETERS) { PRODUCT_LOW(false, 256); }
extern "C" __global__ void __launch_bounds__(384, 1)
llm_matmul_hopper_tn_128_low(LOW_PARAMETERS) { PRODUCT_LOW(true, 128); }
extern "C" __global__ void __launch_bounds__(384, 1)
llm_matmul_hopper_nn_128_low(LOW_PARAMETERS) { PRODUCT_LOW(false, 128); }

EXPORT_KERNEL(llm_matmul_planes)
EXPORT_KERNEL(llm_matmul_hopper_tn_256_low)
EXPORT_KERNEL(llm_matmul_hopper_nn_256_low)
EXPORT_KERNEL(llm_matmul_hopper_tn_128_low)
EXPORT_KERNEL(llm_matmul_hopper_nn_128_low)
EXPORT_KERNEL(llm_matmul_hopper_tn_256)
EXPORT_KERNEL(llm_matmul_hopper_nn_256)
EXPORT_KERNEL(llm_matmul_hopper_nt_256)
EXPORT_KERNEL(llm_matmul_hopper_tt_256)
EXPORT_KERNEL(llm_matmul_hopper_tn_128)
EXPORT_KERNEL(llm_matmul_hopper_nn_128)
EXPORT_KERNEL(llm_matmul_hopper_nt_128)
EXPORT_KERNEL(llm_matmul_hopper_tt_128)
#endif
