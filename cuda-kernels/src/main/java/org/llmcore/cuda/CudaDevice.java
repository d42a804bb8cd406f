package org.llmcore.cuda;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

import org.llmcore.InvalidInput;
import org.llmcore.op.Device;
import org.llmcore.op.Kernel;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Store;
import org.llmcore.tensor.Tensor;

/// One NVIDIA GPU. Kernels go into one stream and run asynchronously; uploads and downloads pass through one pinned buffer in
/// the same
/// stream. An error of a kernel shows at the next `synchronize` or download; with LLM_DEBUG every launch waits, and the exception
/// names the kernel that caused it.
///
/// One thread drives a device. The driver knows contexts by operating-system thread, so that must be a platform thread.
final class CudaDevice implements Device {
  /// Bytes of the pinned buffer: large enough that the copy, not the call, takes the time.
  private static final long STAGING = 8L << 20;
  private static final long ALIGNMENT = 256; // of cuMemAlloc

  private final Driver driver;
  private final Images images;
  private final int ordinal;
  private final int version;
  private final String name;
  private final boolean debug;
  private final long context;
  private final long stream;
  private final MemorySegment pinned;
  private final Arena arena = Arena.ofShared();
  private final Launch launch;
  private final Map<String, CudaModule> modules = new HashMap<>();
  private long scratch;
  private long scratchBytes;
  private Thread thread = Thread.currentThread();
  private boolean closed;

  /// The first GPU of the driver.
  /// @param debug wait after every launch
  /// @throws InvalidInput in one sentence, if it has none that can be used
  CudaDevice(Driver driver, Images images, boolean debug) {
    this.driver = driver;
    this.images = images;
    this.debug = debug;
    this.version = driver.version();
    if (version < 12000) {
      throw new InvalidInput("the NVIDIA driver runs CUDA " + version(version) + " at most",
          "CUDA 12.0 is needed: install driver 525 or newer, or use --device cpu");
    }
    if (driver.devices() == 0) throw new InvalidInput("the NVIDIA driver sees no GPU",
        "check CUDA_VISIBLE_DEVICES and nvidia-smi, or use --device cpu");
    this.ordinal = driver.device(0);
    int capability = driver.capability(ordinal);
    var gpu = driver.name(ordinal);
    if (capability < 80) {
      throw new InvalidInput(gpu + " has compute capability " + capability(capability),
          "8.0 or newer is needed (Ampere, Ada, Hopper, Blackwell), or use --device cpu");
    }
    this.context = driver.retainContext(ordinal);
    driver.current(context);
    this.name = "cuda " + gpu + ", compute capability " + capability(capability);
    this.stream = driver.stream();
    this.pinned = driver.pinned(STAGING);
    this.launch = new Launch(this, arena, stream);
  }

  static String version(int v) {
    return v / 1000 + "." + v % 1000 / 10;
  }

  static String capability(int c) {
    return c / 10 + "." + c % 10;
  }

  @Override
  public String name() {
    return name;
  }

  @Override
  public Region reserve(String region, long bytes) {
    return Region.fixed(region, bytes, new DeviceStore(region));
  }

  @Override
  public Region growing(String region) {
    return Region.growing(region, new DeviceStore(region));
  }

  @Override
  public void run(Kernel kernel) {
    enter();
    CudaDispatch.run(launch, kernel);
  }

  /// From `Launch`: the kernel, loaded if it is the first of its family.
  void launch(String family, String kernel, int shared, MemorySegment config, MemorySegment pointers) {
    var module = modules.computeIfAbsent(family, f -> new CudaModule(driver, images.of(f, version)));
    driver.launch(config, module.function(kernel, shared), pointers);
    if (debug) {
      try {
        driver.synchronize(stream);
      } catch (CudaException e) {
        throw new CudaException(e.result(), "kernel " + kernel + " failed: " + e.getMessage());
      }
    }
  }

