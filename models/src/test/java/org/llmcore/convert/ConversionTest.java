package org.llmcore.convert;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.stream.Stream;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.GptqConfig;
import org.llmcore.checkpoint.GptqFiles;
import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.checkpoint.ModelFiles;
import org.llmcore.checkpoint.Safetensors;
import org.llmcore.cpu.CpuDevice;
import org.llmcore.gguf.Gguf;
import org.llmcore.gguf.GgufType;
import org.llmcore.gguf.LlamaGguf;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Precision;
import org.llmcore.op.Device;
import org.llmcore.quant.RoundToNearest;
import org.llmcore.text.BpeTrainer;
import org.llmcore.text.SentencePieceBpe;
import org.llmcore.text.Vocabulary;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.data.Offset.offset;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

/// Every format into every other, on published files and on a model of our own.
class ConversionTest {
  private static final Path DATA = Path.of(System.getProperty("llm.data", "../shared/data"));

  @TempDir private static Path shared;
  @TempDir private Path folder;
  private final Device device = new CpuDevice(true, 1);

  @AfterEach
  void close() throws IOException {
    device.close();
    try (Stream<Path> all = Files.list(folder)) {
      assertThat(all.filter(f -> f.getFileName().toString().startsWith("."))).as("half-written").isEmpty();
    }
  }

  private static Path data(String name) {
    var path = DATA.resolve(name);
    assumeTrue(Files.exists(path), "no " + name + ": set llm.data to the folder of public data");
    return path;
  }

  private Conversion conversion(Path from, String to, String dtype) {
    var words = from.startsWith(DATA) && !Gguf.is(from) ? Optional.of(data("stories260k/tok512.model")) : Optional.<Path>empty();
    var c = Conversion.of(from, folder.resolve(to));
    return new Conversion(c.from(), c.to(), c.format(), dtype.isEmpty() ? Optional.empty() : Optional.of(Conversion.dtype(dtype)),
        words, Optional.empty(), c.check());
  }

  private Conversion.Report run(Path from, String to, String dtype) {
    return conversion(from, to, dtype).run(device, Conversion.Listener.NONE);
  }

  /// Two layers, 256 wide, so that every block type fits.
  @BeforeAll
  static void aModelIsThere() {
    var words = BpeTrainer.train(List.of("two and two are four, the sky is blue ".repeat(30)), 300);
    var config = new LlamaConfig(304, 256, 512, 2, 4, 2, 64, 64, 1e-5, 1e4, 1, false, words.bos(),
        words.eos().stream().boxed().toList(), OptionalInt.empty(), "float32");
    try (var device = new CpuDevice(true, 1); var model = LanguageModel.scratch(device, config, words, Precision.F32, 1)) {
      model.save(shared.resolve("made"), 1 << 30);
    }
  }

  /// A copy of it.
  private Path made() throws IOException {
    var copy = Files.createDirectory(folder.resolve("made"));
    try (var files = Files.list(shared.resolve("made"))) {
      for (var f : files.toList()) Files.copy(f, copy.resolve(f.getFileName()));
    }
    return copy;
  }

  @Test
  void everyLosslessWayAroundEndsWithTheSameBytes() throws IOException {
    var hf = data("stories260k/hf");
    for (var to : new String[] {"a.gguf", "a.bin", "a"}) {
      var r = run(hf, to, "");
      assertThat(r.lossless()).isTrue();
      assertThat(r.lost()).contains(0.0);
      assertThat(r.logits().orElseThrow().difference()).isZero();
      assertThat(r.tensors()).isEqualTo(47);
    }
    assertThat(folder.resolve("a-tokenizer.bin")).hasSameBinaryContentAs(data("stories260k/tok512.bin"));
    new Conversion(folder.resolve("a.bin"), folder.resolve("b"), Format.HF, Optional.empty(),
        Optional.of(folder.resolve("a-tokenizer.bin")), Optional.empty(),
        Conversion.Check.ALL).run(device, Conversion.Listener.NONE);
    run(folder.resolve("b"), "b.gguf", "");
    run(folder.resolve("b.gguf"), "c", "");
    for (var f : new String[] {"a", "b", "c"}) {
      assertThat(folder.resolve(f).resolve("model.safetensors")).as(f).hasSameBinaryContentAs(hf.resolve("model.safetensors"));
      assertThat(LlamaConfig.read(folder.resolve(f).resolve("config.json"))).as(f)
          .isEqualTo(LlamaConfig.read(hf.resolve("config.json")));
    }
    assertThat(folder.resolve("c/tokenizer.model")).hasSameBinaryContentAs(folder.resolve("b/tokenizer.model"));
  }

