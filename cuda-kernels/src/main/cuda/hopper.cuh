// hopper.cuh - Hopper instructions behind functions: mbarrier, bulk tensor copy, wgmma, setmaxnreg. On the CPU the
// same names come from hostcuda.h. Everything here needs PTX ISA 8.0 at most.
#pragma once
#include "common.cuh"
#if defined(__CUDACC__)
#include <cuda.h>   // CUtensorMap, a type only
__device__ __forceinline__ void mbar_init(uint64_t* b, unsigned n) { asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(smem_addr(b)), "r"(n) : "memory"); }
__device__ __forceinline__ void mbar_fence_init() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
__device__ __forceinline__ void mbar_arrive(uint64_t* b) { asm volatile("mbarrier.arrive.release.cta.shared::cta.b64 _, [%0];" ::"r"(smem_addr(b)) : "memory"); }
__device__ __forceinline__ void mbar_expect_tx(uint64_t* b, unsigned bytes) { asm volatile("mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 _, [%0], %1;" ::"r"(smem_addr(b)), "r"(bytes) : "memory"); }
__device__ __forceinline__ void mbar_wait(uint64_t* b, unsigned parity) {
  asm volatile("{\n .reg .pred p;\n again:\n mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 p, [%0], %1;\n @!p bra again;\n}" ::"r"(smem_addr(b)), "r"(parity) : "memory");
}
__device__ __forceinline__ void tma_prefetch(const CUtensorMap& m) { asm volatile("prefetch.tensormap [%0];" ::"l"(&m) : "memory"); }
__device__ __forceinline__ void tma_load_2d(void* dst, const CUtensorMap& m, uint64_t* b, int x, int y) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(smem_addr(dst)), "l"(&m), "r"(smem_addr(b)), "r"(x), "r"(y) : "memory");
}
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N> __device__ __forceinline__ void wgmma_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory"); }
template <int R> __device__ __forceinline__ void reg_more() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(R)); }
template <int R> __device__ __forceinline__ void reg_less() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(R)); }
// What this thread wrote to shared memory is seen by wgmma and bulk copies that begin after the next barrier.
__device__ __forceinline__ void proxy_fence() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// 2^x in one instruction: a result below 2^-126 is 0.
__device__ __forceinline__ float ex2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ void bar_sync(int id, int n) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(n) : "memory"); }
// Registers of a wgmma that was waited for, or that the next one reads: whatever touches them stays on its side of this line.
template <int N> __device__ __forceinline__ void wgmma_hold(float (&d)[N]) {
#pragma unroll
  for (int i = 0; i < N; i++) asm volatile("" : "+f"(d[i])::"memory");
}
template <int N> __device__ __forceinline__ void wgmma_hold(uint32_t (&a)[N][4]) {
#pragma unroll
  for (int i = 0; i < 4 * N; i++) asm volatile("" : "+r"(a[i / 4][i % 4])::"memory");
}
// d = a·b or d += a·b (scale 1) for 64 rows of a and n of b in shared memory, 16 deep. TA, TB: that operand is MN-major.
// Or a in registers: 16 rows a warp in the layout of mma.sync's left operand, which is that of d with its columns in pairs.
#define D8(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define D32(i) D8(i), D8(i + 8), D8(i + 16), D8(i + 24)
#define NAMES_16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define NAMES_32                             \
  NAMES_16 ", %16, %17, %18, %19, %20, %21," \
  "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define NAMES_64                                                                                                        \
  NAMES_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52," \
  "%53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define NAMES_128                                                                                                         \
  NAMES_64 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84,"   \
  "%85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106,"  \
  "%107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126," \
  "%127"
#define WGMMA(shape, scale, names, rest) \
  "{\n .reg .pred p;\n setp.ne.b32 p, " scale ", 0;\n wgmma.mma_async.sync.aligned." shape ".f32.bf16.bf16 {" names "}, " rest ";\n}"
template <int TA = 0, int TB = 0>
__device__ __forceinline__ void wgmma_m64n256k16(float (&d)[128], uint64_t a, uint64_t b, int scale) {
  asm volatile(WGMMA("m64n256k16", "%130", NAMES_128, "%128, %129, p, 1, 1, %131, %132")
               : D32(0), D32(32), D32(64), D32(96) : "l"(a), "l"(b), "r"(scale), "n"(TA), "n"(TB));
}
template <int TA = 0, int TB = 0>
__device__ __forceinline__ void wgmma_m64n128k16(float (&d)[64], uint64_t a, uint64_t b, int scale) {
  asm volatile(WGMMA("m64n128k16", "%66", NAMES_64, "%64, %65, p, 1, 1, %67, %68")
               : D32(0), D32(32) : "l"(a), "l"(b), "r"(scale), "n"(TA), "n"(TB));
}
template <int TA = 0, int TB = 0>
__device__ __forceinline__ void wgmma_m64n64k16(float (&d)[32], uint64_t a, uint64_t b, int scale) {
  asm volatile(WGMMA("m64n64k16", "%34", NAMES_32, "%32, %33, p, 1, 1, %35, %36")
               : D32(0) : "l"(a), "l"(b), "r"(scale), "n"(TA), "n"(TB));
}
template <int TA = 0, int TB = 0>
__device__ __forceinline__ void wgmma_m64n32k16(float (&d)[16], uint64_t a, uint64_t b, int scale) {
  asm volatile(WGMMA("m64n32k16", "%18", NAMES_16, "%16, %17, p, 1, 1, %19, %20")
               : D8(0), D8(8) : "l"(a), "l"(b), "r"(scale), "n"(TA), "n"(TB));
}
template <int TB = 0>
__device__ __forceinline__ void wgmma_m64n128k16(float (&d)[64], const uint32_t (&a)[4], uint64_t b, int scale) {
  asm volatile(WGMMA("m64n128k16", "%69", NAMES_64, "{%64, %65, %66, %67}, %68, p, 1, 1, %70")
               : D32(0), D32(32) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(scale), "n"(TB));
}
template <int TB = 0>
__device__ __forceinline__ void wgmma_m64n64k16(float (&d)[32], const uint32_t (&a)[4], uint64_t b, int scale) {
  asm volatile(WGMMA("m64n64k16", "%37", NAMES_32, "{%32, %33, %34, %35}, %36, p, 1, 1, %38")
               : D32(0) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(scale), "n"(TB));
}
#endif
// Descriptor of a K-major bf16 tile whose rows are 128 bytes, swizzled by 128: groups of 8 rows lie 1024 bytes apart.
// Advancing K by 16 values adds 32 bytes to the start address.
__device__ __forceinline__ uint64_t tile_desc(const void* p) {
  return (uint64_t)((smem_addr(p) & 0x3ffff) >> 4) | (uint64_t)1 << 16 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}
// Descriptor of an MN-major bf16 tile in panels of 64 lines: rows of 128 bytes, one for each k, swizzled by 128; 8 rows are 1024
// bytes, and `panel` bytes lie between panels. Advancing K by 16 rows adds 2048 bytes to the start address.
__device__ __forceinline__ uint64_t panel_desc(const void* p, int panel) {
  return (uint64_t)((smem_addr(p) & 0x3ffff) >> 4) | (uint64_t)(panel >> 4) << 16 | (uint64_t)64 << 32 | (uint64_t)1 << 62;
}
