package org.llmcore.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

import com.fasterxml.jackson.databind.ObjectMapper;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.data.Offset.offset;

class QuantizeTest {
  @TempDir private Path folder;
  private final Session session = new Session();
  private Path model;
  private Path text;

  @BeforeEach
  void aModelAndText() throws IOException {
    model = Session.model(folder.resolve("model"));
    text = Files.writeString(folder.resolve("text.txt"), "two and two are four, the sky is blue\n".repeat(80));
  }

  @Test
  void aModelIsQuantizedJudgedAndUsed() throws IOException {
    var out = folder.resolve("w4");
    assertThat(session.run("quantize", "--model", model, "--bits", 4, "--group", 32, "--calibration", text, "--samples", 20,
        "--out", out, "--json")).as(session.err()).isZero();
    var o = session.object();
    assertThat(o.path("bits").asInt()).isEqualTo(4);
    assertThat(o.path("layers")).hasSize(14);
    for (var l : o.path("layers")) assertThat(l.path("error").asDouble()).isLessThanOrEqualTo(l.path("error_rtn").asDouble());
    assertThat(o.path("held_out").path("tokens").asLong()).isPositive();
    assertThat(o.path("held_out").path("perplexity_ratio").path("low").asDouble())
        .isLessThanOrEqualTo(o.path("held_out").path("perplexity_ratio").path("value").asDouble());
    assertThat(o.path("bytes_after").asLong()).isLessThan(o.path("bytes_before").asLong() / 2);
    assertThat(session.err()).contains("stored as 64"); // the MLP's width of 48
    var report = new ObjectMapper().readTree(out.resolve("quantize-report.json").toFile());
    assertThat(report.path("verdict").asText()).isEqualTo(o.path("verdict").asText());
    assertThat(out.resolve("quantize-report.html")).content().contains("<svg", "model.layers.1.mlp.down_proj")
        .doesNotContain("<script", "src=", "href=");
    assertThat(session.run("generate", "--model", out, "--prompt", "two and", "-n", 4)).as(session.err()).isZero();
    assertThat(session.run("eval", "perplexity", "--model", out, "--file", text, "--json")).as(session.err()).isZero();
    assertThat(session.object().path("perplexity").asDouble()).isBetween(1.0, 1000.0);
  }

  @Test
  void bitsAreChosenByABudgetOrByAQuality() throws IOException {
    var budget = folder.resolve("budget");
    assertThat(session.run("quantize", "--model", model, "--budget", 4.2, "--group", 32, "--calibration", text, "--samples", 20,
        "--out",
        budget, "--json")).as(session.err()).isZero();
    var o = session.object();
    assertThat(o.path("mixed").asBoolean()).isTrue();
    assertThat(o.path("bits_per_weight").asDouble()).isBetween(3.0, 4.2);
    double nearest = o.path("held_out_rtn").path("perplexity_after").path("value").asDouble();
    double ours = o.path("held_out").path("perplexity_after").path("value").asDouble();
    assertThat(o.path("perplexity_over_rtn").path("value").asDouble()).isCloseTo(ours / nearest, offset(1e-9));
    assertThat(o.path("perplexity_over_rtn").path("low").asDouble()).isPositive().isLessThan(o.path("perplexity_over_rtn").path("high").asDouble());
    assertThat(Files.readString(budget.resolve("config.json"))).contains("\"dynamic\"");
    assertThat(Files.readString(budget.resolve("quantize-report.html"))).contains("round to nearest", "mixed bits");
    var good = folder.resolve("good");
    assertThat(session.run("quantize", "--model", model, "--max-kl", 0.001, "--group", 32, "--calibration", text, "--samples",
        20, "--out",
        good, "--json", "--no-baseline")).as(session.err()).isZero();
    assertThat(session.object().path("held_out").path("kl_nats_per_token").asDouble()).isLessThanOrEqualTo(0.001);
    assertThat(session.object().has("held_out_rtn")).isFalse();
    assertThat(folder.toFile().list()).as("nothing else is left").containsExactlyInAnyOrder("model", "text.txt", "budget",
        "good");
    assertThat(session.run("generate", "--model", budget, "--prompt", "two and", "-n", 4)).as(session.err()).isZero();
  }

  @Test
  void roundingNeedsNoText() {
    assertThat(session.run("quantize", "--model", model, "--method", "rtn", "--bits", 8, "--sym", "--out", folder.resolve("w8")))
        .as(session.err()).isZero();
    assertThat(session.out()).contains("not judged");
    assertThat(session.run("quantize", "--model", model, "--method", "rtn", "--bits", 2, "--group", 32, "--eval", text, "--out",
        folder.resolve("w2"))).as(session.err()).isZero();
    assertThat(session.out()).contains("perplexity");
  }

  @Test
  void mistakesAreNamed() throws IOException {
    refused("5 bits", "--bits", 5, "--calibration", text);
    refused("groups of 7", "--group", 7, "--calibration", text);
    refused("needs calibration", "--bits", 4);
    refused("damping", "--damp", 0, "--calibration", text);
    refused("0 samples", "--samples", 0, "--calibration", text);
    refused("1 tokens", "--length", 1, "--calibration", text);
    refused("no file", "--calibration", folder.resolve("absent"));
    refused("more than one", "--bits", 4, "--budget", 4, "--calibration", text);
    refused("budget of 1.5", "--budget", 1.5, "--calibration", text);
    refused("calibration text", "--budget", 4);
    refused("8 bits in every layer", "--max-kl", 1e-12, "--calibration", text);
    refused("order of columns", "--method", "rtn", "--act-order");
    assertThat(session.run("quantize", "--model", model, "--calibration", text, "--out", model)).isEqualTo(2);
    assertThat(session.err()).contains("exists");
    assertThat(session.run("quantize", "--help")).isZero();
    assertThat(session.out()).contains("--act-order", "Examples:");
  }

  private void refused(String words, Object... options) {
    var line = new Object[options.length + 5];
    System.arraycopy(new Object[] {"quantize", "--model", model, "--out", folder.resolve("never")}, 0, line, 0, 5);
    System.arraycopy(options, 0, line, 5, options.length);
    assertThat(session.run(line)).as(session.err()).isEqualTo(2);
    assertThat(session.err()).contains(words).doesNotContain("\tat ");
    assertThat(Files.exists(folder.resolve("never"))).isFalse();
  }
}
