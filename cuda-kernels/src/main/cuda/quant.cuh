// quant.cuh - the few-row product with a weight matrix in few bits (org.llmcore.op.QuantMatMul), for every form: a form decodes 8
// neighbouring weights of a row from its bytes, and this file streams the bytes, holds x, and sums.
//
// Geometry: grid (⌈N/16⌉, ⌈rows/ROWS⌉), 128 threads. A warp owns 4 rows of W and walks over K in chunks of 1024 columns, 32 for each lane. The
// codes of a chunk come by cp.async in pieces of 16 bytes into one of two buffers, so that the next chunk is on its way while this one is
// summed; a decoded weight is used for all ROWS rows of x, and x, kept in shared memory with 4 floats of padding per 32, for 4 rows of W.
// Moved: the codes once per ROWS rows, x once per 16 rows of W (from L2). 2·rows·N·K flops, about 3 instructions to decode a weight.
//
// The order of the sum is: one chain per lane over its columns, ascending, then the tree of warp_sum. It does not depend on the number of rows.
#pragma once
#include "common.cuh"
#if defined(__CUDACC__)   // functions inside structs: g++ would take the static of __forceinline__ for a static member
#define MEMBER __device__ __forceinline__
#define NOT_INLINE __device__ __noinline__
#else
#define MEMBER inline __attribute__((always_inline))
#define NOT_INLINE __attribute__((noinline))
#endif

static constexpr int QUANT_CHUNK = 1024, QUANT_OUTPUTS = 4, QUANT_WARPS = 4, QUANT_PITCH = 36;

// Byte j of 8.
__device__ __forceinline__ int byte_of(uint2 v, int j) { return (int)((j < 4 ? v.x : v.y) >> (8 * (j & 3)) & 255u); }
// 8 bytes at an even address.
__device__ __forceinline__ uint2 bytes8(const unsigned char* p) {
  const uint16_t* h = reinterpret_cast<const uint16_t*>(p);
  uint2 v;
  v.x = (uint32_t)h[0] | (uint32_t)h[1] << 16;
  v.y = (uint32_t)h[2] | (uint32_t)h[3] << 16;
  return v;
}
// An f16 at an even address.
__device__ __forceinline__ float half_at(const unsigned char* p) { return __half2float(__ushort_as_half(*reinterpret_cast<const uint16_t*>(p))); }

// 8 values into y at element i, of which `n` exist; by 16 bytes where `whole` says that all lie aligned.
__device__ __forceinline__ void write8(void* y, int ydt, long long i, const float (&w)[8], int n, bool whole) {
  if (whole && ydt == F32) {
    float4* to = reinterpret_cast<float4*>(static_cast<float*>(y) + i);
    to[0] = make_float4(w[0], w[1], w[2], w[3]);
    to[1] = make_float4(w[4], w[5], w[6], w[7]);
  } else if (whole && ydt == BF16) {
    store8(static_cast<bf16*>(y) + i, w);
  } else {
#pragma unroll
    for (int j = 0; j < 8; j++) if (j < n) store(ydt, y, i + j, w[j]);
  }
}

// The 16 bytes of the codes from `at`, a multiple of 16, asynchronously where they are all there. Nothing outside [0, total) is read.
__device__ __forceinline__ void quant_piece(unsigned char* to, const unsigned char* codes, long long at, long long total) {
  if (at + 16 <= total) cp_async16(to, codes + at);
  else
#pragma unroll 1
    for (int b = 0; b < 16 && at + b < total; b++) to[b] = codes[at + b];
}

// Bytes [from, from + n) of the codes into a slot, which begins at the multiple of 16 below `from`.
__device__ __forceinline__ void quant_stage(unsigned char* slot, const unsigned char* codes, long long from, int n, long long total) {
  const long long begin = from & ~15LL;
  const int pieces = (int)((from + n - begin + 15) / 16);
#pragma unroll 1
  for (int i = threadIdx.x & 31; i < pieces; i += 32) quant_piece(slot + 16 * i, codes, begin + 16LL * i, total);
}