  @Test
  void theCheckpointOfLlama2cIsThePublishedOneButForLastDigitsOfItsTable() throws IOException {
    run(data("stories260k/hf"), "a.bin", "");
    var ours = Files.readAllBytes(folder.resolve("a.bin"));
    var published = Files.readAllBytes(data("stories260k/stories260K.bin"));
    int table = 4 * 512 * 8; // at the end, as the head is tied
    assertThat(Arrays.mismatch(ours, published)).isGreaterThanOrEqualTo(ours.length - table);
    var a = java.nio.ByteBuffer.wrap(ours).order(java.nio.ByteOrder.LITTLE_ENDIAN);
    var b = java.nio.ByteBuffer.wrap(published).order(java.nio.ByteOrder.LITTLE_ENDIAN);
    for (int i = ours.length - table; i < ours.length; i += 4) {
      assertThat(Math.abs(a.getFloat(i) - b.getFloat(i))).isLessThanOrEqualTo(2 * Math.ulp(512f)); // angles up to 512, in f32
    }
  }

  @Test
  void aPublishedGgufFileIsWrittenAgainTensorForTensor() {
    var published = data("gguf/stories260K-ff192-q8_0.gguf");
    assertThat(run(published, "again.gguf", "").lossless()).isTrue();
    run(published, "f32", "");
    try (var a = Gguf.open(published); var b = Gguf.open(folder.resolve("again.gguf"))) {
      assertThat(b.entries().keySet()).containsExactlyInAnyOrderElementsOf(a.entries().keySet());
      for (var e : a.entries().values()) {
        assertThat(b.entries().get(e.name()).type()).isEqualTo(e.type());
        assertThat(b.entries().get(e.name()).data().mismatch(e.data())).as(e.name()).isEqualTo(-1);
      }
      for (var key : a.keys().keySet()) {
        var v = b.keys().get(key);
        if (a.keys().get(key) instanceof Gguf.Values list) assertThat(((Gguf.Values) v).data().mismatch(list.data())).as(key)
            .isEqualTo(-1);
        else if (!key.equals("general.name")) assertThat(v).as(key).isEqualTo(a.keys().get(key));
      }
    }
  }

  @ParameterizedTest
  @CsvSource({"f16, F16, F16, 2.9e-4", "bf16, BF16, BF16, 2.3e-3", "q8_0, Q8_0, Q8_0, 0.007", "q4_0, Q4_0, Q8_0, 0.11",
      "q4_k, Q4_K, Q8_0, 0.09"})
  void everyDtypeLosesWhatItMust(String dtype, GgufType linears, GgufType vocabulary, double most) throws IOException {
    var r = run(made(), "a.gguf", dtype);
    assertThat(r.lossless()).isFalse();
    assertThat(r.lost().orElseThrow()).isPositive().isLessThan(most);
    assertThat(r.logits().orElseThrow().difference()).isPositive().isLessThan(r.logits().get().largest());
    assertThat(r.logits().get().kl()).isPositive().isLessThan(0.2);
    assertThat(r.logits().get().exact()).isTrue();
    try (var file = LlamaGguf.of(Gguf.open(folder.resolve("a.gguf")))) {
      assertThat(file.type("model.layers.1.mlp.down_proj.weight")).isEqualTo(linears);
      assertThat(file.type("model.layers.0.self_attn.q_proj.weight")).isEqualTo(linears);
      assertThat(file.type("lm_head.weight")).isEqualTo(vocabulary);
      assertThat(file.type("model.norm.weight")).isEqualTo(GgufType.F32);
      assertThat(file.tokenizer().size()).isEqualTo(300); // the model has 304 rows: the padding is not counted
    }
    // What is in few bits stays what it is.
    assertThat(run(folder.resolve("a.gguf"), "b.gguf", dtype).logits().orElseThrow().difference()).isZero();
    assertThat(run(folder.resolve("a.gguf"), "c", "").logits().orElseThrow().difference()).isZero();
  }

