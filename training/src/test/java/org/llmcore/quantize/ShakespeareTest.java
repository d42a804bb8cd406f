package org.llmcore.quantize;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import org.llmcore.cpu.CpuDevice;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Precision;
import org.llmcore.op.Device;
import org.llmcore.train.RecipeFile;
import org.llmcore.train.TrainingRun;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assumptions.assumeThat;

/// Fewer bits are worse and GPTQ is better than rounding on a model of 3.7 million parameters that is trained here, by
/// `recipes/shakespeare-4m.yaml`, unless `-Dllm.shakespeare=` names the folder of one that has been.
@Tag("slow")
class ShakespeareTest {
  private static final Path TEXT = Path.of(System.getProperty("llm.data", "../shared/data"), "tinyshakespeare/input.txt");
  private static final int TRAINED_ON = 1_000_000;

  @TempDir private Path folder;

  private Path model(Device device, Path text) throws IOException {
    var given = System.getProperty("llm.shakespeare");
    if (given != null) return Path.of(given);
    var recipe = RecipeFile.read(Path.of("../recipes/shakespeare-4m.yaml"), List.of("data.path=" + text));
    new TrainingRun(device, recipe, folder.resolve("run")).run();
    return folder.resolve("run/model");
  }

  @Test
  void fewerBitsAreWorseAndGptqIsBetterThanRoundingUpToFour() throws IOException {
    assumeThat(Files.exists(TEXT)).as("no data/tinyshakespeare: set llm.data").isTrue();
    var all = Files.readAllBytes(TEXT);
    var train = Files.write(folder.resolve("train.txt"), Arrays.copyOf(all, TRAINED_ON));
    var test = Files.write(folder.resolve("test.txt"), Arrays.copyOfRange(all, TRAINED_ON, all.length));
    var table = new StringBuilder();
    try (var device = new CpuDevice(true, 2); var team = new Team(2)) {
      var path = model(device, train);
      try (var original = LanguageModel.open(device, path, Optional.empty(), Precision.F32, false);
          var source = Source.open(path, Optional.empty())) {
        var seen = Calibration.of(train, original.tokenizer(), 256, 64, false, 1).text();
        var unseen = Calibration.sequences(test, original.tokenizer(), 256).subList(0, 64);
        double before = 0;
        for (int bits : new int[] {8, 4, 3, 2}) {
          var gptq = quantized(device, team, source, original, Settings.gptq(bits, -1), seen, unseen);
          var rtn = quantized(device, team, source, original, Settings.gptq(bits, -1).nearest(), List.of(), unseen);
          table.append("| %d | %.3f | %.3f | %.3f | %.5f | %.5f | %.1f %% | %.1f %% |%n".formatted(
              bits, gptq.original().value(), rtn.quantized().value(), gptq.quantized().value(), rtn.kl(), gptq.kl(),
              100 * rtn.agreement().accuracy(), 100 * gptq.agreement().accuracy()));
          System.out.print(table.substring(table.lastIndexOf("| " + bits + " |")));
          // 8 bits are the original but for chance.
          assertThat(gptq.ratio().value()).as(bits + " bits").isGreaterThanOrEqualTo(bits == 8 ? 0.999 : before);
          before = gptq.ratio().value();
          if (bits > 4) continue;
          assertThat(gptq.quantized().value()).as(bits + " bits").isLessThan(rtn.quantized().value());
          assertThat(gptq.kl()).as(bits + " bits").isLessThan(rtn.kl());
        }
      }
    }
  }

  private Comparison quantized(Device device, Team team, Source source, LanguageModel original, Settings s, List<int[]> seen,
      List<int[]> unseen) {
    var out = folder.resolve(s.method() + "-" + s.bits());
    ModelQuantizer.quantize(device, team, source, s, seen, out, (_, _, _) -> {});
    try (var quantized = LanguageModel.open(device, out, Optional.empty(), Precision.F32, false)) {
      return Comparison.of(device, team, original.decoder(), quantized.decoder(), unseen, _ -> {});
    }
  }
}
