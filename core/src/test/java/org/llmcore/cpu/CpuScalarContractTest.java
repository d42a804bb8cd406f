package org.llmcore.cpu;

import org.llmcore.op.Device;
import org.llmcore.op.OperatorContract;

class CpuScalarContractTest extends OperatorContract {
  private final Device device = new CpuDevice(false, 1);

  @Override
  protected Device device() {
    return device;
  }
}
