package org.llmcore.cuda;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Optional;

import org.llmcore.InvalidInput;

/// The CUDA driver API (libcuda), as far as we call it, through Panama. Handles and device addresses are plain `long`; every
/// result
/// other than success is a `CudaException` that names the call. The library belongs to the driver's installation, not to a
/// toolkit.
final class Driver {
  private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT;
  private static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG;
  private static final ValueLayout.OfLong POINTER = ValueLayout.JAVA_LONG; // an address as a number
  private static final int NON_BLOCKING = 1; // CU_STREAM_NON_BLOCKING
  private static final int WITHOUT_TIMING = 2; // CU_EVENT_DISABLE_TIMING
  private static final int CAPTURE_THIS_THREAD = 1; // CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
  private static final int MAX_DYNAMIC_SHARED = 8; // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
  private static final int MULTIPROCESSORS = 16; // CU_DEVICE_ATTRIBUTE_…
  private static final int CAPABILITY_MAJOR = 75;
  private static final int CAPABILITY_MINOR = 76;
  private static final int MAP_BF16 = 9; // CU_TENSOR_MAP_…
  private static final int MAP_SWIZZLE_128 = 3;
  private static final int MAP_PROMOTE_128 = 2;

  private final Linker linker = Linker.nativeLinker();
  private final SymbolLookup library;
  private final MethodHandle launch;
  private final MethodHandle tensorMap;
  private final MethodHandle copyIn;
  private final MethodHandle copyOut;
  private final MethodHandle fill;
  private final MethodHandle streamSynchronize;
  private final MethodHandle contextSetCurrent;
  private final MethodHandle eventRecord;
  private final MethodHandle graphLaunch;

  private Driver(SymbolLookup library) {
    this.library = library;
    launch = handle("cuLaunchKernelEx", POINTER, POINTER, POINTER, POINTER);
    tensorMap = handle("cuTensorMapEncodeTiled", POINTER, INT, INT, POINTER, POINTER, POINTER, POINTER, POINTER, INT, INT, INT,
        INT);
    copyIn = handle("cuMemcpyHtoDAsync_v2", POINTER, POINTER, LONG, POINTER);
    copyOut = handle("cuMemcpyDtoHAsync_v2", POINTER, POINTER, LONG, POINTER);
    fill = handle("cuMemsetD8Async", POINTER, ValueLayout.JAVA_BYTE, LONG, POINTER);
    streamSynchronize = handle("cuStreamSynchronize", POINTER);
    contextSetCurrent = handle("cuCtxSetCurrent", POINTER);
    eventRecord = handle("cuEventRecord", POINTER, POINTER);
    graphLaunch = handle("cuGraphLaunch", POINTER, POINTER);
  }

  /// Opens and initialises the driver's library.
  /// @param file the library, or empty for the one the system finds
  /// @throws InvalidInput if it is missing, or refuses to start
  static Driver open(Optional<Path> file) {
    SymbolLookup found;
    try {
      found = file.isPresent() ? SymbolLookup.libraryLookup(file.get(), Arena.global())
          : SymbolLookup.libraryLookup("libcuda.so.1", Arena.global());
    } catch (IllegalArgumentException _) {
      throw new InvalidInput("there is no NVIDIA driver on this machine (libcuda.so.1 is not found)",
          "install one, or use --device cpu");
    }
    if (found.find("cuLaunchKernelEx").isEmpty()) {
      throw new InvalidInput("the NVIDIA driver is too old: it lacks cuLaunchKernelEx",
          "install driver 525 or newer, or use --device cpu");
    }
    var driver = new Driver(found);
    int result = driver.result("cuInit", new MemoryLayout[] {INT}, 0);
    if (result != 0) {
      throw new InvalidInput("the NVIDIA driver does not start: " + driver.error(result),
          "is a GPU visible (CUDA_VISIBLE_DEVICES, nvidia-smi)? Else use --device cpu");
    }
    return driver;
  }

  private MethodHandle handle(String name, MemoryLayout... arguments) {
    var symbol = library.find(name).orElseThrow(() -> new InvalidInput("the NVIDIA driver lacks " + name,
        "install driver 525 or newer, or use --device cpu"));
    return linker.downcallHandle(symbol, FunctionDescriptor.of(INT, arguments));
  }

  private int result(String name, MemoryLayout[] layouts, Object... arguments) {
    try {
      return (int) handle(name, layouts).invokeWithArguments(arguments);
    } catch (Throwable e) {
      throw failure(name, e);
    }
  }

  private void call(String name, MemoryLayout[] layouts, Object... arguments) {
    check(name, result(name, layouts, arguments));
  }

  private static IllegalStateException failure(String name, Throwable e) {
    return e instanceof IllegalStateException s ? s : new IllegalStateException(name + " could not be called", e);
  }

  private void check(String name, int result) {
    if (result != 0) throw new CudaException(result, name + ": " + error(result));
  }

