package org.llmcore.cuda;

import java.util.HashMap;
import java.util.Map;

/// The kernels of one source file on the device, loaded when the first of them is launched.
final class CudaModule {
  /// Dynamic shared memory a kernel may use without asking.
  private static final int PLAIN_SHARED = 48 << 10;

  private static final class Function {
    final long handle;
    int shared = PLAIN_SHARED;

    Function(long handle) {
      this.handle = handle;
    }
  }

  private final Driver driver;
  private final long module;
  private final Map<String, Function> functions = new HashMap<>();

  CudaModule(Driver driver, byte[] image) {
    this.driver = driver;
    this.module = driver.module(image);
  }

  /// The handle of a kernel, which may use `shared` bytes of dynamic shared memory.
  long function(String name, int shared) {
    var f = functions.computeIfAbsent(name, n -> new Function(driver.function(module, n)));
    if (shared > f.shared) {
      driver.allowShared(f.handle, shared);
      f.shared = shared;
    }
    return f.handle;
  }

  void close() {
    driver.unload(module);
  }
}
