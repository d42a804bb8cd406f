package org.llmcore.cuda;

import java.io.IOException;
import java.io.UncheckedIOException;

/// Where the compiled kernels of a family come from.
interface Images {
  /// What the driver loads for `family`: a fatbin, a cubin, PTX, or what a driver in a test understands.
  /// @param driver what the driver says it runs: 13000 for CUDA 13.0
  byte[] of(String family, int driver);

  /// Those in the jar. Drivers older than the compiler cannot read its fatbins, but they read PTX of an older dialect.
  static Images inTheJar() {
    return (family, driver) -> {
      var name = family + (driver >= 13000 ? ".fatbin" : ".ptx");
      try (var in = Images.class.getResourceAsStream(name)) {
        if (in == null) {
          throw new IllegalStateException("this build has no kernels " + name + ": run cuda-kernels/build-fatbins.sh");
        }
        return in.readAllBytes();
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    };
  }
}
