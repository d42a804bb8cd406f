// hostdriver.cpp - the part of the CUDA driver API that we call, over hostcuda.cpp. Built as libcuda.so.1 it lets the
// whole Java side (JCuda or Panama) run on a machine without a GPU. A module image is a shared object made from the
// .cu files by g++ (its bytes, or "HCSO:" and a path). Launch errors are sticky and show at the next synchronisation,
// as on a GPU.
#include "cuda_shape.h"
#include <dirent.h>
#include <dlfcn.h>
#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <deque>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "hostcuda_rt.h"

namespace {
int sticky = 0, dry = 0;
struct Fn { void (*entry)(void**); const size_t* sizes; std::string name; int maxDyn = 48 << 10; };
struct Module { void* dl; std::vector<Fn*> fns; std::vector<void*> all; };
// What a test pretends about the machine, by hc_pretend or by HC_VERSION and so on: 0 CUDA version, 1 devices, 2 compute capability,
// 3 result of cuInit, 4 MiB of device memory, 5 result of taking the context.
const char* const names[] = {"HC_VERSION", "HC_DEVICES", "HC_CAPABILITY", "HC_INIT", "HC_MEMORY", "HC_CONTEXT"};
long pretended[] = {13000, 1, 80, 0, 4096, 0};
long machine(int what) { const char* e = getenv(names[what]); return e ? atol(e) : pretended[what]; }
struct Event { std::chrono::steady_clock::time_point t; bool pending = false; };
using Node = std::function<int()>;
struct Graph { std::vector<Node> nodes; };
Graph* capture = nullptr;
void* current = nullptr;
int ctxObj, streamObj;
// Work in a stream runs when somebody waits for it, not when it is given: what the host changes too early shows as a wrong result.
std::deque<Node> stream;
int run_until(size_t left) {
  while (stream.size() > left) {
    Node n = std::move(stream.front());
    stream.pop_front();
    if (!sticky) if (int rc = n()) sticky = rc;
  }
  return sticky;
}
int drain() { return run_until(0); }
int now_or_later(Node n) { if (capture) { capture->nodes.push_back(n); return 0; } drain(); if (sticky) return sticky; return n(); }   // blocking calls
int enqueue(Node n) {
  if (capture) { capture->nodes.push_back(n); return 0; }
  if (sticky) return sticky;
  stream.push_back(n);
  return stream.size() > 4096 ? run_until(2048) : 0;   // a queue is not endless
}
void fail(int rc) {
  static char msg[1 << 16];
  hc_errors(msg, sizeof msg);
  if (!getenv("HC_QUIET")) fprintf(stderr, "hostcuda: %s", msg);
  sticky = rc;
}
}  // namespace
#define API HC_API int

