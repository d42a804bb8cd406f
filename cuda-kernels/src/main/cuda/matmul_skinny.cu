// Products with one small side, at most 64: bound by the bytes of the large operand, which is read once
// (org.llmcore.op.MatMul).
//
//   stream  y = alpha · S·Cᵀ, S (many,K) bf16, C (few,K) bf16 or f32     decoding: S = W, C = x; LoRA: u = x·Aᵀ and du = dy·B
//   outer   y = alpha · Cᵀ·S, S (T,many) bf16, C (T,few) bf16            LoRA: dA = duᵀ·x and dBᵀ = uᵀ·dy
//   update  y = alpha · C·S, C (T,few) and y bf16, S (few,many) f32      LoRA: y += s·u·Bᵀ and dx += s·du·A, a few terms an element
//
// The sum over k is split between the 8 warps of a block in a fixed way and combined as a tree, so a result depends neither
// on how many rows there are nor on its neighbours: one row decodes to the same bits alone and among 64. f32 values of C are
// three bf16 planes whose products are exact (split3 in matmul.cuh).
//
// stream: grid ⌈many/32⌉, 256 threads. A lane takes 16 bytes (8 k) of a row at a time straight into mma fragments: k may be
// permuted as long as both operands agree, so no shared memory is needed. Warp w takes the slabs of 32 k number w, w+8, … and
// fetches them ahead; from 32 rows on C too, which otherwise waits for L2 before every product. Moves 2·many·K bytes from memory
// and 2 or 4·few·K from L2 for every 32 rows. Where that leaves multiprocessors with less than two blocks, a block takes 16 rows
// (_narrow): the same sums.
//
// outer: grid (⌈many/128⌉, parts of T), 256 threads, 8 rings of 8 stages (4 for 64 rows) of 16 tokens filled by cp.async. Four warps side by side read 256 neighbouring
// bytes of a row, the other four the next 16 tokens. Moves 2·T·many bytes, and 2·T·few from L2 for every 32 columns. Where T has parts each block leaves f32 sums that `sum` adds in
// order: 4·few·many bytes a part, written and read. (A block for every 32 columns and all of T needed no sums, but read 64 bytes of a row: 30 µs for 67 MB on an H200, where a copy's rate
// would be 17.) K, few (outer) and many (outer, update) are multiples of 8; addresses are multiples of 16 bytes.
//
// update: grid (⌈many/256⌉, up to ⌈T/64⌉), 256 threads; S stays in shared memory while the block walks down T, 64 rows a turn, 8 rows
// by 8 columns a thread, in f32 arithmetic and one ascending chain. What y holds is fetched before the chain, 32 KiB a block under
// way. few 8, 8192x4096 on an H100: 59 µs, 45 being what the bytes of y take; tiles of 128x128 on tensor cores, which padded few
// to 32 and read y after their products, took 144.
#include "skinny.cuh"

// 8 neighbours of a row of C as they lie in memory, and as words of two bf16, least plane first.
template <class C> struct Eight { uint4 w[sizeof(C) / 2]; };
template <class C> __device__ __forceinline__ Eight<C> eight(const C* p, bool in) {
  Eight<C> e;
#pragma unroll
  for (int i = 0; i < (int)sizeof(C) / 2; i++) e.w[i] = in ? reinterpret_cast<const uint4*>(p)[i] : make_uint4(0, 0, 0, 0);
  return e;
}
__device__ __forceinline__ void planes(uint32_t (&w)[1][4], const Eight<bf16>& e) { w[0][0] = e.w[0].x, w[0][1] = e.w[0].y, w[0][2] = e.w[0].z, w[0][3] = e.w[0].w; }
__device__ __forceinline__ void planes(uint32_t (&w)[3][4], const Eight<float>& e) {
  const uint4 u = e.w[0], v = e.w[1];
  split3(w[2][0], w[1][0], w[0][0], __uint_as_float(u.x), __uint_as_float(u.y)), split3(w[2][1], w[1][1], w[0][1], __uint_as_float(u.z), __uint_as_float(u.w));
  split3(w[2][2], w[1][2], w[0][2], __uint_as_float(v.x), __uint_as_float(v.y)), split3(w[2][3], w[1][3], w[0][3], __uint_as_float(v.z), __uint_as_float(v.w));
}

