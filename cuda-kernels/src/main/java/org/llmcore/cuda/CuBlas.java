package org.llmcore.cuda;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.util.List;
import java.util.Optional;

import org.llmcore.InvalidInput;
import org.llmcore.op.MatMul;
import org.llmcore.tensor.DType;

/// cuBLAS 13 or 12 through Panama: five functions. Row-major y = op(a)·op(b) is, to a library of column-major matrices,
/// yᵀ = op(b)ᵀ·op(a)ᵀ, so a and b change places and nothing is transposed that was not.
final class CuBlas implements VendorBlas {
  private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT;
  private static final ValueLayout.OfLong POINTER = ValueLayout.JAVA_LONG;
  private static final List<String> NAMES = List.of("libcublas.so.13", "libcublas.so.12");
  private static final int COMPUTE_32F = 68; // CUBLAS_COMPUTE_32F: f32 accumulation, no TF32
  private static final int DEFAULT_ALGORITHM = -1;

  private final SymbolLookup library;
  private final MethodHandle gemm;
  private final Arena arena = Arena.ofShared();
  private final MemorySegment scalars;
  private final long handle;
  private final String name;

  /// @param where a library file, a folder of one, or empty for what the system finds
  /// @param stream of the device, whose context is current
  /// @throws InvalidInput if there is none
  CuBlas(Optional<String> where, long stream) {
    var file = find(where);
    library = SymbolLookup.libraryLookup(file, Arena.global());
    gemm = function("cublasGemmEx", POINTER, INT, INT, INT, INT, INT, POINTER, POINTER, INT, INT, POINTER, INT, INT, POINTER, POINTER, INT, INT,
        INT, INT);
    scalars = arena.allocate(16, 8);
    call("cublasCreate_v2", function("cublasCreate_v2", POINTER), scalars.address());
    handle = scalars.get(POINTER, 0);
    call("cublasSetStream_v2", function("cublasSetStream_v2", POINTER, POINTER), handle, stream);
    call("cublasGetVersion_v2", function("cublasGetVersion_v2", POINTER, POINTER), handle, scalars.address());
    int v = scalars.get(INT, 0);
    int major = v / 10000;
    name = "cuBLAS " + major + "." + v / 100 % 100 + "." + v % 100 + " (" + file.substring(file.lastIndexOf('/') + 1) + ")";
  }

  private static String find(Optional<String> where) {
    var tried = NAMES.stream().map(n -> where.filter(w -> !w.isEmpty()).map(w -> w.contains(".so") ? w : w + "/" + n).orElse(n)).distinct().toList();
    for (var file : tried) {
      try {
        SymbolLookup.libraryLookup(file, Arena.global());
        return file;
      } catch (IllegalArgumentException _) {
        // the next one
      }
    }
    throw new InvalidInput("cuBLAS is not found (" + String.join(", ", tried) + ")", "give its folder in LLM_CUDA_BLAS, or unset it: our own kernels need no library");
  }

  private MethodHandle function(String name, MemoryLayout... arguments) {
    var symbol = library.find(name).orElseThrow(() -> new InvalidInput("the library of LLM_CUDA_BLAS lacks " + name, "cuBLAS 12 or 13 is needed"));
    return Linker.nativeLinker().downcallHandle(symbol, FunctionDescriptor.of(INT, arguments));
  }

  private static void call(String name, MethodHandle function, Object... arguments) {
    try {
      check(name, (int) function.invokeWithArguments(arguments));
    } catch (IllegalStateException e) {
      throw e;
    } catch (Throwable e) {
      throw new IllegalStateException(name + " could not be called", e);
    }
  }

  private static void check(String name, int status) {
    if (status != 0) throw new IllegalStateException(name + ": cuBLAS status " + status);
  }

  @Override
  public String name() {
    return name;
  }

  @Override
  public boolean takes(MatMul.Product p) {
    var y = p.y().tensor().dtype();
    return p.batch() == 1 && p.a().dtype() == p.b().dtype() && (y == p.a().dtype() || y == DType.F32) && p.m() > 0 && p.n() > 0 && p.k() > 0;
  }

  @Override
  public void run(MatMul.Product p) {
    scalars.setAtIndex(ValueLayout.JAVA_FLOAT, 0, p.alpha());
    scalars.setAtIndex(ValueLayout.JAVA_FLOAT, 1, p.y().add() ? 1 : 0);
    int type = type(p.a().dtype());
    try {
      check("cublasGemmEx",
          (int) gemm.invokeExact(handle, p.tb() ? 1 : 0, p.ta() ? 1 : 0, p.n(), p.m(), p.k(), scalars.address(), p.b().address(), type,
              p.tb() ? p.k() : p.n(), p.a().address(), type, p.ta() ? p.m() : p.k(), scalars.address() + 4, p.y().tensor().address(),
              type(p.y().tensor().dtype()), p.n(), COMPUTE_32F, DEFAULT_ALGORITHM));
    } catch (IllegalStateException e) {
      throw e;
    } catch (Throwable e) {
      throw new IllegalStateException("cublasGemmEx could not be called", e);
    }
  }

  /// A `cudaDataType_t`.
  private static int type(DType dtype) {
    return switch (dtype) {
      case F32 -> 0;
      case F16 -> 2;
      case BF16 -> 14;
      default -> throw new IllegalArgumentException(dtype + " in a matrix product");
    };
  }

  @Override
  public void close() {
    call("cublasDestroy_v2", function("cublasDestroy_v2", POINTER), handle);
    arena.close();
  }
}
