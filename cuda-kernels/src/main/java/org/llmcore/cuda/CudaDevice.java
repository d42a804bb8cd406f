package org.llmcore.cuda;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.function.Supplier;

import org.llmcore.InvalidInput;
import org.llmcore.flags.Flags;
import org.llmcore.op.Device;
import org.llmcore.op.Kernel;
import org.llmcore.op.MatMul;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Store;
import org.llmcore.tensor.Tensor;

/// One NVIDIA GPU. Kernels go into one stream and run asynchronously, uploads and downloads pass through pinned memory in the same
/// stream (`Staging`). An error of a kernel shows at the next `synchronize` or download; with LLM_DEBUG every launch waits, and the exception
/// names the kernel that caused it.
///
/// One thread drives a device. The driver knows contexts by operating-system thread, so that must be a platform thread.
final class CudaDevice implements Device {
  /// Bytes of a half of the pinned buffer: large enough that the copy, not the call, takes the time.
  private static final long STAGING = 8L << 20;
  private static final long ALIGNMENT = 256; // of cuMemAlloc

  private final Driver driver;
  private final Images images;
  private final int ordinal;
  private final int version;
  private final int capability;
  private final int multiprocessors;
  private final String name;
  private final boolean debug;
  private final long context;
  private final long stream;
  private final Staging staging;
  private final Arena arena = Arena.ofShared();
  private final Optional<CuBlas> blas;
  private final Launch launch;
  private final CudaGraphs graphs;
  private final Map<String, CudaModule> modules = new HashMap<>();
  private final Region constants;
  private final Map<String, Tensor> tables = new HashMap<>();
  private Region scratch;
  private long scratchBytes;
  private Thread thread = Thread.currentThread();
  private boolean closed;
  private Flags.CudaAttention attention = Flags.CudaAttention.WGMMA;
  private long products;

  /// The first GPU of the driver.
  /// @param debug wait after every launch
  /// @throws InvalidInput in one sentence, if it has none that can be used
  CudaDevice(Driver driver, Images images, boolean debug) {
    this(driver, images, debug, Optional.empty());
  }

  /// @param blas where the vendor's library is that does the matrix products (`CuBlas`), if that is wanted
  CudaDevice(Driver driver, Images images, boolean debug, Optional<String> blas) {
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
    this.capability = driver.capability(ordinal);
    this.multiprocessors = driver.multiprocessors(ordinal);
    var gpu = driver.name(ordinal);
    if (capability < 80) {
      throw new InvalidInput(gpu + " has compute capability " + capability(capability),
          "8.0 or newer is needed (Ampere, Ada, Hopper, Blackwell), or use --device cpu");
    }
    this.context = driver.retainContext(ordinal);
    driver.current(context);
    this.stream = driver.stream();
    this.blas = blas.map(where -> new CuBlas(Optional.of(where), stream));
    this.name = "cuda " + gpu + ", compute capability " + capability(capability) + this.blas.map(b -> ", products by " + b.name()).orElse("");
    this.staging = new Staging(driver, stream, STAGING);
    this.launch = new Launch(this, arena, stream);
    this.graphs = new CudaGraphs(driver, stream, launch);
    this.constants = growing("constants");
    this.scratch = growing("scratch");
  }

  /// Chooses the kernels of attention, where the GPU has both.
  CudaDevice attention(Flags.CudaAttention kernels) {
    attention = kernels;
    return this;
  }

  /// Whether attention takes TMA and wgmma.
  boolean asynchronousAttention() {
    return attention == Flags.CudaAttention.WGMMA && capability == 90;
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
    if (blas.isPresent() && kernel instanceof MatMul.Product p && blas.get().takes(p)) {
      settle();
      blas.get().run(p);
      products++;
      return;
    }
    if (blas.isPresent() && kernel instanceof MatMul.LowRank p) {
      run(p.base());
      run(p.update());
      return;
    }
    CudaDispatch.run(launch, kernel);
  }

  /// Once it has come twice, the same work is one graph: see `CudaGraphs`. With LLM_DEBUG kernels run one by one.
  @Override
  public void together(Runnable work) {
    enter();
    if (debug) work.run();
    else graphs.together(work);
  }

