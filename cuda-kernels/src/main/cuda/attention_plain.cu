// Attention for every dtype and head width in plain f32 (org.llmcore.op.Attention): forward, backward, decode from pages, store. What the
// tensor-core kernels are compared with, and the path of dtypes and widths those do not take.
//
// | kernel                    | geometry                                            | FLOPs per visible pair and head |
// |---------------------------|-----------------------------------------------------|---------------------------------|
// | llm_attention_forward      | a block of 128 threads per (query, head)            | 4·D                             |
// | llm_attention_backward_q   | a block of 128 threads per (query, head)            | 6·D                             |
// | llm_attention_backward_kv  | a block of 128 threads per (key, key/value head)    | 10·D, over the queries that see it |
// | llm_attention_decode       | a block of 128 threads per (query, head)            | 4·D                             |
// | llm_attention_store        | strides over elements of x                          | 0                               |
//
// Keys (or queries) pass in tiles of 128: a thread computes the score of one, then the block accumulates, thread d keeping dimensions d,
// d+128, … in shared memory. Online softmax (Milakov & Gimelshein 2018, arXiv:1805.02867). Every block reads all its keys: K and V move once
// per query through L2. Each gradient is summed by one thread in ascending order of tiles and rows: no atomics.
// Dynamic shared memory: forward, decode 4·(2D+128) bytes; backward_q 4·(3D+128); backward_kv 4·(4D+256).
#include "common.cuh"

static constexpr int KEYS = 128;   // rows of a tile, and threads of a block

// The sequence of row t: the largest s with starts[s] <= t.
__device__ __forceinline__ int sequence(const int* starts, int sequences, int t) {
  int low = 0, high = sequences - 1;
  while (low < high) {
    const int mid = (low + high + 1) / 2;
    if (starts[mid] <= t) low = mid; else high = mid - 1;
  }
  return low;
}

__device__ __forceinline__ float dot_row(const float* q, int dtype, const void* k, long long at, int width) {
  float s = 0.0f;
  for (int d = 0; d < width; d++) s = fmaf(q[d], load(dtype, k, at + d), s);
  return s;
}

// Row u of keys laid end to end, and row u of keys in pages.
struct Flat {
  long long first; int groups, g, width;
  __device__ long long at(int u) const { return ((first + u) * groups + g) * width; }
};
struct Paged {
  const int* blocks; int page, groups, g, width;
  __device__ long long at(int u) const { return (((long long)blocks[u / page] * page + u % page) * groups + g) * width; }
};

// o = softmax(scale · q·K) V over `count` keys whose rows begin at row.at(u); the log of the sum of exponentials to every thread.
template <class Row>
__device__ __forceinline__ float attend(float* shared, void* o, int odt, const void* q, int qdt, const void* k, int kdt, const void* v, int vdt, long long at, int count, int width,
                                        float scale, Row row) {
  __shared__ float scratch[32];
  float *qs = shared, *os = qs + width, *ps = os + width;
  for (int d = threadIdx.x; d < width; d += KEYS) qs[d] = load(qdt, q, at + d), os[d] = 0.0f;
  float top = -INFINITY, sum = 0.0f;
  __syncthreads();
  for (int u0 = 0; u0 < count; u0 += KEYS) {
    const int u = u0 + threadIdx.x, n = min(KEYS, count - u0);
    const float s = u < count ? scale * dot_row(qs, kdt, k, row.at(u), width) : -INFINITY;
    const float higher = fmaxf(top, block_max(s, scratch)), fade = expf(top - higher);   // exp(-inf) = 0 in the first tile
    const float p = u < count ? expf(s - higher) : 0.0f;
    ps[threadIdx.x] = p;
    sum = sum * fade + block_sum(p, scratch);
    top = higher;
    for (int d = threadIdx.x; d < width; d += KEYS) {
      float acc = os[d] * fade;
      for (int i = 0; i < n; i++) acc = fmaf(ps[i], load(vdt, v, row.at(u0 + i) + d), acc);
      os[d] = acc;
    }
    __syncthreads();
  }
  for (int d = threadIdx.x; d < width; d += KEYS) store(odt, o, at + d, os[d] / sum);
  return top + logf(sum);
}

extern "C" __global__ void __launch_bounds__(128)
llm_attention_forward(void* o, int odt, float* lse, const void* q, int qdt, const void* k, int kdt, const void* v, int vdt, const int* starts, int sequences,
                      int heads, int groups, int width, float scale, int causal) {
  const int t = blockIdx.x, h = blockIdx.y, s = sequence(starts, sequences, t), first = starts[s];
  const int count = (causal ? t + 1 : starts[s + 1]) - first;
  DYN_SHARED(raw);
  const float l = attend(reinterpret_cast<float*>(raw), o, odt, q, qdt, k, kdt, v, vdt, ((long long)t * heads + h) * width, count, width, scale,
                         Flat{first, groups, h / (heads / groups), width});
  if (threadIdx.x == 0) lse[(long long)t * heads + h] = l;
}

// Sequence s brings rows [starts[s], starts[s+1]); the last of them sees lengths[s] keys, the one before one fewer.
extern "C" __global__ void __launch_bounds__(128)
llm_attention_decode(void* o, int odt, const void* q, int qdt, const void* k, int kdt, const void* v, int vdt, const int* blocks, const int* starts,
                     const int* lengths, int sequences, int perSequence, int page, int heads, int groups, int width, float scale) {
  const int r = blockIdx.x, h = blockIdx.y, s = sequence(starts, sequences, r);
  const int count = lengths[s] - (starts[s + 1] - 1 - r);
  DYN_SHARED(raw);
  attend(reinterpret_cast<float*>(raw), o, odt, q, qdt, k, kdt, v, vdt, ((long long)r * heads + h) * width, count, width, scale,
         Paged{blocks + (long long)s * perSequence, page, groups, h / (heads / groups), width});
}

