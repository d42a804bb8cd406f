/// The CUDA device: NVIDIA GPUs of compute capability 8.0 or newer, through the driver alone. Read `CudaDispatch` first, the
/// table of
/// all launches; the kernels are in `src/main/cuda`, one file per operator. `Driver` is the only class that calls native code.
package org.llmcore.cuda;