  /// An event that is measured.
  long event() {
    enter();
    return driver.event(true);
  }

  void record(long event) {
    settle();
    driver.record(event, stream);
  }

  /// Waits for both events.
  double micros(long from, long to) {
    settle();
    driver.await(to);
    return 1e3 * driver.milliseconds(from, to);
  }

  void destroyEvent(long event) {
    if (!closed) driver.destroyEvent(event);
  }

  /// How many products the vendor's library did.
  long productsByBlas() {
    return products;
  }

  /// The vendor's library for this device's stream, to measure ours by.
  /// @param where a library file, a folder of one, or empty for what the system finds
  /// @throws InvalidInput if there is none
  VendorBlas blas(Optional<String> where) {
    enter();
    return new CuBlas(where, stream);
  }

  /// How often work that came together was one graph.
  int graphsLaunched() {
    return graphs.launched();
  }

  /// 90 for compute capability 9.0.
  int capability() {
    return capability;
  }

  int multiprocessors() {
    return multiprocessors;
  }

  /// From `Launch`: describes a matrix for bulk tensor copies.
  void tensorMap(long map, long base, MemorySegment shape) {
    driver.tensorMap(map, base, shape);
  }

  /// From `Launch`: the kernel, loaded if it is the first of its family.
  void launch(String family, String kernel, int shared, Launch call) {
    var module = modules.computeIfAbsent(family, f -> new CudaModule(driver, images.of(f, version)));
    long function = module.function(kernel, shared);
    if (graphs.records()) {
      graphs.add(call.call(function));
      return;
    }
    driver.launch(call.config(), function, call.pointers());
    if (debug) {
      try {
        driver.synchronize(stream);
      } catch (CudaException e) {
        throw new CudaException(e.result(), "kernel " + kernel + " failed: " + e.getMessage());
      }
    }
  }

  /// Device memory that lives until the next call: one region, made anew where it is too small.
  Tensor scratch(DType dtype, Shape shape) {
    long bytes = Region.align(Math.multiplyExact(shape.elements(), dtype.bytes()));
    if (bytes > scratchBytes) {
      scratch.close();
      scratch = reserve("scratch of the GPU's kernels", bytes);
      scratchBytes = bytes;
    }
    scratch.reset();
    return scratch.carve(dtype, shape);
  }

  /// From `Launch`: the address of as many bytes of `scratch`, 0 for none.
  long scratch(long bytes) {
    return bytes == 0 ? 0 : scratch(DType.F32, Shape.of(Math.toIntExact((bytes + 3) / 4))).address();
  }

  /// Constants by name, uploaded at the first use.
  Tensor table(String name, Supplier<float[]> values) {
    return tables.computeIfAbsent(name, _ -> {
      var v = values.get();
      return constants.carve(DType.F32, Shape.of(v.length)).set(v);
    });
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
    if (!graphs.add(from, address)) staging.up(from, address);
  }

  private void copyOut(long address, MemorySegment to) {
    settle();
    staging.down(address, to);
  }

  @Override
  public void synchronize() {
    settle();
    driver.synchronize(stream);
  }

  /// As `enter`, and everything given so far is in the stream.
  private void settle() {
    enter();
    graphs.settle();
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
    settle();
    scratch.close();
    constants.close();
    modules.values().forEach(CudaModule::close);
    blas.ifPresent(CuBlas::close);
    graphs.close();
    staging.close();
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
      settle();
      long address;
      try {
        address = driver.allocate(bytes);
      } catch (CudaException e) {
        if (e.result() != CudaException.OUT_OF_MEMORY) throw e;
        throw new InvalidInput(
            String.format(Locale.ROOT, "region '%s' needs %,d bytes of the GPU's memory and %,d are free", region, bytes,
                driver.free()),
            "a smaller batch or shorter sequences, bf16 weights, activation checkpointing, or --device cpu");
      }
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
      settle();
      driver.synchronize(stream);
      chunks.forEach(driver::release);
    }
  }
}