  @Test
  void halfPrecisionComesBackInHalfPrecision() throws IOException {
    run(made(), "half", "bf16");
    run(folder.resolve("half"), "half.gguf", "");
    assertThat(run(folder.resolve("half.gguf"), "back", "").types()).isEqualTo("BF16");
    assertThat(folder.resolve("back/model.safetensors")).hasSameBinaryContentAs(folder.resolve("half/model.safetensors"));
    assertThat(folder.resolve("back/config.json")).hasSameTextualContentAs(folder.resolve("half/config.json"));
  }

  @ParameterizedTest
  @ValueSource(ints = {4, 8})
  void symmetricGptqGoesIntoGgufCodeForCode(int bits) throws IOException {
    var r = run(packed(bits, true), "g.gguf", "");
    assertThat(r.lossless()).isTrue();
    assertThat(r.logits().orElseThrow().difference()).isZero();
    try (var file = LlamaGguf.of(Gguf.open(folder.resolve("g.gguf")))) {
      assertThat(file.type("model.layers.0.self_attn.k_proj.weight")).isEqualTo(bits == 4 ? GgufType.Q4_0 : GgufType.Q8_0);
    }
  }

  @ParameterizedTest
  @CsvSource({"3, true", "4, false", "2, false"})
  void otherGptqBecomesTheF32ThatItsCodesMean(int bits, boolean symmetric) throws IOException {
    var r = run(packed(bits, symmetric), "g.gguf", "");
    assertThat(r.lossless()).isTrue();
    assertThat(r.types()).isEqualTo("F32");
    assertThat(r.logits().orElseThrow().difference()).isZero();
    assertThat(run(folder.resolve("packed"), "q.gguf", "q4_0").lost().orElseThrow()).isPositive();
  }

  /// `made` in GPTQ's format.
  private Path packed(int bits, boolean symmetric) throws IOException {
    var source = made();
    var target = Files.createDirectory(folder.resolve("packed"));
    var config = LlamaConfig.read(source.resolve("config.json"));
    var gptq = new GptqConfig(bits, 64, symmetric, false, false, GptqConfig.Version.V2, java.util.Map.of(), 0.01);
    var items = new java.util.ArrayList<Safetensors.Item>();
    try (var files = ModelFiles.open(source)) {
      for (var e : files.entries().values()) {
        if (!e.name().endsWith("proj.weight")) {
          items.add(new Safetensors.Item(e.name(), e.dtype(), e.shape(), e.data()));
          continue;
        }
        var layer = e.name().replace(".weight", "");
        var c = RoundToNearest.quantize(e.toFloats(), e.shape()[0], e.shape()[1], bits, 64, symmetric, false);
        items.addAll(GptqFiles.write(layer, c));
        items.add(GptqFiles.zeros(layer, bits, c.zeros(), c.outputs(), GptqConfig.Version.V2));
      }
      ModelFiles.write(target, items, 1 << 30);
    }
    Files.writeString(target.resolve("config.json"), config.toJson());
    Files.writeString(target.resolve("quantize_config.json"), gptq.toJson("test").toString());
    Files.copy(source.resolve("tokenizer.model"), target.resolve("tokenizer.model"));
    return target;
  }

