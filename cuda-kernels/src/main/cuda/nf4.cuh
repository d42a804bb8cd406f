// nf4.cuh - what the products with 4-bit NormalFloat weights share (org.llmcore.tensor.Nf4).
#pragma once
#include "common.cuh"

static constexpr int NF4_BLOCK = 64, NF4_NESTED = 256;   // weights of one absmax; absmaxima of one scale

// An absmax with double quantization; two roundings.
__device__ __forceinline__ float nf4_absmax(float level, float scale, float offset) { return __fadd_rn(__fmul_rn(level, scale), offset); }