  /// From `Launch`: memory that lives from one kernel to the next of the same operator. It only grows; with LLM_DEBUG it has the
  /// very size.
  long scratch(long bytes) {
    if (bytes > scratchBytes || debug && bytes > 0) {
      driver.synchronize(stream);
      if (scratch != 0) driver.release(scratch);
      scratch = 0;
      scratch = allocated("scratch", bytes);
      scratchBytes = bytes;
    }
    return scratch;
  }

  private long allocated(String region, long bytes) {
    try {
      return driver.allocate(bytes);
    } catch (CudaException e) {
      if (e.result() != CudaException.OUT_OF_MEMORY) throw e;
      throw new InvalidInput(
          String.format(Locale.ROOT, "region '%s' needs %,d bytes of the GPU's memory and %,d are free", region, bytes,
          driver.free()),
          "a smaller batch or shorter sequences, bf16 weights, activation checkpointing, or --device cpu");
    }
  }

  @Override
  public void upload(MemorySegment from, Tensor tensor) {
    copyIn(from.asSlice(0, tensor.bytes()), tensor.address());
  }

  @Override
  public void download(Tensor tensor, MemorySegment to) {
    copyOut(tensor.address(), to.asSlice(0, tensor.bytes()));
  }

  private void copyIn(MemorySegment from, long address) {
    enter();
    for (long at = 0; at < from.byteSize(); at += STAGING) {
      long n = Math.min(STAGING, from.byteSize() - at);
      MemorySegment.copy(from, at, pinned, 0, n);
      driver.copyIn(address + at, pinned, n, stream);
      driver.synchronize(stream); // the buffer is used again
    }
  }

  private void copyOut(long address, MemorySegment to) {
    enter();
    for (long at = 0; at < to.byteSize(); at += STAGING) {
      long n = Math.min(STAGING, to.byteSize() - at);
      driver.copyOut(pinned, address + at, n, stream);
      driver.synchronize(stream);
      MemorySegment.copy(pinned, 0, to, at, n);
    }
  }

  @Override
  public void synchronize() {
    enter();
    driver.synchronize(stream);
  }

  /// Makes the context that of the calling thread.
  private void enter() {
    if (closed) throw new IllegalStateException("the device is closed");
    var caller = Thread.currentThread();
    if (caller.equals(thread)) return;
    if (caller.isVirtual()) throw new IllegalStateException("a CUDA device is driven by a platform thread, not by a virtual one");
    driver.current(context);
    thread = caller;
  }

  @Override
  public void close() {
    if (closed) return;
    enter();
    modules.values().forEach(CudaModule::close);
    if (scratch != 0) driver.release(scratch);
    driver.releasePinned(pinned);
    driver.destroyStream(stream);
    driver.releaseContext(ordinal);
    arena.close();
    closed = true;
  }

  /// Device memory of one region.
  private final class DeviceStore implements Store {
    private final String region;
    private final List<Long> chunks = new ArrayList<>();

    DeviceStore(String region) {
      this.region = region;
    }

    @Override
    public boolean host() {
      return false;
    }

    @Override
    public long allocate(long bytes, long alignment) {
      if (alignment > ALIGNMENT) throw new IllegalArgumentException("alignment " + alignment);
      enter();
      long address = allocated(region, bytes);
      chunks.add(address);
      driver.clear(address, bytes, stream);
      return address;
    }

    /// With LLM_DEBUG every tensor of a growing region lies alone, so that a memory checker sees where it ends.
    @Override
    public long chunk(long bytes, int chunks) {
      return debug ? bytes : Store.super.chunk(bytes, chunks);
    }

    @Override
    public void upload(MemorySegment from, long address) {
      copyIn(from, address);
    }

    @Override
    public void download(long address, MemorySegment to) {
      copyOut(address, to);
    }

    @Override
    public void close() {
      if (closed) return; // the context took its memory with it
      enter();
      driver.synchronize(stream);
      chunks.forEach(driver::release);
    }
  }
}
