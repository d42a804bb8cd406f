// common.cuh - what every kernel of llm-core may use: dtypes, 16-byte packs, warp and block reductions, and the sm_80
// instructions behind functions (cp.async, ldmatrix, mma.sync). hopper.cuh adds sm_90a. These two files are the only ones with
// PTX: nvcc gets instructions, g++ gets hostcuda.h, which has the same names in software, so that every kernel also runs, checked
// for races and bounds, on a machine without a GPU.
//
// Conventions of all kernels
//   extern "C" __global__ void llm_<operator>_<variant>(...), followed by EXPORT_KERNEL(name) at the end of the file
//   tensors are `void*` with an int dtype code, or typed pointers where a kernel is made for one dtype (name ends in _f32, _bf16)
//   sizes are int or long long; `add` is 0 (overwrite) or 1 (add to what is there), as core's Sink says
//   arithmetic in f32; no float atomics: two runs give the same bits
//   dynamic shared memory by DYN_SHARED(name); above 48 KiB CudaDispatch asks for it at the launch
#pragma once
#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cstdint>
#include <type_traits>
#define DYN_SHARED(name) extern __shared__ __align__(1024) unsigned char name[]
#define EXPORT_KERNEL(k)
__device__ __forceinline__ uint32_t smem_addr(const void* p) { return (uint32_t)__cvta_generic_to_shared(p); }
// 16 bytes from global to shared memory without registers; zeros where not valid (src must be a legal address even then).
__device__ __forceinline__ void cp_async16(void* dst, const void* src, bool valid = true) {
  int n = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(smem_addr(dst)), "l"(src), "r"(n) : "memory");
}
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> __device__ __forceinline__ void cp_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(smem_addr(row)) : "memory");
}
__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(smem_addr(row)) : "memory");
}
// d += a·b for a 16x16 bf16 tile a (row-major fragments) and a 16x8 tile b (column-major fragments), accumulated in f32.
__device__ __forceinline__ void mma_bf16_16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// The same for f16.
__device__ __forceinline__ void mma_f16_16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#else
#include "hostcuda.h"
#endif
using bf16 = __nv_bfloat16;
using bf162 = __nv_bfloat162;
using f16 = __half;

// ---- dtypes: the ordinals of org.llmcore.tensor.DType ---------------------------------------------------------------------
enum : int { F32 = 0, BF16 = 1, F16 = 2, I32 = 3, U8 = 4 };

// Element i of an array of one dtype as f32, and back, rounded to nearest even. For kernels made per dtype.
__device__ __forceinline__ float get(const float* p, long long i) { return p[i]; }
__device__ __forceinline__ float get(const bf16* p, long long i) { return __bfloat162float(p[i]); }
__device__ __forceinline__ float get(const f16* p, long long i) { return __half2float(p[i]); }
__device__ __forceinline__ void put(float* p, long long i, float v) { p[i] = v; }
__device__ __forceinline__ void put(bf16* p, long long i, float v) { p[i] = __float2bfloat16(v); }
__device__ __forceinline__ void put(f16* p, long long i, float v) { p[i] = __float2half(v); }

// The same for an array whose floating dtype is a number known at the launch: one uniform branch per access.
__device__ __forceinline__ float load(int dtype, const void* p, long long i) {
  if (dtype == F32) return get(static_cast<const float*>(p), i);
  if (dtype == BF16) return get(static_cast<const bf16*>(p), i);
  return get(static_cast<const f16*>(p), i);
}
__device__ __forceinline__ void store(int dtype, void* p, long long i, float v) {
  if (dtype == F32) put(static_cast<float*>(p), i, v);
  else if (dtype == BF16) put(static_cast<bf16*>(p), i, v);
  else put(static_cast<f16*>(p), i, v);
}
// What core's Sink means: y = v, or y += v in f32 and rounded once.
__device__ __forceinline__ void sink(int dtype, void* p, int add, long long i, float v) {
  store(dtype, p, i, add ? load(dtype, p, i) + v : v);
}

