package org.llmcore.quantize;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.stream.IntStream;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.GptqConfig.Version;
import org.llmcore.checkpoint.ModelFiles;
import org.llmcore.cpu.CpuDevice;
import org.llmcore.data.TooLong;
import org.llmcore.generate.Generator;
import org.llmcore.generate.Sampling;
import org.llmcore.model.DenseLinear;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Precision;
import org.llmcore.model.QuantLinear;
import org.llmcore.op.Device;
import org.llmcore.quant.GroupedCodes;
import org.llmcore.train.Embedded;
import org.llmcore.train.LrSchedule;
import org.llmcore.train.Recipe;
import org.llmcore.train.TrainingListener;
import org.llmcore.train.TrainingRun;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assumptions.assumeThat;

/// Whole models: what is written is what was meant, and GPTQ is worth its time.
class QuantizedModelTest {
  private static final Path STORIES = Path.of(System.getProperty("llm.data", "../shared/data"), "stories260k");
  private static final ModelQuantizer.Progress SILENT = (_, _, _) -> {};
  private static final Device DEVICE = new CpuDevice(true, 1);
  private static final Team TEAM = new Team(1);

  @TempDir private Path folder;

  private static Path sqlBase() {
    return Embedded.path("embedded:sql-base");
  }

  private ModelQuantizer.Result quantize(Path model, Optional<Path> tokenizer, Settings s, List<int[]> text, String name) {
    try (var source = Source.open(model, tokenizer)) {
      return ModelQuantizer.quantize(DEVICE, TEAM, source, s, text, folder.resolve(name), SILENT);
    }
  }

  private LanguageModel open(String name) {
    return LanguageModel.open(DEVICE, folder.resolve(name), Optional.empty(), Precision.F32, false);
  }

  /// What the model itself says: text it knows, at no cost.
  private static List<int[]> spoken(LanguageModel model, int sequences, int tokens) {
    try (var generator = new Generator(DEVICE, model.decoder(), model.tokenizer(), 16, tokens)) {
      var requests = new ArrayList<Generator.Request>();
      for (int i = 0; i < sequences; i++) {
        requests.add(new Generator.Request(new int[] {1}, tokens - 1, new Sampling(1, 0, 1, 0, 1, i), List.of(),
            Generator.Listener.NONE));
      }
      return generator.generate(requests).stream().map(g -> {
        var all = new int[1 + g.ids().length];
        all[0] = 1;
        System.arraycopy(g.ids(), 0, all, 1, g.ids().length);
        return all;
      }).filter(ids -> ids.length > 8).toList();
    }
  }

  @Test
  void gptqBeatsRoundToNearestAtEveryWidthAndMoreBitsAreBetter() throws IOException {
    assumeThat(Files.exists(STORIES)).as("no data/stories260k: set llm.data").isTrue();
    var words = Optional.of(STORIES.resolve("tok512.model"));
    var table = new StringBuilder();
    try (var original = LanguageModel.open(DEVICE, STORIES.resolve("hf"), words, Precision.F32, false)) {
      var text = spoken(original, 72, 160);
      var seen = text.subList(0, 48);
      var unseen = text.subList(48, text.size());
      double before = 1; // ratio of the original
      for (int bits : new int[] {8, 4, 3, 2}) {
        var of = new ArrayList<Comparison>();
        for (var method : Settings.Method.values()) {
          var s = new Settings(method, bits, 32, false, false, false, false, Settings.DAMP);
          var result = quantize(STORIES.resolve("hf"), words, s, seen, method + "-" + bits);
          if (method == Settings.Method.GPTQ) {
            assertThat(result.layers()).hasSize(35)
                .allSatisfy(l -> assertThat(l.error().getAsDouble()).isLessThanOrEqualTo(l.roundToNearest().getAsDouble()));
          }
          try (var quantized = open(method + "-" + bits)) {
            of.add(Comparison.of(DEVICE, TEAM, original.decoder(), quantized.decoder(), unseen, _ -> {}));
          }
        }
        var rtn = of.getFirst();
        var gptq = of.getLast();
        table.append("| %d | %.4f | %.4f | %.4f | %.1f %% | %.1f %% |%n".formatted(bits, gptq.original().value(), rtn.quantized()
            .value(), gptq.quantized().value(),
            100 * rtn.agreement().accuracy(), 100 * gptq.agreement().accuracy()));
        assertThat(gptq.ratio().value())
            .isGreaterThanOrEqualTo(bits == 8 ? 0.999 : before); // 8 bits are the original but for chance
        before = gptq.ratio().value();
        if (bits <= 4) {
          assertThat(gptq.quantized().value()).isLessThan(rtn.quantized().value());
          assertThat(gptq.kl()).isLessThan(rtn.kl());
        }
        if (bits == 2) assertThat(rtn.verdict()).isEqualTo(Comparison.Verdict.UNUSABLE);
        if (bits == 8) assertThat(gptq.verdict()).isEqualTo(Comparison.Verdict.GOOD);
      }
    }
    System.out.printf("| bits | original | rtn | gptq | top-1 rtn | top-1 gptq |%n%s", table);
  }

