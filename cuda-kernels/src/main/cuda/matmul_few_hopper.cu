// y (+)= alpha · S·Cᵀ for S (many,K) and C (few,K), both bf16, few at most 64, on Hopper's asynchronous tensor cores: decoding, S = W and C = x
// (org.llmcore.op.MatMul). The twin in matmul_skinny.cu (stream) takes other GPUs, and an f32 C.
//
// Geometry: a block for each multiprocessor and `strip` rows of S, all of k. wgmma's m is the 64 rows of C, its n those of S, because n goes in eights: 4096
// outputs are 128 strips of 32, 11008 are 126 of 88, each multiprocessor has the same to read, and no partial sum leaves a block. (With S as m 4096 outputs are
// 64 tiles, so k would be split over blocks whose sums meet in a second pass.) 384 threads: one thread of warpgroup 0 fills a ring of 192 KiB (160 for N 256) by bulk
// tensor copies with the 128-byte swizzle, 64 k a stage; warpgroups 1 and 2 take every other stage by m64nNk16, N = 32, 64, 128 or 256, the least that holds a strip.
//
// Rows of a stage that no copy fills (C's past `few`, S's past `strip`) hold whatever was there, and give elements that nobody keeps. So one row costs no copies
// of 64, and is multiplied by the same instruction in the same order as 64 are: each warpgroup sums its stages in ascending k, the two sums are added. A result
// has the same bits alone and among 64.
//
// Moves 2·many·K bytes from memory and 2·few·K for each strip from L2: with 64 rows three quarters of S again for strips of 88, twice for strips of 32.
// By arithmetic an H200 (4.8 TB/s) gives a multiprocessor 21 bytes of S a cycle, and 36 KiB must be under way for 1 µs of latency. Not measured yet:
//
// | outputs, strip, N | a stage of S is read in | of S in the ring | shared memory is busy for (8, 64 rows) | tensor cores | L2 gives (8, 64 rows)   |
// |-------------------|-------------------------|------------------|----------------------------------------|--------------|-------------------------|
// | 4096, 32, 32      | 198 cycles              | 64 KiB           | 136, 192                               | 64           | 26, 62 bytes a cycle    |
// | 11008, 88, 128    | 544                     | 88 KiB           | 288, 344                               | 256          | 23, 36                  |
//
// matmul_hopper has been given 37, so 64 rows of 4096 outputs wait for L2: 13 µs for 4096x4096, where the bytes of S take 7.
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#include "hopper.cuh"
#include "matmul.cuh"

static constexpr int ROWS = 64, BK = 64, RING = 192 << 10, C_BYTES = ROWS * BK * 2;

