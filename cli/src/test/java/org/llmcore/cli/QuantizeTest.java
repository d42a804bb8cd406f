package org.llmcore.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import java.util.concurrent.atomic.AtomicReference;

import com.fasterxml.jackson.databind.ObjectMapper;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import sun.misc.Signal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
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
    assertThat(session.out()).contains("not judged", "errors of layers are unknown");
    assertThat(session.run("quantize", "--model", model, "--method", "rtn", "--bits", 2, "--group", 32, "--eval", text, "--out",
        folder.resolve("w2"))).as(session.err()).isZero();
    assertThat(session.out()).contains("perplexity");
  }

  @Test
  void anInterruptLeavesNothing() throws IOException {
    // Whatever the run is doing: measuring and trying widths, or judging the baseline.
    interrupted(".never.partial/trial/config.json", "--max-kl", 1e-3);
    interrupted(".never.partial", "--budget", 4.2);
    interrupted(".never.partial/baseline", "--bits", 4);
  }

  private void interrupted(String at, Object... options) throws IOException {
    var file = folder.resolve(at);
    var signal = Thread.ofPlatform().daemon().start(() -> {
      while (!Files.exists(file)) Thread.onSpinWait();
      Signal.raise(new Signal("TERM"));
    });
    var line = new ArrayList<Object>(List.of("quantize", "--model", model, "--out", folder.resolve("never"), "--calibration", text,
        "--samples", 20));
    line.addAll(List.of(options));
    assertThat(session.run(line.toArray())).as(session.err()).isEqualTo(130);
    assertThat(signal.isAlive()).isFalse();
    assertThat(session.out()).endsWith("stopped; nothing was written\n");
    assertThat(folder.toFile().list()).containsExactlyInAnyOrder("model", "text.txt");
  }

  @Test
  void theResultAppearsWithItsReceiptAndWhatAKilledRunLeftGoesAway() throws IOException {
    Files.createDirectories(folder.resolve(".w4.partial/trial"));
    var out = folder.resolve("w4");
    var seen = new AtomicReference<>("nothing");
    var watch = Thread.ofPlatform().daemon().start(() -> {
      while (!Files.exists(out)) Thread.onSpinWait();
      seen.set(String.join(" ", new TreeSet<>(List.of(out.toFile().list()))));
    });
    assertThat(session.run("quantize", "--model", model, "--calibration", text, "--samples", 20, "--out", out))
        .as(session.err()).isZero();
    assertThatCode(watch::join).doesNotThrowAnyException();
    assertThat(seen.get()).isEqualTo("config.json generation_config.json model.safetensors quantize-report.html"
        + " quantize-report.json quantize_config.json tokenizer.model tokenizer_config.json");
    assertThat(folder.toFile().list()).containsExactlyInAnyOrder("model", "text.txt", "w4");
  }

  @Test
  void aGgufFileIsQuantizedToo() throws IOException {
    var gguf = folder.resolve("m.gguf");
    Files.writeString(model.resolve("chat_template.jinja"), "{{ messages }}");
    assertThat(session.run("convert", "--from", model, "--to", gguf)).as(session.err()).isZero();
    for (var from : List.of(model, gguf)) {
      assertThat(session.run("quantize", "--model", from, "--bits", 4, "--calibration", text, "--samples", 20, "--out",
          folder.resolve(from.getFileName() + "-w4"), "--json")).as(session.err()).isZero();
      assertThat(session.object().path("bytes_before").asLong()).isPositive();
      assertThat(folder.resolve(from.getFileName() + "-w4/chat_template.jinja")).hasContent("{{ messages }}");
    }
    assertThat(folder.resolve("m.gguf-w4/model.safetensors"))
        .hasSameBinaryContentAs(folder.resolve("model-w4/model.safetensors"));
    assertThat(session.run("generate", "--model", folder.resolve("m.gguf-w4"), "--prompt", "two and", "-n", 4))
        .as(session.err()).isZero();
    assertThat(session.run("quantize", "--model", folder.resolve("model-w4"), "--calibration", text, "--out",
        folder.resolve("twice"))).isEqualTo(2);
    assertThat(session.err()).contains("quantized already");
  }

  /// Training refuses these rows; here they are only text.
  @Test
  void conversationsInAnyOrderOfRolesCalibrate() throws IOException {
    var chat = Files.writeString(folder.resolve("chat.jsonl"), """
        {"messages": [{"role": "system", "content": "two and two"}, {"role": "assistant", "content": "are four"}]}
        {"messages": [{"role": "user", "content": "the sky"}, {"role": "user", "content": "is"}, {"role": "assistant", "content": "blue"}]}
        {"messages": [{"role": "user", "content": "two and two"}, {"role": "assistant", "content": "are four"}]}
        """);
    assertThat(session.run("quantize", "--model", model, "--calibration", chat, "--out", folder.resolve("w4"), "--json"))
        .as(session.err()).isZero();
    assertThat(session.object().path("calibration_tokens").asLong()).isGreaterThan(10);
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
    unmeasured("budget of 1.5", "--budget", 1.5, "--calibration", text);
    unmeasured("budget of -1", "--budget", -1, "--calibration", text);
    unmeasured("budget of NaN", "--budget", "NaN", "--calibration", text);
    unmeasured("KL divergence of 0.0", "--max-kl", 0, "--calibration", text);
    unmeasured("text to judge by", "--max-kl", 0.1, "--calibration",
        Files.writeString(folder.resolve("short.jsonl"), "{\"text\": \"two and two\"}\n"));
    refused("calibration text", "--budget", 4);
    refused("8 bits in every layer", "--max-kl", 1e-12, "--calibration", text);
    refused("order of columns", "--method", "rtn", "--act-order");
    assertThat(session.run("quantize", "--model", model, "--calibration", text, "--out", model)).isEqualTo(2);
    assertThat(session.err()).contains("exists");
    assertThat(session.run("quantize", "--model", folder.resolve("absent"), "--out", folder.resolve("new/never"))).isEqualTo(2);
    assertThat(folder.resolve("new")).doesNotExist();
    assertThat(session.run("quantize", "--help")).isZero();
    assertThat(session.out()).contains("--act-order", "Examples:");
  }

  /// Refused before the first layer was looked at.
  private void unmeasured(String words, Object... options) {
    refused(words, options);
    assertThat(session.out()).doesNotContain("measuring");
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