  @Test
  void mixedBitsLieBetweenTheirNeighboursAndComeBackFromTheFiles() throws IOException {
    assumeThat(Files.exists(STORIES)).as("no data/stories260k: set llm.data").isTrue();
    var words = Optional.of(STORIES.resolve("tok512.model"));
    try (var original = LanguageModel.open(DEVICE, STORIES.resolve("hf"), words, Precision.F32, false);
        var source = Source.open(STORIES.resolve("hf"), words)) {
      var text = spoken(original, 40, 128);
      var seen = text.subList(0, 28);
      var unseen = text.subList(28, text.size());
      var s = Settings.gptq(4, 32);
      var errors = MixedBits.measure(DEVICE, TEAM, source, s, seen, (_, _) -> {});
      // With groups of 32 three bits cost 3 + 19/32 = 3.594 per weight, four 4.625.
      var chosen = errors.within(4.1);
      assertThat(chosen.average()).isBetween(4.0, 4.1);
      assertThat(chosen.bits()).hasSize(35);
      assertThat(new java.util.HashSet<>(chosen.bits().values())).hasSizeGreaterThan(1);
      assertThat(MixedBits.measure(DEVICE, TEAM, source, s, seen, (_, _) -> {}).within(4.1)).isEqualTo(chosen);
      var kl = new ArrayList<Double>();
      for (int bits : new int[] {3, 0, 4}) {
        var mixed = bits == 0 ? chosen.bits() : java.util.Map.<String, Integer>of();
        var result = ModelQuantizer.quantize(DEVICE, TEAM, source, s.withBits(bits == 0 ? 4 : bits), mixed, seen,
            folder.resolve("m" + bits), SILENT);
        if (bits == 0) for (var l : result.layers()) assertThat(l.bits()).as(l.name()).isEqualTo(chosen.bits().get(l.name()));
        try (var quantized = open("m" + bits)) {
          assertThat(quantized.notes()).isEmpty();
          kl.add(Comparison.of(DEVICE, TEAM, original.decoder(), quantized.decoder(), unseen, _ -> {}).kl());
        }
      }
      assertThat(kl.get(1)).isBetween(kl.get(2), kl.get(0));
      // A reader that only knows `dynamic` must find the bits of every layer, and of what engines fuse.
      var config = org.llmcore.checkpoint.GptqConfig.find(folder.resolve("m0")).orElseThrow();
      chosen.bits().forEach((layer, b) -> {
        for (var name : List.of(layer, layer.replaceFirst("[qkv]_proj$", "qkv_proj").replaceFirst("(gate|up)_proj$",
            "gate_up_proj"))) {
          var found = config.dynamic().entrySet().stream()
              .filter(e ->
                  java.util.regex.Pattern.compile(e.getKey().substring(2)).matcher(name).lookingAt()).map(java.util.Map.Entry::getValue).findFirst();
          assertThat(found.orElse(config.bits())).as(name).isEqualTo(b);
        }
      });
    }
  }

  /// The MLP's width of 172 is stored as 192: what a budget counts is what the files hold.
  @Test
  void bitsPerWeightAreThoseOfTheFiles() {
    assumeThat(Files.exists(STORIES)).as("no data/stories260k: set llm.data").isTrue();
    var words = Optional.of(STORIES.resolve("tok512.model"));
    var text = List.of(IntStream.range(1, 200).toArray(), IntStream.range(200, 400).toArray());
    try (var source = Source.open(STORIES.resolve("hf"), words)) {
      var s = Settings.gptq(4, 32);
      var chosen = MixedBits.measure(DEVICE, TEAM, source, s, text, (_, _) -> {}).within(4.1);
      var result = ModelQuantizer.quantize(DEVICE, TEAM, source, s, chosen.bits(), text, folder.resolve("mixed"), SILENT);
      long stored = 0;
      try (var files = ModelFiles.open(folder.resolve("mixed"))) {
        for (var e : files.entries().values()) {
          if (e.name().matches(".*\\.(qweight|qzeros|scales)")) stored += 8 * e.data().byteSize();
        }
      }
      double average = (double) stored / result.layers().stream().mapToLong(l -> (long) l.outputs() * l.inputs()).sum();
      var receipt = new Receipt("m", s, 0, result.layers(), Optional.empty(), Optional.empty(), 0, 0, 0, List.of());
      assertThat(receipt.bitsPerWeight()).isEqualTo(average).isEqualTo(chosen.average()).isBetween(4.0, 4.1);
      // Whatever the budget, what is refused before measuring is what would be refused after it.
      assertThatThrownBy(() -> MixedBits.checkBudget(source, s, 2.77)).isInstanceOf(InvalidInput.class).hasMessageContaining("2.780");
      MixedBits.checkBudget(source, s, 2.78);
    }
  }