// P pieces of 16 rows of S against J of 8 rows of C. Element (row of S, row of C) of y lies at row·ys + column·yc. S is fetched AHEAD slabs early,
// C one slab early where BOTH.
template <class C, int P, int J, int AHEAD, bool BOTH>
__device__ __forceinline__ void stream(void* y, int ydt, int add, const bf16* s, const C* c, int many, int few, int K,
                                       long long ys, long long yc, float alpha) {
  constexpr int PLANES = sizeof(C) == 4 ? 3 : 1;
  DYN_SHARED(raw);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, q = lane & 3, first = blockIdx.x * 16 * P;
  const bf16* line[2 * P];   // rows g, g+8, …; past the end the last row again, whose results nobody keeps
#pragma unroll
  for (int i = 0; i < 2 * P; i++) line[i] = s + (long long)min(first + i * 8 + g, many - 1) * K;
  float acc[P * J][4] = {};
  uint4 next[AHEAD][2 * P];
  Eight<C> soon[BOTH ? J : 1];
  auto of_c = [&](int j, int k) { return eight(c + (long long)min(j * 8 + g, few - 1) * K + k, k < K); };
#pragma unroll
  for (int n = 0; n < AHEAD; n++)
#pragma unroll
    for (int i = 0; i < 2 * P; i++) {
      const int k = (warp + n * WARPS) * 32 + q * 8;
      next[n][i] = k < K ? __ldcs(reinterpret_cast<const uint4*>(line[i] + k)) : make_uint4(0, 0, 0, 0);
    }
  if constexpr (BOTH)
#pragma unroll
    for (int j = 0; j < J; j++) soon[j] = of_c(j, warp * 32 + q * 8);
#pragma unroll 1
  for (int slab = warp * 32; slab < K; slab += WARPS * 32) {
    const int k = slab + q * 8, ahead = k + AHEAD * WARPS * 32;
    uint4 now[2 * P];
    Eight<C> e[BOTH ? J : 1];
#pragma unroll
    for (int i = 0; i < 2 * P; i++) {
      now[i] = next[0][i];
#pragma unroll
      for (int n = 1; n < AHEAD; n++) next[n - 1][i] = next[n][i];
      next[AHEAD - 1][i] = ahead < K ? __ldcs(reinterpret_cast<const uint4*>(line[i] + ahead)) : make_uint4(0, 0, 0, 0);
    }
    if constexpr (BOTH)
#pragma unroll
      for (int j = 0; j < J; j++) e[j] = soon[j], soon[j] = of_c(j, k + WARPS * 32);
#pragma unroll
    for (int j = 0; j < J; j++) {
      uint32_t w[PLANES][4];
      planes(w, BOTH ? e[BOTH ? j : 0] : of_c(j, k));
#pragma unroll
      for (int p = 0; p < PLANES; p++)
#pragma unroll
        for (int i = 0; i < P; i++) {
          const uint4 u = now[2 * i], v = now[2 * i + 1];
          const uint32_t a[4] = {u.x, v.x, u.y, v.y}, b[2] = {w[p][0], w[p][1]};   // k 0-3 of every lane's 8
          mma_bf16_16816(acc[i * J + j], a, b);
          const uint32_t aa[4] = {u.z, v.z, u.w, v.w}, bb[2] = {w[p][2], w[p][3]};   // k 4-7
          mma_bf16_16816(acc[i * J + j], aa, bb);
        }
    }
  }
  combine(acc, raw);
#pragma unroll 1
  for (int e = threadIdx.x; e < 16 * P * J * 8; e += 256) {
    const int row = e % (16 * P), column = e / (16 * P);
    if (first + row >= many || column >= few) continue;
    sink1(ydt, y, (first + row) * ys + column * yc, combined<J>(raw, row, column), alpha, add);
  }
}

