package org.llmcore.cuda;

/// A call of the driver that failed.
public final class CudaException extends IllegalStateException {
  private static final long serialVersionUID = 1;
  static final int OUT_OF_MEMORY = 2;

  private final int result;

  CudaException(int result, String message) {
    super(message);
    this.result = result;
  }

  /// The driver's number of the error.
  public int result() {
    return result;
  }
}
