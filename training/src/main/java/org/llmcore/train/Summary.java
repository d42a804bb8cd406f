package org.llmcore.train;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalDouble;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.PropertyNamingStrategies;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;

import org.llmcore.checkpoint.AtomicFile;

/// `summary.json`: what a run did, for scripts.
///
/// @param accuracyBefore share of right answers of the task before training, if there is a task
/// @param evalLossBefore mean loss on the validation set before training, nats per token, if there is one
/// @param plannedPeakBytes what the memory plan said; `peakBytes` what the regions held at most
/// @param tokensPerSecond tokens of all training steps over their time, the first step included
/// @param weightsSha256 fingerprint of the trained parameters
/// @param interrupted whether the run was stopped before its last step
@JsonInclude(JsonInclude.Include.NON_ABSENT)
public record Summary(
    OptionalDouble accuracyBefore, OptionalDouble accuracyAfter, OptionalDouble evalLossBefore, OptionalDouble evalLossAfter, double firstLoss,
    double lastLoss, int steps, double tokensPerSecond, long plannedPeakBytes, long peakBytes, double wallSeconds, double firstStepSeconds,
    String device, String weightsSha256, String result, boolean interrupted, List<String> notes) {
  private static final ObjectMapper JSON =
      JsonMapper.builder()
          .addModule(new com.fasterxml.jackson.datatype.jdk8.Jdk8Module())
          .propertyNamingStrategy(PropertyNamingStrategies.SNAKE_CASE)
          .build();

  /// As `summary.json` has it: snake_case keys, absent values left out.
  public ObjectNode json() {
    return JSON.valueToTree(this);
  }

  void write(Path file) {
    try {
      AtomicFile.write(file, JSON.writerWithDefaultPrettyPrinter().writeValueAsString(json()) + "\n");
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }
}