// 16·R columns of C against 128 of S, over one of gridDim.y parts of T.
template <int R>
__device__ __forceinline__ void outer(void* y, int ydt, int add, float* parts, const bf16* c, const bf16* s, int few, int many, int T,
                                      float alpha) {
  using TileC = Tile<bf16, true, 16 * R, 16>;
  using TileS = Tile<bf16, true, 32, 16>;
  constexpr int STAGES = R < 4 ? 8 : 4, STAGE = TileC::BYTES + TileS::BYTES, ABREAST = 4, PIECES = R * 4;
  DYN_SHARED(raw);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, beside = warp % ABREAST, first = blockIdx.x * 32 * ABREAST, mine = first + beside * 32;
  const int all = (T + 15) / 16, each = (all + gridDim.y - 1) / gridDim.y, slab = blockIdx.y * each + warp / ABREAST, end = min(all, (int)(blockIdx.y + 1) * each);
  unsigned char* ring = raw + warp * STAGES * STAGE;   // each warp has its own
  float acc[PIECES][4] = {};
#pragma unroll 1
  for (int i = 1 - STAGES; slab + i * (WARPS / ABREAST) < end; i++) {   // the first rounds only load
    cp_async_wait<STAGES - 2>();
    __syncwarp();   // stage i is there for the warp, and no lane reads stage i-1 any more
    const int ahead = slab + (i + STAGES - 1) * (WARPS / ABREAST);
    unsigned char* t = ring + (i + STAGES - 1) % STAGES * STAGE;
    if (ahead < end) {
      load_tile<TileC, 32>(t, c, lane, 0, few, ahead * 16, T);
      load_tile<TileS, 32>(t + TileC::BYTES, s, lane, mine, many, ahead * 16, T);
    }
    cp_async_commit();
    if (i < 0) continue;
    const unsigned char *tc = ring + i % STAGES * STAGE, *ts = tc + TileC::BYTES;
    uint32_t fs[2][1][4];
    fragment<TileS>(fs[0], ts, 0, 0);
    fragment<TileS>(fs[1], ts, 16, 0);
#pragma unroll
    for (int r = 0; r < R; r++) {
      uint32_t fc[1][4];
      fragment<TileC>(fc, tc, r * 16, 0);
#pragma unroll
      for (int j = 0; j < 4; j++) multiply<bf16>(acc[r * 4 + j], fc[0], fs[j / 2][0][j % 2 * 2], fs[j / 2][0][j % 2 * 2 + 1]);
    }
  }
  cp_async_wait<0>();
  __syncthreads();   // the rings become sums
  float4* sums = reinterpret_cast<float4*>(raw) + beside * PIECES * 32;
  if (warp >= ABREAST) {
#pragma unroll
    for (int i = 0; i < PIECES; i++) sums[i * 32 + lane] = make_float4(acc[i][0], acc[i][1], acc[i][2], acc[i][3]);
  }
  __syncthreads();   // the later tokens' are there
  if (warp < ABREAST) {
#pragma unroll
    for (int i = 0; i < PIECES; i++) {
      const float4 v = sums[i * 32 + lane];
      sums[i * 32 + lane] = make_float4(acc[i][0] + v.x, acc[i][1] + v.y, acc[i][2] + v.z, acc[i][3] + v.w);
    }
  }
  __syncthreads();   // and those of all
#pragma unroll 1
  for (int e = threadIdx.x; e < 16 * R * 32 * ABREAST; e += 256) {
    const int row = e / (32 * ABREAST), column = e % (32 * ABREAST);
    if (row >= few || first + column >= many) continue;
    const float v = combined<4>(raw + column / 32 * PIECES * 512, row, column % 32);
    const long long at = (long long)row * many + first + column;
    if (gridDim.y == 1) sink1(ydt, y, at, v, alpha, add);
    else parts[(long long)blockIdx.y * few * many + at] = v;
  }
}

