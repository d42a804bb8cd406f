#pragma once
#include "hostcuda.h"
namespace hc { extern uint32_t epochBlock, epochFirst; }
HC_API void* hc_alloc(size_t n);
HC_API int hc_free(void* p);
HC_API int hc_host_access(const void* p, size_t n, int write);
HC_API void hc_config(uint64_t seed, int check, int poison, int cpMode, int strict);
HC_API int hc_errors(char* out, size_t cap);
HC_API unsigned long long hc_switches();
HC_API double hc_ldmatrix_conflicts();
HC_API int hc_launch(const char* name, void (*entry)(void**), dim3 grid, dim3 block, size_t dynBytes, void** params);
