package org.llmcore.cpu;

import org.junit.jupiter.api.BeforeAll;

import org.llmcore.op.Device;
import org.llmcore.op.OperatorContract;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

class CpuAvx512Bf16ContractTest extends OperatorContract {
  private final Device device = new CpuDevice(Tier.AVX512BF16, 2);

  @BeforeAll
  static void instructions() {
    assumeTrue(Tier.AVX512BF16.available(), "needs AVX-512 with bf16, and Linux");
  }

  @Override
  protected Device device() {
    return device;
  }
}
