package org.llmcore.cli;

import java.lang.foreign.MemorySegment;
import java.util.concurrent.TimeUnit;

import org.junit.jupiter.api.Test;
import sun.misc.Signal;

import org.llmcore.cpu.CpuDevice;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Shape;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

class InterruptTest {
  @Test
  void aDeviceStopsAtTheNextKernelOrCopy() throws InterruptedException {
    var stop = new Interrupt();
    try (var device = new Interruptible(new CpuDevice(true, 1), stop); var region = device.reserve("test", 64)) {
      var x = region.carve(DType.F32, Shape.of(2));
      var host = MemorySegment.ofArray(new byte[8]);
      device.upload(host, x);
      Signal.raise(new Signal("TERM"));
      for (int i = 0; i < 500 && !stop.getAsBoolean(); i++) TimeUnit.MILLISECONDS.sleep(10);
      assertThat(stop.getAsBoolean()).isTrue();
      assertThatThrownBy(() -> device.upload(host, x)).isInstanceOf(Interrupt.Stopped.class);
      assertThatThrownBy(() -> device.download(x, host)).isInstanceOf(Interrupt.Stopped.class);
      assertThatThrownBy(() -> device.run(null)).isInstanceOf(Interrupt.Stopped.class);
    }
  }
}