// y(rows,N) (+)= x(rows,K)·Wᵀ. A form has SLOT (bytes of a buffer for a chunk, 16 of them spare), `from(row, chunk)` and `bytes(chunk)` (where the
// codes of a chunk lie) and `decode8(w, bytes, row, first, unit, sub)`: columns first + 32·unit + 8·sub … + 7, `bytes` at column `first`.
template <int ROWS, class Form>
__device__ __forceinline__ void quant_rows(const Form& f, const unsigned char* codes, long long total, void* y, int ydt, int add, const void* x,
                                           int xdt, int rows, int N, int K, unsigned char* shared) {
  float* xs = reinterpret_cast<float*>(shared);
  unsigned char* slots = shared + ROWS * (QUANT_CHUNK / 32) * QUANT_PITCH * 4;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, r0 = blockIdx.y * ROWS;
  const int n0 = (blockIdx.x * QUANT_WARPS + warp) * QUANT_OUTPUTS, chunks = (K + QUANT_CHUNK - 1) / QUANT_CHUNK;
  auto slot = [&](int chunk, int o) { return slots + (((chunk & 1) * QUANT_WARPS + warp) * QUANT_OUTPUTS + o) * Form::SLOT; };
  auto row = [&](int o) { return min(n0 + o, N - 1); };   // past the end: decoded, not written
  auto stage = [&](int chunk) {
    if (chunk < chunks)
#pragma unroll 1
      for (int o = 0; o < QUANT_OUTPUTS; o++) quant_stage(slot(chunk, o), codes, f.from(row(o), chunk), f.bytes(chunk), total);
    cp_async_commit();
  };
  float acc[ROWS][QUANT_OUTPUTS] = {};
  stage(0);
#pragma unroll 1
  for (int chunk = 0; chunk < chunks; chunk++) {
    const int first = chunk * QUANT_CHUNK;
    stage(chunk + 1);
#pragma unroll 2
    for (int i = threadIdx.x; i < ROWS * QUANT_CHUNK; i += 32 * QUANT_WARPS) {
      const int r = i / QUANT_CHUNK, c = i % QUANT_CHUNK;
      const bool inside = r0 + r < rows && first + c < K;
      xs[(r * (QUANT_CHUNK / 32) + c / 32) * QUANT_PITCH + c % 32] = inside ? load(xdt, x, (long long)(r0 + r) * K + first + c) : 0.0f;
    }
    cp_async_wait<1>();
    __syncthreads();
#pragma unroll 1
    for (int s = 0; s < 4; s++) {
      if (first + 32 * lane + 8 * s >= K) break;
      float w[QUANT_OUTPUTS][8];
#pragma unroll
      for (int o = 0; o < QUANT_OUTPUTS; o++) f.decode8(w[o], slot(chunk, o) + (f.from(row(o), chunk) & 15), row(o), first, lane, s);
#pragma unroll
      for (int r = 0; r < ROWS; r++) {
        const float4* p = reinterpret_cast<const float4*>(xs + (r * (QUANT_CHUNK / 32) + lane) * QUANT_PITCH + 8 * s);
        const float4 a = p[0], b = p[1];
        const float v[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
#pragma unroll
        for (int j = 0; j < 8; j++)
#pragma unroll
          for (int o = 0; o < QUANT_OUTPUTS; o++) acc[r][o] = fmaf(v[j], w[o][j], acc[r][o]);
      }
    }
    __syncthreads();
  }
  float mine = 0.0f;   // lane i writes output i % 4 of row i / 4
#pragma unroll
  for (int i = 0; i < ROWS * QUANT_OUTPUTS; i++) {
    const float v = warp_sum(acc[i / QUANT_OUTPUTS][i % QUANT_OUTPUTS]);
    if (lane == i) mine = v;
  }
  const int r = r0 + lane / QUANT_OUTPUTS, n = n0 + lane % QUANT_OUTPUTS;
  if (lane < ROWS * QUANT_OUTPUTS && n < N && r < rows) sink(ydt, y, add, (long long)r * N + n, mine);
}
