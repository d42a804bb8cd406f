package org.llmcore.trace;

import java.util.ArrayList;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

import org.llmcore.cpu.CpuDevice;
import org.llmcore.op.HostDevice;
import org.llmcore.op.Kernel;
import org.llmcore.op.MatMul;
import org.llmcore.op.Pass;
import org.llmcore.op.QuantMatMul;
import org.llmcore.op.RmsNorm;
import org.llmcore.op.Unary;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Memory;
import org.llmcore.tensor.QuantMatrices;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

class TraceTest {
  private final Region region = Region.growing("test");

  @AfterEach
  void close() {
    region.close();
  }

  /// The CPU, but for one result of RMS norm that is a little off.
  private static final class Crooked implements HostDevice {
    private final CpuDevice cpu = new CpuDevice(true, 1);

    @Override
    public String name() {
      return "crooked";
    }

    @Override
    public void run(Kernel kernel) {
      cpu.run(kernel);
      if (kernel instanceof RmsNorm.Forward k) Memory.f32(k.y().address() + 12, Memory.f32(k.y().address() + 12) * 1.001f);
    }

    @Override
    public void close() {
      cpu.close();
    }
  }

  private Tensor ramp(int... dims) {
    var t = region.carve(DType.F32, Shape.of(dims));
    for (int i = 0; i < t.elements(); i++) Memory.f32(t.address() + 4L * i, 0.1f * i - 1);
    return t;
  }

  private void work(HostDevice device) {
    var p = Pass.training(device, region);
    var x = ramp(3, 8).trainable();
    var w = ramp(8);
    p.backward(MatMul.apply(p, RmsNorm.apply(p, x, w, 1e-5f), ramp(5, 8), true));
  }

  @Test
  void theReferenceCheckNamesTheKernelThatIsOff() {
    try (var device = new CheckedDevice(new Crooked(), true)) {
      assertThatThrownBy(() -> work(device)).isInstanceOf(IllegalStateException.class)
          .hasMessageContaining("RmsNorm.Forward (y f32(3, 8)").hasMessageContaining("at element 3, the reference device gives");
    }
  }

  @Test
  void theReferenceCheckChangesNothing() {
    try (var plain = new CpuDevice(true, 1);
        var checked = new CheckedDevice(new CpuDevice(true, 1), true)) {
      var y = new ArrayList<float[]>();
      for (HostDevice device : new HostDevice[] {plain, checked}) {
        var p = Pass.inference(device, region);
        y.add(MatMul.apply(p, RmsNorm.apply(p, ramp(3, 8), ramp(8), 1e-5f), ramp(5, 8), true).toFloats());
      }
      assertThat(y.get(1)).isEqualTo(y.get(0));
      assertThatCode(() -> work(checked)).doesNotThrowAnyException();
    }
  }

  @Test
  void matricesInFewBitsAreCheckedAndTracedWithTheirParts() {
    var lines = new ArrayList<String>();
    try (var device = new CheckedDevice(new CpuDevice(true, 1), true); var traced = new TracedDevice(device, lines::add, true)) {
      var p = Pass.inference(traced, region);
      for (var form : QuantMatrices.forms()) QuantMatMul.apply(p, ramp(3, form.fit(40)), form.make(region, 5, form.fit(40), 1));
    }
    assertThat(lines.getFirst()).startsWith("QuantMatMul.Product").contains("x f32(3, 40)", "w.codes u8(5, 16)", "w.scales f16(5, 1)");
  }

  @Test
  void theNanCheckNamesTheFirstKernelAndTensor() {
    try (var device = new CheckedDevice(new CpuDevice(true, 1), false)) {
      var p = Pass.inference(device, region);
      assertThatThrownBy(() -> Unary.apply(p, ramp(4), Unary.Function.LOG)).isInstanceOf(IllegalStateException.class)
          .hasMessageContaining("after Unary.Forward").hasMessageContaining("y is NaN at element 0");
    }
  }

  @Test
  void theTraceHasALineForEveryCallAndATable() {
    var lines = new ArrayList<String>();
    try (var device = new TracedDevice(new CpuDevice(true, 1), lines::add, true)) {
      var p = Pass.inference(device, region);
      var x = ramp(3, 8);
      MatMul.apply(p, x, ramp(5, 8), true);
      MatMul.apply(p, x, ramp(5, 8), true);
    }
    assertThat(lines).hasSize(4);
    assertThat(lines.getFirst()).startsWith("MatMul.Product").contains("µs", "GB/s", "y f32(3, 5)", "a f32(3, 8)", "b f32(5, 8)");
    assertThat(lines.get(2)).contains("kernel", "calls", "share", "GFLOP/s");
    assertThat(lines.getLast()).startsWith("MatMul.Product").contains("2", "100.0%");
  }
}