// 64 rows of y and 256 columns a turn, 8 by 8 a thread.
__device__ __forceinline__ void update(bf16* y, int add, const bf16* c, const float* s, int rows, int few, int many, float alpha) {
  DYN_SHARED(raw);
  float* ss = reinterpret_cast<float*>(raw);   // [few][2][128]: columns 0 … 3 of every 8, then 4 … 7, so that lanes read neighbours
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, column = blockIdx.x * 256 + lane * 8;
  float* sc = ss + few * 256;   // [64][few]
  for (int i = threadIdx.x; i < few * 64; i += 256) {
    const int k = i / 64, four = i % 64, at = blockIdx.x * 256 + four * 4;
    reinterpret_cast<float4*>(ss)[k * 64 + four % 2 * 32 + four / 2] =
        at < many ? *reinterpret_cast<const float4*>(s + (long long)k * many + at) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  }
#pragma unroll 1
  for (int r0 = blockIdx.y * 64; r0 < rows; r0 += gridDim.y * 64) {
    const int row0 = r0 + warp * 8;
    Pack8 old[8] = {};
    bf16* mine = y + (long long)row0 * many + column;
    if (add && column < many) {
#pragma unroll
      for (int r = 0; r < 8; r++)
        if (row0 + r < rows) old[r] = *reinterpret_cast<const Pack8*>(mine + (long long)r * many);
    }
    __syncthreads();   // nobody reads the rows of C of the last turn any more
    for (int i = threadIdx.x; i < 64 * few; i += 256) sc[i] = i / few < rows - r0 ? get(c, (long long)r0 * few + i) : 0.0f;
    __syncthreads();
    float acc[8][8] = {};
#pragma unroll 1
    for (int k = 0; k < few; k++) {
      const float4 low = reinterpret_cast<const float4*>(ss)[k * 64 + lane], high = reinterpret_cast<const float4*>(ss)[k * 64 + 32 + lane];
#pragma unroll
      for (int r = 0; r < 8; r++) {
        const float v = sc[(warp * 8 + r) * few + k];
        acc[r][0] = fmaf(v, low.x, acc[r][0]), acc[r][1] = fmaf(v, low.y, acc[r][1]);
        acc[r][2] = fmaf(v, low.z, acc[r][2]), acc[r][3] = fmaf(v, low.w, acc[r][3]);
        acc[r][4] = fmaf(v, high.x, acc[r][4]), acc[r][5] = fmaf(v, high.y, acc[r][5]);
        acc[r][6] = fmaf(v, high.z, acc[r][6]), acc[r][7] = fmaf(v, high.w, acc[r][7]);
      }
    }
    if (column < many) {
#pragma unroll
      for (int r = 0; r < 8; r++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const float2 was = __bfloat1622float2(old[r].h[i]);
          const float v0 = acc[r][2 * i], v1 = acc[r][2 * i + 1];
          old[r].h[i] = add ? __floats2bfloat162_rn(fmaf(alpha, v0, was.x), fmaf(alpha, v1, was.y)) : __floats2bfloat162_rn(alpha * v0, alpha * v1);
        }
        if (row0 + r < rows) *reinterpret_cast<Pack8*>(mine + (long long)r * many) = old[r];
      }
    }
  }
}

#define STREAM_PARAMETERS \
  void *y, int ydt, int add, const bf16 *s, const void *c, int many, int few, int K, long long ys, long long yc, float alpha
#define STREAM(C, P, J, AHEAD, BOTH) stream<C, P, J, AHEAD, BOTH>(y, ydt, add, s, static_cast<const C*>(c), many, few, K, ys, yc, alpha)
#define OUTER_PARAMETERS void *y, int ydt, int add, float *parts, const bf16 *c, const bf16 *s, int few, int many, int T, float alpha
#define OUTER(R) outer<R>(y, ydt, add, parts, c, s, few, many, T, alpha)
#define UPDATE_PARAMETERS bf16 *y, int add, const bf16 *c, const float *s, int rows, int few, int many, float alpha