extern "C" __global__ void __launch_bounds__(256)
llm_attention_store(void* pages, int pdt, const void* x, int xdt, const int* slots, long long n, int row) {
  FOR_EACH(i, n) store(pdt, pages, (long long)slots[i / row] * row + i % row, load(xdt, x, i));
}

// dq[t] = scale · Σ_u ds[u] k[u],  ds = p · (do·v[u] - do·o)
extern "C" __global__ void __launch_bounds__(128)
llm_attention_backward_q(void* dq, int dqdt, int add, const void* dout, int dodt, const void* o, int odt, const float* lse, const void* q, int qdt,
                         const void* k, int kdt, const void* v, int vdt, const int* starts, int sequences, int heads, int groups, int width, float scale,
                         int causal) {
  DYN_SHARED(raw);
  __shared__ float scratch[32];
  float *qs = reinterpret_cast<float*>(raw), *gs = qs + width, *acc = gs + width, *ds = acc + width;
  const int t = blockIdx.x, h = blockIdx.y, s = sequence(starts, sequences, t), first = starts[s];
  const int count = (causal ? t + 1 : starts[s + 1]) - first;
  const long long at = ((long long)t * heads + h) * width;
  const Flat row{first, groups, h / (heads / groups), width};
  float own = 0.0f;
  for (int d = threadIdx.x; d < width; d += KEYS) {
    qs[d] = load(qdt, q, at + d), gs[d] = load(dodt, dout, at + d), acc[d] = 0.0f;
    own += gs[d] * load(odt, o, at + d);
  }
  const float delta = block_sum(own, scratch), l = lse[(long long)t * heads + h];
  for (int u0 = 0; u0 < count; u0 += KEYS) {
    const int u = u0 + threadIdx.x, n = min(KEYS, count - u0);
    if (u < count) {
      const float p = expf(scale * dot_row(qs, kdt, k, row.at(u), width) - l);
      ds[threadIdx.x] = p * (dot_row(gs, vdt, v, row.at(u), width) - delta);
    }
    __syncthreads();
    for (int d = threadIdx.x; d < width; d += KEYS) {
      float sum = acc[d];
      for (int i = 0; i < n; i++) sum = fmaf(ds[i], load(kdt, k, row.at(u0 + i) + d), sum);
      acc[d] = sum;
    }
    __syncthreads();
  }
  for (int d = threadIdx.x; d < width; d += KEYS) sink(dqdt, dq, add, at + d, scale * acc[d]);
}

// dv[u] = Σ p do[t],  dk[u] = scale · Σ ds q[t] over the heads of the group and the queries that see key u. A null gradient is wanted by nobody.
extern "C" __global__ void __launch_bounds__(128)
llm_attention_backward_kv(void* dk, int dkdt, int dkadd, void* dv, int dvdt, int dvadd, const void* dout, int dodt, const void* o, int odt, const float* lse,
                          const void* q, int qdt, const void* k, int kdt, const void* v, int vdt, const int* starts, int sequences, int heads, int groups,
                          int width, float scale, int causal) {
  DYN_SHARED(raw);
  float *ks = reinterpret_cast<float*>(raw), *vs = ks + width, *dks = vs + width, *dvs = dks + width, *ps = dvs + width, *ds = ps + KEYS;
  const int u = blockIdx.x, g = blockIdx.y, s = sequence(starts, sequences, u), share = heads / groups;
  const int first = causal ? u : starts[s], last = starts[s + 1];
  const long long at = ((long long)u * groups + g) * width;
  for (int d = threadIdx.x; d < width; d += KEYS) ks[d] = load(kdt, k, at + d), vs[d] = load(vdt, v, at + d), dks[d] = 0.0f, dvs[d] = 0.0f;
  __syncthreads();
  for (int h = g * share; h < (g + 1) * share; h++)
    for (int t0 = first; t0 < last; t0 += KEYS) {
      const int t = t0 + threadIdx.x, n = min(KEYS, last - t0);
      if (t < last) {
        const long long row = ((long long)t * heads + h) * width;
        float delta = 0.0f;
        for (int d = 0; d < width; d++) delta = fmaf(load(dodt, dout, row + d), load(odt, o, row + d), delta);
        const float p = expf(scale * dot_row(ks, qdt, q, row, width) - lse[(long long)t * heads + h]);
        ps[threadIdx.x] = p;
        ds[threadIdx.x] = p * (dot_row(vs, dodt, dout, row, width) - delta);
      }
      __syncthreads();
      for (int d = threadIdx.x; d < width; d += KEYS) {
        float a = dks[d], b = dvs[d];
        for (int i = 0; i < n; i++) {
          const long long row = ((long long)(t0 + i) * heads + h) * width + d;
          a = fmaf(ds[i], load(qdt, q, row), a);
          b = fmaf(ps[i], load(dodt, dout, row), b);
        }
        dks[d] = a, dvs[d] = b;
      }
      __syncthreads();
    }
  for (int d = threadIdx.x; d < width; d += KEYS) {
    if (dk) sink(dkdt, dk, dkadd, at + d, scale * dks[d]);
    if (dv) sink(dvdt, dv, dvadd, at + d, dvs[d]);
  }
}

EXPORT_KERNEL(llm_attention_forward)
EXPORT_KERNEL(llm_attention_decode)
EXPORT_KERNEL(llm_attention_store)
EXPORT_KERNEL(llm_attention_backward_q)
EXPORT_KERNEL(llm_attention_backward_kv)
