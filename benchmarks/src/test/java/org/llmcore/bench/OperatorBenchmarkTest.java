package org.llmcore.bench;

import java.util.Arrays;
import java.util.HashSet;

import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

import org.llmcore.op.Custom;
import org.llmcore.op.Kernel;
import org.llmcore.op.QuantMatMul;
import org.llmcore.tensor.DType;

import static org.assertj.core.api.Assertions.assertThat;

class OperatorBenchmarkTest {
  @ParameterizedTest
  @EnumSource(names = {"F32", "BF16"})
  void everyOperatorIsMeasured(DType x) {
    var measured = new HashSet<Class<?>>();
    for (var c : OperatorBenchmark.Case.values()) {
      var benchmark = new OperatorBenchmark();
      benchmark.kernel = c;
      benchmark.shape = "small";
      benchmark.x = x;
      benchmark.setup();
      Arrays.stream(Kernel.class.getPermittedSubclasses()).filter(k -> k.isInstance(benchmark.call())).forEach(measured::add);
      assertThat(Cost.of(benchmark.call()).bytes()).as("bytes of " + c).isPositive();
      benchmark.tearDown();
    }
    var all = new HashSet<>(Arrays.asList(Kernel.class.getPermittedSubclasses()));
    all.remove(Custom.class);
    all.remove(QuantMatMul.class); // measured by QuantBenchmark
    assertThat(measured).isEqualTo(all);
  }
}