  /// `CUDA_ERROR_OUT_OF_MEMORY (out of memory)`.
  private String error(int result) {
    try (var arena = Arena.ofConfined()) {
      var out = arena.allocate(ValueLayout.ADDRESS);
      var texts = new String[2];
      var names = new String[] {"cuGetErrorName", "cuGetErrorString"};
      for (int i = 0; i < 2; i++) {
        int known = result(names[i], new MemoryLayout[] {INT, ValueLayout.ADDRESS}, result, out);
        texts[i] = known == 0 ? out.get(ValueLayout.ADDRESS, 0).reinterpret(Long.MAX_VALUE).getString(0) : "error " + result;
      }
      return texts[0] + " (" + texts[1] + ")";
    }
  }

  /// Calls a function whose first argument is where its one result goes.
  private long out(String name, MemoryLayout[] layouts, Object... arguments) {
    try (var arena = Arena.ofConfined()) {
      var out = arena.allocate(LONG);
      var all = new Object[arguments.length + 1];
      var shapes = new MemoryLayout[layouts.length + 1];
      all[0] = out.address();
      shapes[0] = POINTER;
      System.arraycopy(arguments, 0, all, 1, arguments.length);
      System.arraycopy(layouts, 0, shapes, 1, layouts.length);
      call(name, shapes, all);
      return out.get(LONG, 0);
    }
  }

  private static MemoryLayout[] of(MemoryLayout... layouts) {
    return layouts;
  }

  /// 13000 for CUDA 13.0: the newest CUDA this driver runs.
  int version() {
    return (int) out("cuDriverGetVersion", of());
  }

  int devices() {
    return (int) out("cuDeviceGetCount", of());
  }

  int device(int ordinal) {
    return (int) out("cuDeviceGet", of(INT), ordinal);
  }

  String name(int device) {
    try (var arena = Arena.ofConfined()) {
      var text = arena.allocate(256);
      call("cuDeviceGetName", of(POINTER, INT, INT), text.address(), 256, device);
      return text.getString(0, StandardCharsets.UTF_8);
    }
  }

  /// Bytes of device memory.
  long memory(int device) {
    return out("cuDeviceTotalMem_v2", of(INT), device);
  }

  /// 80 for compute capability 8.0.
  int capability(int device) {
    return 10 * attribute(device, CAPABILITY_MAJOR) + attribute(device, CAPABILITY_MINOR);
  }

  int multiprocessors(int device) {
    return attribute(device, MULTIPROCESSORS);
  }

  private int attribute(int device, int which) {
    return (int) out("cuDeviceGetAttribute", of(INT, INT), which, device);
  }

  /// Bytes of device memory free now.
  long free() {
    try (var arena = Arena.ofConfined()) {
      var sizes = arena.allocate(LONG, 2);
      call("cuMemGetInfo_v2", of(POINTER, POINTER), sizes.address(), sizes.address() + 8);
      return sizes.get(LONG, 0);
    }
  }

  /// The context that every library of the process shares.
  long retainContext(int device) {
    return out("cuDevicePrimaryCtxRetain", of(INT), device);
  }

  void releaseContext(int device) {
    call("cuDevicePrimaryCtxRelease_v2", of(INT), device);
  }

  /// Makes the context that of the calling thread.
  void current(long context) {
    try {
      check("cuCtxSetCurrent", (int) contextSetCurrent.invokeExact(context));
    } catch (Throwable e) {
      throw failure("cuCtxSetCurrent", e);
    }
  }

  long stream() {
    return out("cuStreamCreate", of(INT), NON_BLOCKING);
  }

  void destroyStream(long stream) {
    call("cuStreamDestroy_v2", of(POINTER), stream);
  }

  /// Waits for a stream; errors of kernels arrive here.
  void synchronize(long stream) {
    try {
      check("cuStreamSynchronize", (int) streamSynchronize.invokeExact(stream));
    } catch (Throwable e) {
      throw failure("cuStreamSynchronize", e);
    }
  }

  long allocate(long bytes) {
    return out("cuMemAlloc_v2", of(LONG), bytes);
  }

  void release(long address) {
    call("cuMemFree_v2", of(POINTER), address);
  }

  /// Host memory that the device reads and writes by itself.
  MemorySegment pinned(long bytes) {
    return MemorySegment.ofAddress(out("cuMemHostAlloc", of(LONG, INT), bytes, 0)).reinterpret(bytes);
  }

  void releasePinned(MemorySegment segment) {
    call("cuMemFreeHost", of(POINTER), segment.address());
  }

  void clear(long address, long bytes, long stream) {
    try {
      check("cuMemsetD8Async", (int) fill.invokeExact(address, (byte) 0, bytes, stream));
    } catch (Throwable e) {
      throw failure("cuMemsetD8Async", e);
    }
  }

  void copyIn(long device, MemorySegment host, long bytes, long stream) {
    try {
      check("cuMemcpyHtoDAsync", (int) copyIn.invokeExact(device, host.address(), bytes, stream));
    } catch (Throwable e) {
      throw failure("cuMemcpyHtoDAsync", e);
    }
  }