  @Test
  void thePublishedGptqFolderIsConvertedExactly() {
    for (var to : new String[] {"e", "e.gguf"}) {
      var r = run(data("gptq/w4_g32_asym"), to, "");
      assertThat(r.logits().orElseThrow().difference()).isZero();
    }
    try (var expected = Safetensors.open(data("gptq/w4_g32_asym/expected.safetensors")); var found =
        Safetensors.open(folder.resolve("e/model.safetensors"))) {
      int layers = 0;
      for (var e : expected.entries().values()) {
        if (!found.entries().containsKey(e.name())) continue;
        layers++;
        var a = e.toFloats();
        var b = found.get(e.name()).toFloats();
        for (int i = 0; i < a.length; i++) assertThat(b[i]).isCloseTo(a[i], offset(Math.abs(a[i]) * 1e-6f));
      }
      assertThat(layers).isEqualTo(7);
    }
  }

  @Test
  void anAdapterIsAddedToTheWeights() {
    var c = conversion(data("stories260k/hf"), "tuned", "");
    var r = new Conversion(c.from(), c.to(), c.format(), c.dtype(), c.tokenizer(), Optional.of(data("peft/qv_r4/trained")),
        c.check()).run(device, Conversion.Listener.NONE);
    assertThat(r.merge().orElseThrow()).isLessThan(1e-4);
    assertThat(r.logits().orElseThrow().difference()).isZero();
    try (var golden = Safetensors.open(data("peft/qv_r4/expected_logits.safetensors"))) {
      for (int row = 0; row < 2; row++) {
        var expected = golden.get("logits_" + row).toFloats();
        var found = Agreement.logits(device, folder.resolve("tuned"), Optional.empty(), Precision.F32,
            golden.get("input_ids_" + row).toInts());
        assertThat(found).hasSameSizeAs(expected);
        for (int i = 0; i < expected.length; i++) assertThat(found[i]).isCloseTo(expected[i], offset(2e-3f));
      }
    }
  }

  @Test
  void whatHasNoPlaceIsRefusedBeforeAnythingIsWritten() throws IOException {
    var made = made();
    refused(() -> run(made, "a", "q8_0"), "Hugging Face folder holds f32, bf16 or f16");
    refused(() -> run(made, "a.bin", "f16"), "llama2.c checkpoints hold f32");
    refused(() -> run(made, "a.gguf", "q5_k"), "expected one of f32, bf16, f16, q8_0, q4_0, q4_k");
    refused(() -> run(made, "made", ""), "exists");
    Files.writeString(made.resolve("config.json"), Files.readString(made.resolve("config.json")).replace("10000.0", "500000.0"));
    refused(() -> run(made, "a.bin", ""), "rope_theta 500000.0");
    refused(() -> run(folder.resolve("nowhere"), "a.gguf", ""), "there is no model");
    assertThat(folder.resolve("a")).doesNotExist();
    assertThat(folder.resolve("a.bin")).doesNotExist();
    assertThat(folder.resolve("a-tokenizer.bin")).doesNotExist();
  }

  @Test
  void aLlama2cFileBringsTheTokenizerBesideIt() {
    Conversion.of(data("stories260k/stories260K.bin"), folder.resolve("x.bin")).run(device, Conversion.Listener.NONE);
    assertThat(folder.resolve("x-tokenizer.bin")).hasSameBinaryContentAs(data("stories260k/tok512.bin"));
  }

  @Test
  void aModelWithoutATokenizerIsConvertedWithoutOne() throws IOException {
    var hf = made();
    Files.delete(hf.resolve("tokenizer.model"));
    Files.delete(hf.resolve("tokenizer_config.json"));
    for (var step : List.of("made a.gguf", "a.gguf b.bin", "b.bin c", "c d.gguf")) {
      var names = step.split(" ");
      var r = run(folder.resolve(names[0]), names[1], "");
      assertThat(r.lost()).as(step).contains(0.0);
      assertThat(r.logits().orElseThrow().difference()).as(step).isZero();
      assertThat(r.tokenizer()).as(step).isEmpty();
      assertThat(r.notes()).as(step).anyMatch(n -> n.contains("none was written"));
    }
    assertThat(folder.resolve("c/model.safetensors")).hasSameBinaryContentAs(hf.resolve("model.safetensors"));
    try (var files = Files.walk(folder)) {
      assertThat(files.map(f -> f.getFileName().toString())).noneMatch(n -> n.contains("tok"));
    }
    try (var model = LanguageModel.open(device, folder.resolve("d.gguf"), Optional.empty(), Precision.F32, false)) {
      assertThat(model.tokenizer().bos()).isEqualTo(model.config().bos());
      assertThat(model.config().eos()).isEqualTo(LlamaConfig.read(hf.resolve("config.json")).eos());
      refused(() -> model.tokenizer().encode("a"), "d.gguf holds no tokenizer");
    }
    var text = Conversion.of(hf, folder.resolve("e")).with(new Conversion.Check(true, Optional.of(Precision.F32), Optional.of("a text")));
    refused(() -> text.run(device, Conversion.Listener.NONE), "there is no tokenizer");
  }

