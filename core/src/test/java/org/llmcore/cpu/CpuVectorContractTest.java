package org.llmcore.cpu;

import org.llmcore.op.Device;
import org.llmcore.op.OperatorContract;

class CpuVectorContractTest extends OperatorContract {
  private final Device device = new CpuDevice(Tier.VECTOR, 2);

  @Override
  protected Device device() {
    return device;
  }
}
