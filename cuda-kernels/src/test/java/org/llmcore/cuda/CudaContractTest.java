package org.llmcore.cuda;

import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;

import org.llmcore.op.Device;
import org.llmcore.op.Kernel;
import org.llmcore.op.OperatorContract;
import org.llmcore.op.QuantMatMul;

/// The contract of all devices, on the host driver. Every run has another order of threads and of asynchronous copies.
class CudaContractTest extends OperatorContract {
  private HostCuda host;
  private CudaDevice device;
  private long runs;

  @BeforeAll
  void open() {
    host = HostCuda.open();
    device = host.device();
  }

  @AfterAll
  void close() {
    if (device != null) device.close();
  }

  @Override
  protected boolean covers(Class<? extends Kernel> operator) {
    return operator != QuantMatMul.Int8Product.class;
  }

  @Override
  protected Device device() {
    host.shuffle(++runs);
    return device;
  }
}
