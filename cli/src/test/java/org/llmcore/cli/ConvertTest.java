package org.llmcore.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.concurrent.TimeUnit;

import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.checkpoint.Safetensors;
import org.llmcore.checkpoint.SafetensorsStream;
import org.llmcore.convert.Conversion;
import org.llmcore.cpu.CpuDevice;
import org.llmcore.model.Decoder;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;

import static org.assertj.core.api.Assertions.assertThat;

/// `convert` on the command line.
class ConvertTest {
  @TempDir static Path shared;
  private static Path model;

  @TempDir Path folder;
  private final Session session = new Session();

  @BeforeAll
  static void aModelIsThere() {
    model = Session.model(shared.resolve("model"));
  }

  @Test
  void everyFormatOpensAfterwards() throws IOException {
    assertThat(session.run("convert", "--from", model, "--to", folder.resolve("a.gguf"))).as(session.err()).isZero();
    assertThat(session.out()).contains("every weight agrees, bit for bit", "so do the logits of 16 tokens");
    assertThat(session.run("convert", "--from", folder.resolve("a.gguf"), "--to", folder.resolve("b.bin"))).as(session.err())
        .isZero();
    assertThat(session.out()).contains("b-tokenizer.bin");
    assertThat(session.run("convert", "--from", folder.resolve("b.bin"), "--tokenizer", folder.resolve("b-tokenizer.bin"), "--to",
        folder.resolve("c"))).as(session.err()).isZero();
    assertThat(folder.resolve("c/model.safetensors")).hasSameBinaryContentAs(model.resolve("model.safetensors"));
    assertThat(session.run("generate", "--model", folder.resolve("a.gguf"), "two and", "-n", 4)).as(session.err()).isZero();
    assertThat(session.run("inspect", folder.resolve("a.gguf"))).as(session.err()).isZero();
    assertThat(session.out()).contains("GGUF");
  }

  @Test
  void whatIsLostIsSaid() throws IOException {
    assertThat(session.run("--json", "convert", "--from", model, "--to", folder.resolve("a.gguf"), "--dtype", "q8_0", "--check",
        "two and two are four")).as(session.err()).isZero();
    var o = session.object();
    assertThat(o.get("lossless").asBoolean()).isFalse();
    assertThat(o.get("weights_lost").asDouble()).isBetween(1e-4, 0.023);
    assertThat(o.get("largest_difference").asDouble()).isPositive().isLessThan(o.get("largest_logit").asDouble());
    assertThat(o.get("kl_nats_per_token").asDouble()).isBetween(0.0, 0.1);
    assertThat(o.get("exact").asBoolean()).isTrue();
    assertThat(o.get("same_top").asInt()).isLessThanOrEqualTo(o.get("tokens").asInt());
    assertThat(o.get("notes").toString()).contains("no multiple of Q8_0's block"); // the MLP's width of 48
    assertThat(session.run("--quiet", "convert", "--from", model, "--to", folder.resolve("b.gguf"), "--check", "none")).isZero();
    assertThat(session.out()).contains("not checked");
  }

  @Test
  void aModelInFewBitsTakesActivationsInEight() throws IOException {
    assertThat(session.run("--quiet", "convert", "--from", model, "--to", folder.resolve("few.gguf"), "--dtype", "q8_0", "--check", "none")).isZero();
    for (var rounding : List.of(List.of(), List.of("--int8-activations"))) {
      var words = new ArrayList<Object>(List.of("logits", "--model", folder.resolve("few.gguf"), "--text", "two and two are four", "--out", folder.resolve(rounding.size() + ".safetensors")));
      words.addAll(rounding);
      assertThat(session.run(words.toArray())).as(session.err()).isZero();
    }
    try (var exact = Safetensors.open(folder.resolve("0.safetensors")); var rounded = Safetensors.open(folder.resolve("1.safetensors"))) {
      var a = exact.get("logits").toFloats();
      var b = rounded.get("logits").toFloats();
      double most = 0;
      double largest = 0;
      for (int i = 0; i < a.length; i++) {
        most = Math.max(most, Math.abs(a[i] - b[i]));
        largest = Math.max(largest, Math.abs(a[i]));
      }
      assertThat(most / largest).isBetween(1e-6, 0.05);
    }
    assertThat(session.run("generate", "--model", folder.resolve("few.gguf"), "--int8-activations", "two and", "-n", 4)).as(session.err()).isZero();
    assertThat(session.run("generate", "--model", model, "--int8-activations", "two and", "-n", 4)).isEqualTo(2);
    assertThat(session.err()).contains("no weights in few bits", "leave --int8-activations out");
  }

