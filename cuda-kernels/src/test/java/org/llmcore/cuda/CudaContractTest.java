package org.llmcore.cuda;

import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;

import org.llmcore.op.AdamW;
import org.llmcore.op.Attention;
import org.llmcore.op.CrossEntropy;
import org.llmcore.op.Device;
import org.llmcore.op.Embedding;
import org.llmcore.op.GradientNorm;
import org.llmcore.op.Kernel;
import org.llmcore.op.OperatorContract;
import org.llmcore.op.QuantMatMul;
import org.llmcore.op.RmsNorm;
import org.llmcore.op.Rope;
import org.llmcore.op.SwiGlu;

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
  protected Device device() {
    host.shuffle(++runs);
    return device;
  }

  @Override
  protected boolean covers(Class<? extends Kernel> operator) {
    return operator != QuantMatMul.class && operator != AdamW.class && operator != Attention.class && operator != CrossEntropy.class && operator != Embedding.class && operator != GradientNorm.class
    && operator != RmsNorm.class && operator != Rope.class && operator != SwiGlu.class;
  }
}
