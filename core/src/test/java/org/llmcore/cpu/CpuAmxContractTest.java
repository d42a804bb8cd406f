package org.llmcore.cpu;

import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;

import org.llmcore.cpu.code.AmxTraps;
import org.llmcore.op.Device;
import org.llmcore.op.OperatorContract;

class CpuAmxContractTest extends OperatorContract {
  private final Device device = new CpuDevice(Tier.AMX, 2);

  @BeforeAll
  static void tiles() {
    AmxTraps.begin();
  }

  @AfterAll
  static void theProcessorWouldHaveAccepted() {
    AmxTraps.accepted();
  }

  @Override
  protected Device device() {
    return device;
  }
}
