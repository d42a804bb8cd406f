package org.llmcore.cuda;

import org.llmcore.op.MatMul;

/// Matrix products by the GPU vendor's library: what ours are measured by, and a way out that must be asked for (LLM_CUDA_BLAS).
/// Nothing chooses it silently.
public interface VendorBlas extends AutoCloseable {
  /// `cuBLAS 13.1.0 (libcublas.so.13)`: results carry it.
  String name();

  /// Whether it can do this product.
  boolean takes(MatMul.Product product);

  /// Puts the product into the device's stream.
  void run(MatMul.Product product);

  @Override
  void close();
}
