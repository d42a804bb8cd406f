package org.llmcore.op;

/// The open door in the sealed house: an experiment with its own loop in one file. Host devices call `run` on the calling
/// thread; accelerators synchronise, run it on host memory if their memory is addressable, and refuse it otherwise.
public non-sealed interface Custom extends Kernel {
  /// Does the work, reading and writing tensors through `Tensor.address()`.
  void run();
}
