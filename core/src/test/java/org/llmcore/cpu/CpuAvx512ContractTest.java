package org.llmcore.cpu;

import org.junit.jupiter.api.BeforeAll;

import org.llmcore.op.Device;
import org.llmcore.op.OperatorContract;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

class CpuAvx512ContractTest extends OperatorContract {
  private final Device device = new CpuDevice(Tier.AVX512, 2);

  @BeforeAll
  static void needsTheProcessor() {
    assumeTrue(Tier.AVX512.available(), "needs AVX-512 and Linux");
  }

  @Override
  protected Device device() {
    return device;
  }
}