  @Test
  void theFilesHoldWhatTheQuantizerMeantForEveryOption() {
    try (var original = LanguageModel.open(DEVICE, sqlBase(), Optional.empty(), Precision.F32, false)) {
      var text = spoken(original, 6, 48);
      for (int bits : new int[] {2, 3, 4, 8}) {
        for (int option = 0; option < 2; option++) {
          boolean rows = bits == 8 && option == 1;
          var s = new Settings(Settings.Method.GPTQ, bits, rows ? -1 : 32, option == 0, option == 1, bits == 4, false,
              Settings.DAMP);
          var name = bits + "-" + option;
          var result = quantize(sqlBase(), Optional.empty(), s, text, name);
          try (var quantized = open(name)) {
            assertThat(quantized.notes()).isEmpty();
            assertThat(quantized.decoder().linears()).allMatch(l -> l instanceof QuantLinear);
            // The first layer that is quantized is k of block 0: what the file says of it must err as the report says.
            var first = result.layers().getFirst();
            var block = original.decoder().blocks().getFirst();
            var w = ((DenseLinear) block.attention().k()).w().toFloats();
            var q = ((QuantLinear) quantized.decoder().blocks().getFirst().attention().k()).w();
            try (var h = new Hessian(DEVICE, q.inputs()); var seen = Activations.of(DEVICE, text, original.decoder())) {
              seen.inputs(block, Activations.Stage.ATTENTION, h::add);
              double all = h.squared(w, q.outputs());
              for (int o = 0; o < q.outputs(); o++) for (int c = 0; c < q.inputs(); c++) w[o * q.inputs() + c] -= q.get(o, c);
              assertThat(first.name()).isEqualTo("model.layers.0.self_attn.k_proj");
              assertThat(h.squared(w, q.outputs()) / all).isEqualTo(first.error().getAsDouble());
            }
          }
        }
      }
    }
  }

  @Test
  void theResultIsAFunctionOfTextAndSettingsOnly() throws IOException {
    List<int[]> text;
    try (var original = LanguageModel.open(DEVICE, sqlBase(), Optional.empty(), Precision.F32, false)) {
      text = spoken(original, 6, 48);
    }
    quantize(sqlBase(), Optional.empty(), Settings.gptq(4, 64), text, "a");
    try (var device = new CpuDevice(false, 3); var team = new Team(3); var source = Source.open(sqlBase(), Optional.empty())) {
      ModelQuantizer.quantize(device, team, source, Settings.gptq(4, 64), text, folder.resolve("b"), SILENT);
    }
    assertThat(folder.resolve("b/model.safetensors")).hasSameBinaryContentAs(folder.resolve("a/model.safetensors"));
  }

  @Test
  void anAdapterIsTrainedOnTop() throws IOException {
    quantize(sqlBase(), Optional.empty(), new Settings(Settings.Method.RTN, 4, 32, true, false, false, false, Settings.DAMP),
        List.of(), "base");
    var s = new StringBuilder();
    for (int i = 0; i < 200; i++) s.append("{\"prompt\":\"colour of ").append(i % 5).append("\",\"completion\":\"")
        .append(List.of("red", "blue", "green", "black", "white").get(i % 5)).append("\"}\n");
    var data = Files.writeString(folder.resolve("pairs.jsonl"), s);
    var recipe = new Recipe(
        new Recipe.Pretrained(new Recipe.Source(folder.resolve("base").toString()), Precision.F32), Optional.empty(),
        new Recipe.LowRank(8, 16, 0, new Recipe.AllLinear(), false),
        new Recipe.Data(new Recipe.Source(data.toString()), Optional.empty(), 0.1, OptionalInt.empty(), false, TooLong.REFUSE),
        new Recipe.Training(50, OptionalInt.of(25), 8, 8, 1e-2, LrSchedule.Kind.COSINE, 2, 0, 0, 0.9, 0.999, 1e-8, 1, 7,
            OptionalInt.empty(), false),
        new Recipe.Evaluation(4, Recipe.Task.LOSS, 24, OptionalInt.empty()), new Recipe.Checkpoints(30, 2),
            new Recipe.Output(folder.toString(), Optional.empty()));
    var summary = new TrainingRun(DEVICE, recipe, folder.resolve("run"), false, TrainingListener.NONE, () -> false).run();
    assertThat(summary.lastLoss()).isLessThan(0.5 * summary.firstLoss());
    assertThat((double) summary.peakBytes())
        .isCloseTo(summary.plannedPeakBytes(), org.assertj.core.data.Percentage.withPercentage(1));
  }

