// y (+)= alpha · op(a) · op(b) for a and b both bf16 or both f16, on the tensor cores of sm_80 and newer
// (org.llmcore.op.MatMul): all four transpositions, any sizes, y of any dtype. Products are exact, sums are f32 in an order
// that depends on k alone.
//
// Geometry: grid (⌈M/128⌉·⌈N/128⌉, 1, min(batch, 65535)), 256 threads, 4 stages of 16 KiB. 2MNK FLOPs; reads 2·(MK⌈N/128⌉ +
// NK⌈M/128⌉) bytes, mostly from L2; a block multiplies 128·128·32 for every 16 KiB: 64 FLOPs a byte. Names say dtype and the
// operands as memory sees them: tn is a·bᵀ (y = x·Wᵀ), nn is a·b (dx = dy·W), nt is aᵀ·b (dW = dyᵀ·x), tt is aᵀ·bᵀ.
#include "matmul_tiles.cuh"

extern "C" __global__ void __launch_bounds__(256, 2)
llm_matmul_mma_bf16_tn(PRODUCT_PARAMETERS) { PRODUCT(bf16, bf16, false, true); }
extern "C" __global__ void __launch_bounds__(256, 2)
llm_matmul_mma_bf16_nn(PRODUCT_PARAMETERS) { PRODUCT(bf16, bf16, false, false); }
extern "C" __global__ void __launch_bounds__(256, 2)
llm_matmul_mma_bf16_nt(PRODUCT_PARAMETERS) { PRODUCT(bf16, bf16, true, false); }
extern "C" __global__ void __launch_bounds__(256, 2)
llm_matmul_mma_bf16_tt(PRODUCT_PARAMETERS) { PRODUCT(bf16, bf16, true, true); }
extern "C" __global__ void __launch_bounds__(256, 2)
llm_matmul_mma_f16_tn(PRODUCT_PARAMETERS) { PRODUCT(f16, f16, false, true); }
extern "C" __global__ void __launch_bounds__(256, 2)
llm_matmul_mma_f16_nn(PRODUCT_PARAMETERS) { PRODUCT(f16, f16, false, false); }
extern "C" __global__ void __launch_bounds__(256, 2)
llm_matmul_mma_f16_nt(PRODUCT_PARAMETERS) { PRODUCT(f16, f16, true, false); }
extern "C" __global__ void __launch_bounds__(256, 2)
llm_matmul_mma_f16_tt(PRODUCT_PARAMETERS) { PRODUCT(f16, f16, true, true); }

EXPORT_KERNEL(llm_matmul_mma_bf16_tn)
EXPORT_KERNEL(llm_matmul_mma_bf16_nn)
EXPORT_KERNEL(llm_matmul_mma_bf16_nt)
EXPORT_KERNEL(llm_matmul_mma_bf16_tt)
EXPORT_KERNEL(llm_matmul_mma_f16_tn)
EXPORT_KERNEL(llm_matmul_mma_f16_nn)
EXPORT_KERNEL(llm_matmul_mma_f16_nt)
EXPORT_KERNEL(llm_matmul_mma_f16_tt)
