// y (+)= alpha · op(a) · op(b) in plain f32 arithmetic, for every dtype and all four transpositions (org.llmcore.op.MatMul):
// the path of f32 by f32, which tensor cores would round, and of mixtures they do not take.
//
// Geometry: grid (⌈M/64⌉, ⌈N/64⌉, min(batch, 65535)), 256 threads of 4x4 outputs, tiles 64x64x16 through 8.5 KiB of shared
// memory. 2MNK FLOPs; reads (M·K·⌈N/64⌉ + N·K·⌈M/64⌉) elements, writes M·N. A thread owns 4x4 neighbours, so its operands are
// two 16-byte shared loads for 16 fused multiply-adds. The sum over k is one ascending chain of fma per output. a·bᵀ scales
// and adds it at the end; the others start from y and add alpha·a·b, as MatMul says: the bits of the CPU, and no bit depends
// on how tokens are split.
#include "common.cuh"

static constexpr int TILE = 64, DEPTH = 16, PITCH = TILE + 4;   // rows stay 16-byte aligned and start in another bank

// Row of `lines`, position k of `depth`: tile[k][row], zeros outside. `across`: the matrix is stored (depth, lines).
__device__ __forceinline__ void plain_tile(float (&tile)[DEPTH][PITCH], int dtype, const void* p, long long base, int first,
                                           int lines, int k0, int depth, int across, float scale) {
  for (int e = threadIdx.x; e < TILE * DEPTH; e += 256) {
    const int row = across ? e % TILE : e / DEPTH, k = across ? e / TILE : e % DEPTH;   // neighbouring threads read neighbours
    const bool inside = first + row < lines && k0 + k < depth;
    const long long at = across ? (long long)(k0 + k) * lines + first + row : (long long)(first + row) * depth + k0 + k;
    tile[k][row] = inside ? scale * load(dtype, p, base + at) : 0.0f;
  }
}

extern "C" __global__ void __launch_bounds__(256)
llm_matmul_plain(void* y, int ydt, int add, const void* a, int adt, const void* b, int bdt, int M, int N, int K, int batch,
                 int ta, int tb, float alpha) {
  alignas(16) __shared__ float as[DEPTH][PITCH], bs[DEPTH][PITCH];
  const int m0 = blockIdx.x * TILE, n0 = blockIdx.y * TILE, tm = threadIdx.x / 16, tn = threadIdx.x % 16;
  for (int z = blockIdx.z; z < batch; z += gridDim.z) {
    const bool chain = ta || !tb;
    float acc[4][4] = {};
    if (chain && add) {
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
          const int m = m0 + tm * 4 + i, n = n0 + tn * 4 + j;
          if (n < N && m < M) acc[i][j] = load(ydt, y, ((long long)z * M + m) * N + n);
        }
    }
    for (int k0 = 0; k0 < K; k0 += DEPTH) {
      plain_tile(as, adt, a, (long long)z * M * K, m0, M, k0, K, ta, chain ? alpha : 1.0f);
      plain_tile(bs, bdt, b, (long long)z * N * K, n0, N, k0, K, !tb, 1.0f);
      __syncthreads();
#pragma unroll
      for (int k = 0; k < DEPTH; k++) {
        const float4 ua = *reinterpret_cast<const float4*>(&as[k][tm * 4]), vb = *reinterpret_cast<const float4*>(&bs[k][tn * 4]);
        const float u[4] = {ua.x, ua.y, ua.z, ua.w}, v[4] = {vb.x, vb.y, vb.z, vb.w};
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
          for (int j = 0; j < 4; j++) acc[i][j] = fmaf(u[i], v[j], acc[i][j]);
      }
      __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const int m = m0 + tm * 4 + i, n = n0 + tn * 4 + j;
        const long long at = ((long long)z * M + m) * N + n;
        if (m < M && n < N) {
          store(ydt, y, at, chain ? acc[i][j] : add ? fmaf(alpha, acc[i][j], load(ydt, y, at)) : alpha * acc[i][j]);
        }
      }
  }
}

EXPORT_KERNEL(llm_matmul_plain)