  @Test
  void whatCannotBeDoneIsRefusedAndLeavesNothing() {
    assertThatThrownBy(() -> quantize(sqlBase(), Optional.empty(), Settings.gptq(4, 32), List.of(), "none"))
        .isInstanceOf(InvalidInput.class)
        .hasMessageContaining("calibration");
    quantize(sqlBase(), Optional.empty(), new Settings(Settings.Method.RTN, 8, -1, false, false, false, false, Settings.DAMP),
        List.of(), "once");
    assertThatThrownBy(() -> quantize(folder.resolve("once"), Optional.empty(), Settings.gptq(4, 32), List.of(new int[] {1, 2}),
        "twice"))
        .isInstanceOf(InvalidInput.class).hasMessageContaining("quantized already");
    assertThat(folder.toFile().list()).containsExactly("once");
  }

  @Test
  void transformersComputesTheSameLogitsFromTheFiles() throws IOException, InterruptedException {
    var peer = System.getProperty("llm.peers");
    assumeThat(peer == null || peer.isEmpty()).as("no Python of peers is named by -Dllm.peers").isFalse();
    var python = Path.of(peer).toString();
    var ids = new int[] {1, 5, 9, 300, 42, 7};
    List<int[]> text;
    try (var original = LanguageModel.open(DEVICE, sqlBase(), Optional.empty(), Precision.F32, false)) {
      text = spoken(original, 4, 48);
    }
    var script = Files.write(folder.resolve("gptq_peer.py"), QuantizedModelTest.class.getResourceAsStream("gptq_peer.py")
        .readAllBytes());
    var command = new ArrayList<>(List.of(python, script.toString(), java.util.Arrays.toString(ids)));
    for (int bits : new int[] {2, 3, 4, 8}) {
      var s = new Settings(Settings.Method.GPTQ, bits, 32, bits == 3, bits > 3, false, false, Settings.DAMP);
      quantize(sqlBase(), Optional.empty(), s, text, "w" + bits);
      command.add(folder.resolve("w" + bits).toString());
    }
    var out = folder.resolve("out.json");
    var process = new ProcessBuilder(command).redirectOutput(out.toFile()).redirectError(ProcessBuilder.Redirect.DISCARD).start();
    assertThat(process.waitFor()).isZero();
    var theirs = new com.fasterxml.jackson.databind.ObjectMapper().readTree(out.toFile());
    for (int b = 0; b < 4; b++) {
      try (var model = open("w" + new int[] {2, 3, 4, 8}[b]); var region = org.llmcore.tensor.Region.growing("test")) {
        var p = org.llmcore.op.Pass.inference(DEVICE, region);
        var tokens = org.llmcore.model.Tokens.of(p, ids);
        var hidden = model.decoder()
            .hidden(p, tokens, new org.llmcore.model.Mixing.Within(tokens.starts()), false, new ArrayList<>());
        var ours = model.decoder().logits(p, hidden).toFloats();
        assertThat(theirs.get(b)).hasSize(ours.length);
        for (int i = 0; i < ours.length; i++) assertThat((double) ours[i])
            .isCloseTo(theirs.get(b).get(i).asDouble(), org.assertj.core.data.Offset.offset(1e-3));
      }
    }
  }

  @Test
  void zerosMoveUpWhereTheyCanAndChannelsOfNothingAreAdded() {
    // Row 0: zero 0 with the top code unused; row 1: zero 0 with the top code used.
    var c = new GroupedCodes(2, 2, 3, 3, new byte[] {0, 1, 2, 0, 1, 3}, new float[] {1, 2}, new int[] {0, 0}, Optional.empty());
    var lifted = Storage.lifted(c);
    assertThat(lifted.zeros()).containsExactly(1, 0);
    assertThat(Hessian.values(lifted)).isEqualTo(Hessian.values(c));
    var wide = Storage.padded(c, 4, 5);
    var values = Hessian.values(wide);
    for (int o = 0; o < 4; o++) {
      for (int i = 0; i < 5; i++) assertThat(values[o * 5 + i]).isEqualTo(o < 2 && i < 3 ? Hessian.values(c)[o * 3 + i] : 0);
    }
    assertThat(Version.V1.offset()).isEqualTo(1);
  }
}