  @Test
  void aVocabularyThatLlama2cCannotSpellIsRefusedBeforeAnythingIsWritten() throws IOException {
    var made = made();
    var pieces = Vocabulary.of(SentencePieceBpe.read(made.resolve("tokenizer.model")));
    var texts = new java.util.ArrayList<>(pieces.texts());
    texts.set(texts.indexOf("w"), "zq"); // words with a w are left, the letter is not
    var words = new Vocabulary(pieces.kind(), texts, pieces.scores(), pieces.types(), List.of(), Optional.empty(), true, false, Optional.empty())
        .tokenizer("made", Vocabulary.Ends.of(SentencePieceBpe.read(made.resolve("tokenizer.model"))));
    ((SentencePieceBpe) words).save(made.resolve("tokenizer.model"));
    refused(() -> run(made, "a.bin", ""), "not of the one kind that llama2.c knows");
  }

  private static void refused(org.assertj.core.api.ThrowableAssert.ThrowingCallable call, String words) {
    assertThatThrownBy(call).isInstanceOf(InvalidInput.class).hasMessageContaining(words);
  }

  @Test
  void whoStopsHalfwayLeavesNothing() throws IOException {
    var stories = data("stories260k/hf");
    for (var to : new String[] {"a", "a.gguf", "a.bin"}) {
      for (var phase : new String[] {"writing", "checking"}) {
        assertThatThrownBy(() -> conversion(stories, to, "").run(device, (what, done, all) -> {
          if (what.equals(phase) && done > all / 2) throw new IllegalStateException("enough");
        })).hasMessage("enough");
        assertThatThrownBy(() -> conversion(data("stories260k/hf"), to, "").run(device, (what, done, all) -> {
          if (what.equals(phase) && done > all / 2) throw new UncheckedIOException(new FileSystemException("x", null,
              "No space left on device"));
        })).isInstanceOf(InvalidInput.class).hasMessageContaining("No space left on device");
        try (var left = Files.list(folder)) {
          assertThat(left).isEmpty();
        }
      }
    }
  }

  @Test
  void whatDoesNotAgreeIsFound() throws IOException {
    var hf = data("stories260k/hf");
    var words = Optional.of(data("stories260k/tok512.model"));
    run(hf, "a", "");
    var file = folder.resolve("a/model.safetensors");
    try (var bytes = new java.io.RandomAccessFile(file.toFile(), "rw")) {
      bytes.seek(Files.size(file) - 5); // one mantissa bit of one weight
      int b = bytes.read();
      bytes.seek(Files.size(file) - 5);
      bytes.write(b ^ 1);
    }
    try (var before = Source.open(hf, words); var after = Source.open(folder.resolve("a"), words)) {
      var plan = Plan.of(before, Format.HF, Optional.empty());
      assertThatThrownBy(() -> Agreement.lost(before, after, plan, Writing.Listener.NONE)).isInstanceOf(Disagreement.class)
          .hasMessageContaining("read back");
      var lossy = Plan.of(before, Format.HF, Optional.of(GgufType.F16));
      assertThat(Agreement.lost(before, before, lossy, Writing.Listener.NONE)).isZero();
    }
    var x = new float[] {1, 2, 3, 4};
    Agreement.exact(x, x.clone(), "the same");
    for (float other : new float[] {4.0000005f, Float.NaN, -4}) {
      assertThatThrownBy(() -> Agreement.exact(x, new float[] {1, 2, 3, other}, "no weight changed")).isInstanceOf(Disagreement.class)
          .hasMessageContaining("no weight changed");
    }
    assertThatThrownBy(() -> Agreement.exact(new float[] {Float.NaN}, new float[] {1}, "")).isInstanceOf(Disagreement.class);
    var far = Agreement.of(x, new float[] {1, 2, 4.1f, 4}, 2, false);
    assertThat(far.same()).isEqualTo(1);
    assertThat(far.tokens()).isEqualTo(2);
    assertThat(far.difference()).isCloseTo(1.1, offset(1e-6));
    // ½ Σ p·(ln p − ln q) for p = σ(1), q = σ(−0.1)
    double p = 1 / (1 + Math.exp(-1));
    double q = 1 / (1 + Math.exp(0.1));
    assertThat(far.kl()).isCloseTo((p * Math.log(p / q) + (1 - p) * Math.log((1 - p) / (1 - q))) / 2, offset(1e-6));
  }