extern "C" __global__ void __launch_bounds__(256, 2)
llm_matmul_stream_bf16_8(STREAM_PARAMETERS) { STREAM(bf16, 2, 1, 1, false); }
extern "C" __global__ void __launch_bounds__(256, 2)
llm_matmul_stream_bf16_16(STREAM_PARAMETERS) { STREAM(bf16, 2, 2, 1, false); }
extern "C" __global__ void __launch_bounds__(256, 2)
llm_matmul_stream_bf16_32(STREAM_PARAMETERS) { STREAM(bf16, 2, 4, 2, true); }
extern "C" __global__ void __launch_bounds__(256, 1)
llm_matmul_stream_bf16_64(STREAM_PARAMETERS) { STREAM(bf16, 2, 8, 1, true); }
extern "C" __global__ void __launch_bounds__(256, 2)
llm_matmul_stream_f32_8(STREAM_PARAMETERS) { STREAM(float, 2, 1, 1, false); }
extern "C" __global__ void __launch_bounds__(256, 2)
llm_matmul_stream_f32_16(STREAM_PARAMETERS) { STREAM(float, 2, 2, 1, false); }
extern "C" __global__ void __launch_bounds__(256, 2)
llm_matmul_stream_f32_32(STREAM_PARAMETERS) { STREAM(float, 2, 4, 1, false); }
extern "C" __global__ void __launch_bounds__(256, 1)
llm_matmul_stream_f32_64(STREAM_PARAMETERS) { STREAM(float, 2, 8, 1, false); }
extern "C" __global__ void __launch_bounds__(256, 2)
llm_matmul_stream_bf16_8_narrow(STREAM_PARAMETERS) { STREAM(bf16, 1, 1, 1, true); }
extern "C" __global__ void __launch_bounds__(256, 2)
llm_matmul_stream_bf16_16_narrow(STREAM_PARAMETERS) { STREAM(bf16, 1, 2, 1, true); }
extern "C" __global__ void __launch_bounds__(256, 2)
llm_matmul_stream_bf16_32_narrow(STREAM_PARAMETERS) { STREAM(bf16, 1, 4, 1, true); }
extern "C" __global__ void __launch_bounds__(256, 2)
llm_matmul_stream_bf16_64_narrow(STREAM_PARAMETERS) { STREAM(bf16, 1, 8, 1, true); }
extern "C" __global__ void __launch_bounds__(256, 2)
llm_matmul_outer_16(OUTER_PARAMETERS) { OUTER(1); }
extern "C" __global__ void __launch_bounds__(256, 2)
llm_matmul_outer_32(OUTER_PARAMETERS) { OUTER(2); }
extern "C" __global__ void __launch_bounds__(256, 2)
llm_matmul_outer_64(OUTER_PARAMETERS) { OUTER(4); }
extern "C" __global__ void __launch_bounds__(256)
llm_matmul_outer_sum(void* y, int ydt, int add, const float* parts, long long n, int count, float alpha) {
  FOR_EACH(i, n) {
    float v = 0.0f;
    for (int p = 0; p < count; p++) v += parts[p * n + i];
    sink1(ydt, y, i, v, alpha, add);
  }
}
extern "C" __global__ void __launch_bounds__(256, 2)
llm_matmul_update_bf16(UPDATE_PARAMETERS) { update(y, add, c, s, rows, few, many, alpha); }

EXPORT_KERNEL(llm_matmul_stream_bf16_8)
EXPORT_KERNEL(llm_matmul_stream_bf16_16)
EXPORT_KERNEL(llm_matmul_stream_bf16_32)
EXPORT_KERNEL(llm_matmul_stream_bf16_64)
EXPORT_KERNEL(llm_matmul_stream_f32_8)
EXPORT_KERNEL(llm_matmul_stream_f32_16)
EXPORT_KERNEL(llm_matmul_stream_f32_32)
EXPORT_KERNEL(llm_matmul_stream_f32_64)
EXPORT_KERNEL(llm_matmul_stream_bf16_8_narrow)
EXPORT_KERNEL(llm_matmul_stream_bf16_16_narrow)
EXPORT_KERNEL(llm_matmul_stream_bf16_32_narrow)
EXPORT_KERNEL(llm_matmul_stream_bf16_64_narrow)
EXPORT_KERNEL(llm_matmul_outer_16)
EXPORT_KERNEL(llm_matmul_outer_32)
EXPORT_KERNEL(llm_matmul_outer_64)
EXPORT_KERNEL(llm_matmul_outer_sum)
EXPORT_KERNEL(llm_matmul_update_bf16)
