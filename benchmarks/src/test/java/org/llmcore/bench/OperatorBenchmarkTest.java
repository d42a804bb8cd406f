package org.llmcore.bench;

import java.util.Arrays;
import java.util.HashSet;

import org.junit.jupiter.api.Test;

import org.llmcore.op.Custom;
import org.llmcore.op.Kernel;
import org.llmcore.op.QuantMatMul;

import static org.assertj.core.api.Assertions.assertThat;

class OperatorBenchmarkTest {
  @Test
  void everyOperatorIsMeasured() {
    var measured = new HashSet<Class<?>>();
    for (var c : OperatorBenchmark.Case.values()) {
      var benchmark = new OperatorBenchmark();
      benchmark.kernel = c;
      benchmark.setup();
      Arrays.stream(Kernel.class.getPermittedSubclasses()).filter(k -> k.isInstance(benchmark.call())).forEach(measured::add);
      assertThat(OperatorBenchmark.flops(c) + OperatorBenchmark.bytes(c)).as("work of " + c).isPositive();
      benchmark.tearDown();
    }
    var all = new HashSet<>(Arrays.asList(Kernel.class.getPermittedSubclasses()));
    all.remove(Custom.class);
    all.remove(QuantMatMul.class); // measured by QuantBenchmark
    assertThat(measured).isEqualTo(all);
  }
}