  @Test
  void aModelOfTinyWeightsLosesNoMoreThanItsScalesCannotSay() throws IOException {
    var made = made();
    var items = new java.util.ArrayList<Safetensors.Item>();
    try (var files = ModelFiles.open(made)) {
      for (var e : files.entries().values()) {
        var values = e.toFloats();
        if (e.name().endsWith("v_proj.weight")) for (int i = 0; i < values.length; i++) values[i] *= 1e-5f;
        var bytes = java.lang.foreign.MemorySegment.ofArray(new byte[4 * values.length])
            .copyFrom(java.lang.foreign.MemorySegment.ofArray(values));
        items.add(new Safetensors.Item(e.name(), "F32", e.shape(), bytes));
      }
      ModelFiles.write(made, items, 1 << 30);
    }
    for (var dtype : new String[] {"f16", "q8_0", "q4_0", "q4_k"}) assertThat(run(made, dtype + ".gguf", dtype).lost()
        .orElseThrow()).isLessThan(0.12);
  }

  @Test
  void weightsThatF16CannotHoldAreRefusedByName() throws IOException {
    var made = made();
    var items = new java.util.ArrayList<Safetensors.Item>();
    try (var files = ModelFiles.open(made)) {
      for (var e : files.entries().values()) {
        var values = e.toFloats();
        if (e.name().equals("model.layers.1.mlp.up_proj.weight")) values[7] = 7e9f;
        var bytes = java.lang.foreign.MemorySegment.ofArray(new byte[4 * values.length])
            .copyFrom(java.lang.foreign.MemorySegment.ofArray(values));
        items.add(new Safetensors.Item(e.name(), "F32", e.shape(), bytes));
      }
      ModelFiles.write(folder.resolve("made"), items, 1 << 30);
    }
    for (var dtype : new String[] {"f16", "q8_0", "q4_0", "q4_k"}) refused(() -> run(made, "a.gguf", dtype),
        "model.layers.1.mlp.up_proj.weight cannot be stored as");
    assertThat(folder.resolve("a.gguf")).doesNotExist();
    assertThat(run(made, "a.gguf", "bf16").lost().orElseThrow()).isLessThan(0x1p-8);
  }

  @Test
  void largeFoldersAreShardedAndRead() throws IOException {
    var made = made();
    try (var source = Source.open(made, Optional.empty())) {
      var target = Files.createDirectory(folder.resolve("sharded"));
      Targets.folder(target, source, Plan.of(source, Format.HF, Optional.empty()), 1_000_000, Writing.Listener.NONE);
      assertThat(target.resolve("model.safetensors.index.json")).exists();
      assertThat(target.resolve("model.safetensors")).doesNotExist();
      try (var files = Source.open(target, Optional.empty())) {
        assertThat(Agreement.lost(source, files, Plan.of(source, Format.HF, Optional.empty()), Writing.Listener.NONE)).isZero();
      }
    }
  }
}
