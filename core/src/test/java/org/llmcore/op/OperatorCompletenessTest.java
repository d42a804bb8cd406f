package org.llmcore.op;

import java.util.Arrays;
import java.util.stream.Collectors;

import org.junit.jupiter.api.Test;

import static org.assertj.core.api.Assertions.assertThat;

/// Every operator has cases. The only reflection in the house.
class OperatorCompletenessTest {
  @Test
  void everyPermittedKernelHasCases() {
    var tested = OperatorCases.all().stream().map(OperatorCase::kernel).collect(Collectors.toSet());
    var permitted = Arrays.stream(Kernel.class.getPermittedSubclasses()).filter(c -> c != Custom.class).toList();
    assertThat(permitted).allSatisfy(k -> assertThat(tested).as(k.getSimpleName() + " has no cases").contains(k.asSubclass(Kernel.class)));
  }
}