  void copyOut(MemorySegment host, long device, long bytes, long stream) {
    try {
      check("cuMemcpyDtoHAsync", (int) copyOut.invokeExact(host.address(), device, bytes, stream));
    } catch (Throwable e) {
      throw failure("cuMemcpyDtoHAsync", e);
    }
  }

  /// A point in a stream that can be waited for; with `timing`, also measured.
  long event(boolean timing) {
    return out("cuEventCreate", of(INT), timing ? 0 : WITHOUT_TIMING);
  }

  void destroyEvent(long event) {
    call("cuEventDestroy_v2", of(POINTER), event);
  }

  /// Puts the event behind everything in the stream.
  void record(long event, long stream) {
    try {
      check("cuEventRecord", (int) eventRecord.invokeExact(event, stream));
    } catch (Throwable e) {
      throw failure("cuEventRecord", e);
    }
  }

  /// Waits until the stream has come to the event, at once if it was never recorded.
  void await(long event) {
    call("cuEventSynchronize", of(POINTER), event);
  }

  /// Milliseconds of the GPU between two events it has come to.
  float milliseconds(long from, long to) {
    try (var arena = Arena.ofConfined()) {
      var out = arena.allocate(ValueLayout.JAVA_FLOAT);
      call("cuEventElapsedTime", of(POINTER, POINTER, POINTER), out.address(), from, to);
      return out.get(ValueLayout.JAVA_FLOAT, 0);
    }
  }

  /// From here on the stream runs nothing and remembers everything.
  void beginCapture(long stream) {
    call("cuStreamBeginCapture_v2", of(POINTER, INT), stream, CAPTURE_THIS_THREAD);
  }

  /// Ends what `beginCapture` began.
  /// @return a graph of it that can be launched
  long endCapture(long stream) {
    try (var arena = Arena.ofConfined()) {
      var graph = arena.allocate(LONG);
      call("cuStreamEndCapture", of(POINTER, POINTER), stream, graph.address());
      try {
        return out("cuGraphInstantiateWithFlags", of(POINTER, LONG), graph.get(LONG, 0), 0L);
      } finally {
        call("cuGraphDestroy", of(POINTER), graph.get(LONG, 0));
      }
    }
  }

  void launchGraph(long graph, long stream) {
    try {
      check("cuGraphLaunch", (int) graphLaunch.invokeExact(graph, stream));
    } catch (Throwable e) {
      throw failure("cuGraphLaunch", e);
    }
  }

  void destroyGraph(long graph) {
    call("cuGraphExecDestroy", of(POINTER), graph);
  }

  /// Loads a fatbin, a cubin or PTX text.
  long module(byte[] image) {
    try (var arena = Arena.ofConfined()) {
      var bytes = arena.allocate(image.length + 1L, 64); // PTX ends in a zero
      MemorySegment.copy(MemorySegment.ofArray(image), 0, bytes, 0, image.length);
      return out("cuModuleLoadData", of(POINTER), bytes.address());
    }
  }

  void unload(long module) {
    call("cuModuleUnload", of(POINTER), module);
  }

  long function(long module, String name) {
    try (var arena = Arena.ofConfined()) {
      return out("cuModuleGetFunction", of(POINTER, POINTER), module, arena.allocateFrom(name).address());
    }
  }

  /// Lets a kernel use more than 48 KiB of dynamic shared memory.
  void allowShared(long function, int bytes) {
    call("cuFuncSetAttribute", of(POINTER, INT, INT), function, MAX_DYNAMIC_SHARED, bytes);
  }

  /// Puts a kernel into the stream that `config` names.
  /// @param config a `CUlaunchConfig` of 56 bytes
  /// @param parameters an array of addresses of the arguments
  void launch(MemorySegment config, long function, MemorySegment parameters) {
    try {
      check("cuLaunchKernelEx", (int) launch.invokeExact(config.address(), function, parameters.address(), 0L));
    } catch (Throwable e) {
      throw failure("cuLaunchKernelEx", e);
    }
  }

  /// Describes a matrix of bf16 for bulk tensor copies of boxes, swizzled by 128 bytes, with zeros outside.
  /// @param map where the 128 bytes of the description go, a multiple of 128
  /// @param shape columns and rows of the matrix, bytes from row to row (64 bits each); columns and rows of a box, 1 and 1 (32)
  void tensorMap(long map, long base, MemorySegment shape) {
    long at = shape.address();
    try {
      check("cuTensorMapEncodeTiled", (int) tensorMap.invokeExact(map, MAP_BF16, 2, base, at, at + 16, at + 24, at + 32, 0,
          MAP_SWIZZLE_128, MAP_PROMOTE_128, 0));
    } catch (Throwable e) {
      throw failure("cuTensorMapEncodeTiled", e);
    }
  }
}
