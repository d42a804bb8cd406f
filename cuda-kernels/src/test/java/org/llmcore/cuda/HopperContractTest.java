package org.llmcore.cuda;

import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;

import org.llmcore.op.Device;
import org.llmcore.op.OperatorContract;

import static org.assertj.core.api.Assertions.assertThat;

/// The contract's attention and low-rank layers that run by wgmma where a GPU has it; its matrix products are those of `MatMulCudaTest`, all
/// else is the same code.
class HopperContractTest extends OperatorContract {
  private HostCuda host;
  private CudaDevice device;
  private long runs;

  @BeforeAll
  void open() {
    host = HostCuda.open();
    device = host.device(90);
  }

  @AfterAll
  void close() {
    if (device == null) return;
    device.close();
    var ran = host.launched();
    if (ran.isEmpty()) return; // a GPU does not tell
    assertThat(ran).containsAll(Manifest.inTheJar().kernels().stream().filter(k -> k.matches("llm_attention_.*_hopper_.*")).toList());
  }

  @Override
  protected boolean selects(String name) {
    return name.matches("attention (tiles )?BF16 .* D(64|128)\\[.*|low rank BF16.*");
  }

  @Override
  protected Device device() {
    host.shuffle(++runs);
    return device;
  }
}
