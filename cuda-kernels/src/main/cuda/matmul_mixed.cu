// y (+)= alpha · a · op(b) where one operand is f32 and the other bf16, on the tensor cores, without rounding the f32 one
// (org.llmcore.op.MatMul): f32 activations on bf16 weights, bf16 activations on the f32 matrices of an adapter. The f32
// operand is three bf16 planes whose products with a bf16 are exact, so a result is as good as that of f32 arithmetic; 3
// times the tensor-core work. A finite value keeps every bit down to 2^-133; an infinity in the f32 operand gives NaN.
//
// Geometry as matmul_mma.cu; 3 stages of 24 KiB. Names: dtype of a, dtype of b, tn a·bᵀ, nn a·b. (aᵀ·b of mixed dtypes does
// not occur in training; it goes to matmul_plain.)
#include "matmul_tiles.cuh"

extern "C" __global__ void __launch_bounds__(256)
llm_matmul_mixed_f32_bf16_tn(PRODUCT_PARAMETERS) { PRODUCT(float, bf16, false, true); }
extern "C" __global__ void __launch_bounds__(256)
llm_matmul_mixed_f32_bf16_nn(PRODUCT_PARAMETERS) { PRODUCT(float, bf16, false, false); }
extern "C" __global__ void __launch_bounds__(256)
llm_matmul_mixed_bf16_f32_tn(PRODUCT_PARAMETERS) { PRODUCT(bf16, float, false, true); }
extern "C" __global__ void __launch_bounds__(256)
llm_matmul_mixed_bf16_f32_nn(PRODUCT_PARAMETERS) { PRODUCT(bf16, float, false, false); }

EXPORT_KERNEL(llm_matmul_mixed_f32_bf16_tn)
EXPORT_KERNEL(llm_matmul_mixed_f32_bf16_nn)
EXPORT_KERNEL(llm_matmul_mixed_bf16_f32_tn)
EXPORT_KERNEL(llm_matmul_mixed_bf16_f32_nn)