// 16 bytes of bf16 as 8 floats, and back. The address is a multiple of 16.
struct alignas(16) Pack8 { bf162 h[4]; };
__device__ __forceinline__ void load8(float (&f)[8], const bf16* p) {
  Pack8 v = *reinterpret_cast<const Pack8*>(p);
#pragma unroll
  for (int i = 0; i < 4; i++) { float2 t = __bfloat1622float2(v.h[i]); f[2 * i] = t.x; f[2 * i + 1] = t.y; }
}
__device__ __forceinline__ void store8(bf16* p, const float (&f)[8]) {
  Pack8 v;
#pragma unroll
  for (int i = 0; i < 4; i++) v.h[i] = __floats2bfloat162_rn(f[2 * i], f[2 * i + 1]);
  *reinterpret_cast<Pack8*>(p) = v;
}
// Elements i … i+7 of an array whose dtype is known at the launch, and back: one or two accesses of 16 bytes, at multiples of 16.
struct alignas(16) HalfPack8 { __half2 h[4]; };
__device__ __forceinline__ void load8(int dtype, float (&f)[8], const void* p, long long i) {
  if (dtype == BF16) load8(f, static_cast<const bf16*>(p) + i);
  else if (dtype == F16) {
    const HalfPack8 v = *reinterpret_cast<const HalfPack8*>(static_cast<const f16*>(p) + i);
#pragma unroll
    for (int j = 0; j < 4; j++) { const float2 t = __half22float2(v.h[j]); f[2 * j] = t.x, f[2 * j + 1] = t.y; }
  } else {
    const float4* q = reinterpret_cast<const float4*>(static_cast<const float*>(p) + i);
    const float4 a = q[0], b = q[1];
    f[0] = a.x, f[1] = a.y, f[2] = a.z, f[3] = a.w, f[4] = b.x, f[5] = b.y, f[6] = b.z, f[7] = b.w;
  }
}
__device__ __forceinline__ void store8(int dtype, void* p, long long i, const float (&f)[8]) {
  if (dtype == BF16) store8(static_cast<bf16*>(p) + i, f);
  else if (dtype == F16) {
    HalfPack8 v;
#pragma unroll
    for (int j = 0; j < 4; j++) v.h[j] = __floats2half2_rn(f[2 * j], f[2 * j + 1]);
    *reinterpret_cast<HalfPack8*>(static_cast<f16*>(p) + i) = v;
  } else {
    float4* q = reinterpret_cast<float4*>(static_cast<float*>(p) + i);
    q[0] = make_float4(f[0], f[1], f[2], f[3]), q[1] = make_float4(f[4], f[5], f[6], f[7]);
  }
}
// Whether rows of n elements at these addresses may be accessed 16 bytes at a time.
template <class... P> __device__ __forceinline__ bool wide(long long n, const P*... p) { return n % 8 == 0 && ((... | (unsigned long long)p) & 15) == 0; }
// Elements i … i+7, of which n exist; the others are 0 and are not written. Uniform branches: one access of 16 bytes where `fast`.
__device__ __forceinline__ void load8(int dtype, float (&f)[8], const void* p, long long i, long long n, bool fast) {
  if (fast) return load8(dtype, f, p, i);
#pragma unroll
  for (int j = 0; j < 8; j++) f[j] = j < n ? load(dtype, p, i + j) : 0.0f;
}
__device__ __forceinline__ void store8(int dtype, void* p, long long i, long long n, bool fast, const float (&f)[8]) {
  if (fast) return store8(dtype, p, i, f);
#pragma unroll
  for (int j = 0; j < 8; j++) if (j < n) store(dtype, p, i + j, f[j]);
}
__device__ __forceinline__ void sink8(int dtype, void* p, int add, long long i, long long n, bool fast, float (&f)[8]) {
  if (add) {
    float old[8];
    load8(dtype, old, p, i, n, fast);
#pragma unroll
    for (int j = 0; j < 8; j++) f[j] += old[j];
  }
  store8(dtype, p, i, n, fast, f);
}
__device__ __forceinline__ uint32_t pack2(float a, float b) {
  bf162 v = __floats2bfloat162_rn(a, b);
  return (uint32_t)reinterpret_cast<uint16_t&>(v.x) | (uint32_t)reinterpret_cast<uint16_t&>(v.y) << 16;
}

// ---- reductions, in a fixed order -----------------------------------------------------------------------------------------
__device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
  for (int m = 16; m; m >>= 1) v += __shfl_xor_sync(0xffffffffu, v, m);
  return v;
}
__device__ __forceinline__ float warp_max(float v) {
#pragma unroll
  for (int m = 16; m; m >>= 1) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, m));
  return v;
}
// Over the block, whose size is a multiple of 32; every thread gets the result. `scratch` is 32 floats of shared memory that
// nobody else uses until the call returns.
__device__ __forceinline__ float block_sum(float v, float* scratch) {
  v = warp_sum(v);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, n = blockDim.x >> 5;
  if (lane == 0) scratch[warp] = v;
  __syncthreads();
  v = lane < n ? scratch[lane] : 0.0f;
  v = warp_sum(v);
  __syncthreads();
  return v;
}
__device__ __forceinline__ float block_max(float v, float* scratch) {
  v = warp_max(v);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, n = blockDim.x >> 5;
  if (lane == 0) scratch[warp] = v;
  __syncthreads();
  v = lane < n ? scratch[lane] : -INFINITY;
  v = warp_max(v);
  __syncthreads();
  return v;
}

// Element-wise kernels: blocks of 256 threads that stride over n elements.
#define FOR_EACH(i, n) \
  for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += (long long)gridDim.x * blockDim.x)
// The same, 8 elements a thread.
#define FOR_EACH_8(i, n) \
  for (long long i = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * 8; i < (n); i += (long long)gridDim.x * blockDim.x * 8)