API cuInit(unsigned) { dry = getenv("HC_DRY") != nullptr; return (int)machine(3); }
API cuDriverGetVersion(int* v) { *v = (int)machine(0); return 0; }
API cuDeviceGetCount(int* n) { *n = (int)machine(1); return 0; }
API cuDeviceGet(int* d, int i) { *d = i; return i ? 101 : 0; }
API cuDeviceGetName(char* s, int n, int) { snprintf(s, n, "CPU (hostcuda)"); return 0; }
API cuDeviceTotalMem_v2(size_t* n, int) { *n = (size_t)machine(4) << 20; return 0; }
API cuMemGetInfo_v2(size_t* f, size_t* t) { *f = *t = (size_t)machine(4) << 20; return 0; }
API cuDeviceGetAttribute(int* v, int a, int) {
  switch (a) {
    case 75: *v = (int)machine(2) / 10; break; case 76: *v = (int)machine(2) % 10; break;
    case 16: *v = 2; break; case 10: *v = 32; break;            // multiprocessors, warp size
    case 97: *v = 227 << 10; break; case 8: *v = 48 << 10; break;
    case 1: *v = 1024; break; case 38: *v = 50 << 20; break;
    default: *v = 0;
  }
  return 0;
}
API cuDevicePrimaryCtxRetain(void** c, int) { *c = &ctxObj; return (int)machine(5); }
API cuDevicePrimaryCtxRelease_v2(int) { return 0; }
API cuCtxCreate_v2(void** c, unsigned, int) { *c = current = &ctxObj; return 0; }
API cuCtxDestroy_v2(void*) { return 0; }
API cuCtxSetCurrent(void* c) { current = c; return 0; }
API cuCtxGetCurrent(void** c) { *c = current; return 0; }
API cuCtxSynchronize() { return drain(); }
API cuGetErrorName(int e, const char** s) { *s = e == 0 ? "CUDA_SUCCESS" : e == 700 ? "CUDA_ERROR_ILLEGAL_ADDRESS" : e == 719 ? "CUDA_ERROR_LAUNCH_FAILED" : e == 500 ? "CUDA_ERROR_NOT_FOUND" : e == 1 ? "CUDA_ERROR_INVALID_VALUE" : e == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_UNKNOWN"; return 0; }
API cuGetErrorString(int e, const char** s) { return cuGetErrorName(e, s); }

API cuModuleLoadData(void** m, const void* image) {
  const char* p = (const char*)image;
  void* dl = nullptr;
  if (!memcmp(p, "HCSO:", 5)) dl = dlopen(p + 5, RTLD_NOW | RTLD_LOCAL);
  else if (!memcmp(p, ELFMAG, 4)) {
    auto* h = (const Elf64_Ehdr*)p;
    size_t size = h->e_shoff + (size_t)h->e_shnum * h->e_shentsize;   // section headers end a linked object
    int fd = memfd_create("kernels", MFD_CLOEXEC);
    if (fd < 0 || write(fd, p, size) != (ssize_t)size) return 2;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    dl = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  } else if (const char* folder = getenv("HC_KERNELS")) {              // a fatbin or PTX: its kernels are those of the same names in a folder
    auto* mod = new Module{nullptr, {}, {}};
    if (DIR* d = opendir(folder)) {
      while (dirent* e = readdir(d)) {
        const char* dot = strrchr(e->d_name, '.');
        if (dot && !strcmp(dot, ".so")) if (void* so = dlopen((std::string(folder) + "/" + e->d_name).c_str(), RTLD_NOW | RTLD_LOCAL)) mod->all.push_back(so);
      }
      closedir(d);
    }
    *m = mod;
    return mod->all.empty() ? 200 : 0;
  } else return 200;                                                   // CUDA_ERROR_INVALID_IMAGE
  if (!dl) { fprintf(stderr, "hostcuda: %s\n", dlerror()); return 200; }
  *m = new Module{dl, {}, {}};
  return 0;
}
API cuModuleLoadDataEx(void** m, const void* image, unsigned, int*, void**) { return cuModuleLoadData(m, image); }
API cuModuleLoadFatBinary(void** m, const void* image) { return cuModuleLoadData(m, image); }
API cuModuleUnload(void* m) { drain(); if (((Module*)m)->dl) dlclose(((Module*)m)->dl); return 0; }
API cuModuleGetFunction(void** f, void* m, const char* name) {
  auto* mod = (Module*)m;
  void* dl = mod->dl;
  for (void* so : mod->all) if (dlsym(so, (std::string("hc_kernel_") + name).c_str())) dl = so;
  void* e = dl ? dlsym(dl, (std::string("hc_kernel_") + name).c_str()) : nullptr;
  void* s = dl ? dlsym(dl, (std::string("hc_sizes_") + name).c_str()) : nullptr;
  if (!e) return 500;                                                  // CUDA_ERROR_NOT_FOUND
  mod->fns.push_back(new Fn{(void (*)(void**))e, (const size_t*)s, name});
  *f = mod->fns.back();
  return 0;
}
API cuFuncSetAttribute(void* f, int a, int v) { if (a == 8) { if (v > 227 << 10) return 1; ((Fn*)f)->maxDyn = v; } return 0; }
API cuFuncGetAttribute(int* v, int a, void* f) { *v = a == 0 ? 1024 : a == 8 ? ((Fn*)f)->maxDyn : 0; return 0; }
API cuOccupancyMaxActiveBlocksPerMultiprocessor(int* n, void*, int, size_t) { *n = 1; return 0; }

static int launch(Fn* f, dim3 g, dim3 b, unsigned smem, void** params) {
  if ((int)smem > f->maxDyn) return 1;                                 // the opt-in above 48 KiB was forgotten
  struct alignas(64) Line { char b[64]; };                             // arguments are copied at the call; a tensor map is aligned to 64
  std::vector<std::vector<Line>> keep;
  if (f->sizes) for (int i = 0; f->sizes[i]; i++) memcpy(keep.emplace_back((f->sizes[i] + 63) / 64).data(), params[i], f->sizes[i]);
  return enqueue([=]() mutable {
    if (dry) return 0;
    std::vector<void*> p;
    for (auto& k : keep) p.push_back(k.data());
    if (int rc = hc_launch(f->name.c_str(), f->entry, g, b, smem, p.data())) { if (rc == 1) return 1; fail(rc); }
    return 0;
  });
}
API cuLaunchKernel(void* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned smem, void*, void** params, void**) {
  return launch((Fn*)f, dim3(gx, gy, gz), dim3(bx, by, bz), smem, params);
}
API cuLaunchKernelEx(const LaunchConfig* c, void* f, void** params, void**) {
  return launch((Fn*)f, dim3(c->g[0], c->g[1], c->g[2]), dim3(c->b[0], c->b[1], c->b[2]), c->smem, params);
}

API cuMemAlloc_v2(void** p, size_t n) { if (!n) return 1; if (n > (size_t)machine(4) << 20) return 2; *p = hc_alloc(n); return *p ? 0 : 2; }
API cuMemAllocAsync(void** p, size_t n, void*) { return cuMemAlloc_v2(p, n); }
API cuMemFree_v2(void* p) { drain(); return hc_free(p); }
API cuMemFreeAsync(void* p, void*) { return hc_free(p); }
API cuMemAllocHost_v2(void** p, size_t n) { *p = aligned_alloc(4096, (n + 4095) / 4096 * 4096); return 0; }
API cuMemHostAlloc(void** p, size_t n, unsigned) { return cuMemAllocHost_v2(p, n); }
API cuMemFreeHost(void* p) { drain(); free(p); return 0; }
API cuMemHostRegister_v2(void*, size_t, unsigned) { return 0; }
API cuMemHostUnregister(void*) { return 0; }
static Node up(void* d, const void* s, size_t n) { return [=] { if (hc_host_access(d, n, 1)) return 1; memcpy(d, s, n); return 0; }; }
static Node down(void* d, const void* s, size_t n) { return [=] { if (hc_host_access(s, n, 0)) return 1; memcpy(d, s, n); return 0; }; }
static Node across(void* d, const void* s, size_t n) { return [=] { if (hc_host_access(s, n, 0) || hc_host_access(d, n, 1)) return 1; memmove(d, s, n); return 0; }; }
API cuMemcpyHtoD_v2(void* d, const void* s, size_t n) { return now_or_later(up(d, s, n)); }
API cuMemcpyDtoH_v2(void* d, const void* s, size_t n) { return now_or_later(down(d, s, n)); }
API cuMemcpyDtoD_v2(void* d, const void* s, size_t n) { return now_or_later(across(d, s, n)); }
API cuMemcpyHtoDAsync_v2(void* d, const void* s, size_t n, void*) { return enqueue(up(d, s, n)); }
API cuMemcpyDtoHAsync_v2(void* d, const void* s, size_t n, void*) { return enqueue(down(d, s, n)); }
API cuMemcpyDtoDAsync_v2(void* d, const void* s, size_t n, void*) { return enqueue(across(d, s, n)); }
template <class T> static int fill(void* d, T v, size_t n) { return enqueue([=] { if (hc_host_access(d, n * sizeof(T), 1)) return 1; for (size_t i = 0; i < n; i++) ((T*)d)[i] = v; return 0; }); }
API cuMemsetD8_v2(void* d, uint8_t v, size_t n) { return fill(d, v, n); }
API cuMemsetD16_v2(void* d, uint16_t v, size_t n) { return fill(d, v, n); }
API cuMemsetD32_v2(void* d, uint32_t v, size_t n) { return fill(d, v, n); }
API cuMemsetD8Async(void* d, uint8_t v, size_t n, void*) { return fill(d, v, n); }
API cuMemsetD16Async(void* d, uint16_t v, size_t n, void*) { return fill(d, v, n); }
API cuMemsetD32Async(void* d, uint32_t v, size_t n, void*) { return fill(d, v, n); }

API cuStreamCreate(void** s, unsigned) { *s = &streamObj; return 0; }
API cuStreamCreateWithPriority(void** s, unsigned, int) { *s = &streamObj; return 0; }
API cuStreamDestroy_v2(void*) { return 0; }
API cuStreamSynchronize(void*) { return capture ? 900 : drain(); }       // CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
API cuStreamQuery(void*) { return sticky; }
API cuStreamWaitEvent(void*, void*, unsigned) { return 0; }
API cuEventCreate(void** e, unsigned) { *e = new Event; return 0; }
API cuEventDestroy_v2(void* e) { drain(); delete (Event*)e; return 0; }
API cuEventRecord(void* e, void*) { ((Event*)e)->pending = true; return enqueue([=] { ((Event*)e)->t = std::chrono::steady_clock::now(); ((Event*)e)->pending = false; return 0; }); }
API cuEventSynchronize(void* e) { while (((Event*)e)->pending && !stream.empty()) run_until(stream.size() - 1); return capture ? 900 : sticky; }
API cuEventQuery(void* e) { return sticky ? sticky : ((Event*)e)->pending ? 600 : 0; }
API cuEventElapsedTime(float* ms, void* a, void* b) { *ms = std::chrono::duration<float, std::milli>(((Event*)b)->t - ((Event*)a)->t).count(); return 0; }
API cuEventElapsedTime_v2(float* ms, void* a, void* b) { return cuEventElapsedTime(ms, a, b); }

API cuStreamBeginCapture_v2(void*, int) { if (capture) return 901; capture = new Graph; return 0; }
API cuStreamEndCapture(void*, void** g) { if (!capture) return 901; *g = capture; capture = nullptr; return 0; }
API cuGraphInstantiateWithFlags(void** x, void* g, unsigned long long) { *x = new Graph(*(Graph*)g); return 0; }
API cuGraphLaunch(void* x, void*) { for (auto& n : ((Graph*)x)->nodes) if (int rc = enqueue(n)) return rc; return 0; }
API cuGraphUpload(void*, void*) { return 0; }
API cuGraphExecDestroy(void* x) { delete (Graph*)x; return 0; }
API cuGraphDestroy(void* g) { delete (Graph*)g; return 0; }

// for tests only
HC_API void hc_pretend(int what, long value) { pretended[what] = value; }
HC_API void hc_reset() { stream.clear(); sticky = 0; }