// Rows of S as `strip` says, C in boxes of `width` rows. Element (row of S, row of C) of y lies at row·ys + column·yc.
template <int N>
__device__ __forceinline__ void product(void* y, int ydt, int add, const CUtensorMap& s, const CUtensorMap& c, int many, int few, int K, int strip,
                                        int width, long long ys, long long yc, float alpha) {
  constexpr int STAGE = C_BYTES + N * BK * 2, STAGES = RING / STAGE, PITCH = N + 8;
  static_assert(STAGES % 2 == 0, "a stage always goes to the same warpgroup, whose four warps empty it");
  DYN_SHARED(raw);
  uint64_t *full = reinterpret_cast<uint64_t*>(raw + RING), *empty = full + STAGES;
  float* part = reinterpret_cast<float*>(raw);   // [2][64][PITCH], when the ring is done
  const int group = threadIdx.x / 128, tid = threadIdx.x % 128, first = blockIdx.x * strip, steps = (K + BK - 1) / BK;
  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES; i++) mbar_init(full + i, 1), mbar_init(empty + i, 4);
    mbar_fence_init();
  }
  __syncthreads();
  if (group == 0) {
    if (tid == 0) {
      for (int k = 0; k < steps; k++) {
        const int stage = k % STAGES;
        unsigned char* to = raw + stage * STAGE;
        mbar_wait(empty + stage, (k / STAGES & 1) ^ 1);   // the first round passes at once
        mbar_expect_tx(full + stage, (width + strip) * BK * 2);
        tma_load_2d(to, c, full + stage, k * BK, 0);
        tma_load_2d(to + C_BYTES, s, full + stage, k * BK, first);
      }
    }
  } else {
    float d[N / 2] = {};
#pragma unroll 1
    for (int k = group - 1; k < steps; k += 2) {
      const int stage = k % STAGES;
      mbar_wait(full + stage, k / STAGES & 1);
      const uint64_t a = tile_desc(raw + stage * STAGE), b = tile_desc(raw + stage * STAGE + C_BYTES);
      wgmma_fence();
#pragma unroll
      for (int kk = 0; kk < BK / 16; kk++) {
        if constexpr (N == 256) wgmma_m64n256k16(d, a + kk * 2, b + kk * 2, 1);
        else if constexpr (N == 128) wgmma_m64n128k16(d, a + kk * 2, b + kk * 2, 1);
        else if constexpr (N == 64) wgmma_m64n64k16(d, a + kk * 2, b + kk * 2, 1);
        else wgmma_m64n32k16(d, a + kk * 2, b + kk * 2, 1);
      }
      wgmma_commit();
      wgmma_wait<0>();   // memory is the limit: a stage that stays for the next product to be under way would be missed in the ring
      if (tid % 32 == 0) mbar_arrive(empty + stage);
    }
    wgmma_hold(d);
    bar_sync(1, 256);   // both warpgroups have read the stages that become their sums
    float* p = part + ((group - 1) * ROWS + (tid >> 5) * 16 + (tid & 31) / 4) * PITCH + tid % 4 * 2;
#pragma unroll
    for (int j = 0; j < N / 8; j++) {
      *reinterpret_cast<float2*>(p + j * 8) = make_float2(d[j * 4], d[j * 4 + 1]);
      *reinterpret_cast<float2*>(p + j * 8 + 8 * PITCH) = make_float2(d[j * 4 + 2], d[j * 4 + 3]);
    }
  }
  __syncthreads();
#pragma unroll 1
  for (int e = threadIdx.x; e < few * strip; e += 384) {
    const int column = e / strip, row = e % strip, at = column * PITCH + row;
    if (first + row < many) sink1(ydt, y, (first + row) * ys + column * yc, part[at] + part[at + ROWS * PITCH], alpha, add);
  }
}

#define FEW_PARAMETERS                                                                                                              \
  void *y, int ydt, int add, const __grid_constant__ CUtensorMap s, const __grid_constant__ CUtensorMap c, int many, int few, int K, \
      int strip, int width, long long ys, long long yc, float alpha
#define PRODUCT(N) product<N>(y, ydt, add, s, c, many, few, K, strip, width, ys, yc, alpha)

extern "C" __global__ void __launch_bounds__(384, 1)
llm_matmul_few_hopper_32(FEW_PARAMETERS) { PRODUCT(32); }
extern "C" __global__ void __launch_bounds__(384, 1)
llm_matmul_few_hopper_64(FEW_PARAMETERS) { PRODUCT(64); }
extern "C" __global__ void __launch_bounds__(384, 1)
llm_matmul_few_hopper_128(FEW_PARAMETERS) { PRODUCT(128); }
extern "C" __global__ void __launch_bounds__(384, 1)
llm_matmul_few_hopper_256(FEW_PARAMETERS) { PRODUCT(256); }

EXPORT_KERNEL(llm_matmul_few_hopper_32)
EXPORT_KERNEL(llm_matmul_few_hopper_64)
EXPORT_KERNEL(llm_matmul_few_hopper_128)
EXPORT_KERNEL(llm_matmul_few_hopper_256)
#endif
