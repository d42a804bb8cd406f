// Rows of a table for every dtype (org.llmcore.op.Embedding), bound by memory: 16 bytes an access.
//
// | kernel                 | geometry                                          | bytes moved                                    | FLOPs/element |
// |------------------------|---------------------------------------------------|------------------------------------------------|---------------|
// | llm_embedding_forward  | strides over 8 elements of y                      | a row and y per token                          | 0             |
// | llm_embedding_backward | a block of 256 threads per token, 2048 columns    | dy once, touched rows of dtable once; ids, 4·T | 1             |
// |                        |                                                   | bytes a block, from L2                         |               |
//
// Backward: the block of a token's first appearance adds all its appearances in ascending order to what is there, in registers, so that
// every sum is the chain of rule 2 of org.llmcore.op.Kernel; the other blocks leave at once. No atomics, nothing to sort.
#include "common.cuh"

// A row of NaN for an id outside the table: the loss shows it, where a host device would have refused it.
extern "C" __global__ void __launch_bounds__(256)
llm_embedding_forward(void* y, int ydt, const int* ids, const void* table, int tdt, long long tokens, int columns, int rows) {
  const bool fast = wide(columns, (char*)y, (const char*)table);
  const int each = (columns + 7) / 8;
  FOR_EACH(i, tokens * each) {
    const long long t = i / each;
    const int id = ids[t], c = (int)(i % each) * 8;
    float f[8];
    if (id >= 0 && id < rows) load8(tdt, f, table, (long long)id * columns + c, columns - c, fast);
    else
#pragma unroll
      for (int j = 0; j < 8; j++) f[j] = NAN;
    store8(ydt, y, t * columns + c, columns - c, fast, f);
  }
}

static constexpr int THREADS = 256, AHEAD = 4;   // rows in flight

extern "C" __global__ void __launch_bounds__(256)
llm_embedding_backward(void* dtable, int tdt, const void* dy, int dydt, const int* ids, int tokens, int columns, int rows) {
  __shared__ int where[THREADS];
  __shared__ unsigned votes[THREADS / 32];
  const int t = blockIdx.x, id = ids[t], lane = threadIdx.x & 31, warp = threadIdx.x >> 5, c = (blockIdx.y * THREADS + threadIdx.x) * 8;
  if (id < 0 || id >= rows) return;
  for (int u0 = 0; u0 < t; u0 += THREADS) {
    const int u = u0 + threadIdx.x;
    if (__syncthreads_or(u < t && ids[u] == id)) return;
  }
  const bool fast = wide(columns, (char*)dtable, (const char*)dy);
  float s[8];
  if (c < columns) load8(tdt, s, dtable, (long long)id * columns + c, columns - c, fast);
  for (int u0 = t; u0 < tokens; u0 += THREADS) {
    const int u = u0 + threadIdx.x;
    const bool same = u < tokens && ids[u] == id;
    const unsigned vote = __ballot_sync(0xffffffffu, same);
    if (lane == 0) votes[warp] = vote;
    __syncthreads();
    int before = 0, count = 0;
#pragma unroll
    for (int w = 0; w < THREADS / 32; w++) {
      if (w == warp) before = count;
      count += __popc(votes[w]);
    }
    if (same) where[before + __popc(vote & ((1u << lane) - 1))] = u;
    __syncthreads();   // the appearances among these tokens, ascending; read before the next barrier, which the next writes follow
    if (c < columns)
      for (int i = 0; i < count; i += AHEAD) {
        float f[AHEAD][8];
#pragma unroll
        for (int a = 0; a < AHEAD; a++) if (i + a < count) load8(dydt, f[a], dy, (long long)where[i + a] * columns + c, columns - c, fast);
#pragma unroll
        for (int a = 0; a < AHEAD; a++)
          if (i + a < count)
#pragma unroll
            for (int j = 0; j < 8; j++) s[j] += f[a][j];
      }
  }
  if (c < columns) store8(tdt, dtable, (long long)id * columns + c, columns - c, fast, s);
}

EXPORT_KERNEL(llm_embedding_forward)
EXPORT_KERNEL(llm_embedding_backward)