  @Test
  void mistakesAreCode2AndLeaveNothing() throws IOException {
    refused("exists", "--to", model);
    refused("did you mean --format?", "--to", folder.resolve("x"), "--formt", "gguf");
    refused("expected one of hf, gguf, llama2c", "--to", folder.resolve("x"), "--format", "onnx");
    refused("expected one of f32", "--to", folder.resolve("x"), "--dtype", "int8");
    refused("write gguf", "--to", folder.resolve("x"), "--dtype", "q4_0");
    refused("leave --dtype out", "--to", folder.resolve("x.bin"), "--dtype", "bf16");
    refused("adapter_config.json", "--to", folder.resolve("x"), "--adapter", folder);
    try (var left = Files.list(folder)) {
      assertThat(left).isEmpty();
    }
    assertThat(session.run("convert", "--help")).isZero();
    assertThat(session.out()).contains("Examples:", "--dtype", "Exit code 1");
  }

  private void refused(String words, Object... options) {
    var line = new Object[options.length + 3];
    System.arraycopy(new Object[] {"convert", "--from", model}, 0, line, 0, 3);
    System.arraycopy(options, 0, line, 3, options.length);
    assertThat(session.run(line)).as(session.err()).isEqualTo(2);
    assertThat(session.err()).contains(words).doesNotContain("\tat ");
  }

  @Test
  void aModelLargerThanTheHeapIsConvertedInAFewRowsAtATime() throws IOException, InterruptedException {
    var config = new LlamaConfig(300, 768, 3072, 2, 6, 6, 128, 64, 1e-5, 1e4, 1, true, OptionalInt.of(1), List.of(2),
        OptionalInt.empty(), "float32");
    var large = Files.createDirectory(folder.resolve("large"));
    Files.writeString(large.resolve("config.json"), config.toJson());
    Files.copy(model.resolve("tokenizer.model"), large.resolve("tokenizer.model"));
    var parameters = Decoder.carve(config, Region.measuring("weights"), DType.F32, DType.F32, false).parameters().map();
    var promises = parameters.entrySet().stream().map(e ->
        SafetensorsStream.Promise.of(e.getKey(), DType.F32, e.getValue().shape().dims())).toList();
    SafetensorsStream.write(large.resolve("model.safetensors"), Map.of("format", "pt"), promises, (t, file) -> {
      for (long i = 0; i < t.bytes() / 4; i++) file.f32((i * 7919 % 2003 - 1001) * 1e-4f);
    });
    assertThat(Files.size(large.resolve("model.safetensors"))).isGreaterThan(70L << 20);
    var out = folder.resolve("out");
    var process = new ProcessBuilder(
        Path.of(System.getProperty("java.home"), "bin", "java").toString(), "-Xmx40m", "--add-modules", "jdk.incubator.vector",
            "--enable-native-access=ALL-UNNAMED", "-cp",
        System.getProperty("java.class.path"), ConvertTest.class.getName(), folder.toString()).redirectOutput(out.toFile())
            .redirectErrorStream(true).start();
    assertThat(process.waitFor(120, TimeUnit.SECONDS)).isTrue();
    assertThat(process.exitValue()).as(Files.readString(out)).isZero();
    assertThat(Files.size(folder.resolve("large.gguf"))).isBetween(18L << 20, 24L << 20);
  }

  public static void main(String[] arguments) {
    var folder = Path.of(arguments[0]);
    var check = new Conversion.Check(true, Optional.empty(), Optional.empty());
    try (var device = new CpuDevice(true, 1)) {
      var c = Conversion.of(folder.resolve("large"), folder.resolve("large.gguf"));
      var few = new Conversion(c.from(), c.to(), c.format(), Optional.of(Conversion.dtype("q8_0")), c.tokenizer(), c.adapter(),
          check);
      few.run(device, Conversion.Listener.NONE);
    }
    System.exit(0);
  }
}
