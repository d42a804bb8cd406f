package org.llmcore.cli;

import java.io.IOException;
import java.nio.file.Path;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import static org.assertj.core.api.Assertions.assertThat;

class BenchTest {
  @TempDir Path folder;
  private final Session session = new Session();

  @Test
  void everythingIsMeasuredAndWorthANumber() throws IOException {
    var model = Session.model(folder.resolve("model"));
    assertThat(session.run("bench", "--json", "--model", model, "--seconds", "0.02", "--threads", "1")).as(session.err()).isZero();
    var o = session.object();
    assertThat(o.get("device").asText()).startsWith("cpu");
    for (var key : new String[] {
      "matmul_gflops", "matmul_model_gflops", "read_gb_per_second", "lora_tokens_per_second", "prompt_tokens_per_second", "decode_1_tokens_per_second",
      "decode_8_tokens_per_second"
    }) {
      assertThat(o.get(key).asDouble()).as(key).isPositive().isFinite();
    }
  }

  @Test
  void aTimeThatIsNoneIsRefused() {
    assertThat(session.run("bench", "--seconds", "0")).isEqualTo(2);
    assertThat(session.err()).contains("--seconds is 0");
  }
}
