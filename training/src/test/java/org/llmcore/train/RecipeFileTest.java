package org.llmcore.train;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;

import org.assertj.core.api.AbstractThrowableAssert;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

import org.llmcore.InvalidInput;
import org.llmcore.data.TooLong;
import org.llmcore.model.Precision;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

class RecipeFileTest {
  private static final String SHORT = "model: {path: embedded:tiny}\ndata: {path: embedded:sql}\n";
  private static final String SCRATCH =
      """
      model:
        init: scratch
        precision: bf16
        config: {hidden: 64, layers: 5, heads: 8, kvHeads: 4, contextLength: 512, tiedHead: true}
      tokenizer: tok/tokenizer.model
      data: {path: text.txt, format: text, validation: 0.1, pack: true, maxLength: 256, tooLong: truncate}
      training: {epochs: 0.5, maxSteps: 1_000, batch: 16, microBatch: 4, learningRate: 1e-3, schedule: linear, warmupSteps: 100, clip: 0, checkpointing: on, threads: 2}
      evaluation: {every: 50, task: loss, items: 64, patience: 3}
      checkpoints: {every: 100, keep: 1}
      output: {folder: out, name: shakespeare}
      """;

  @TempDir Path folder;

  private static Recipe parse(String yaml, String... overrides) {
    return RecipeFile.parse(yaml, "recipe.yaml", List.of(overrides));
  }

  private static AbstractThrowableAssert<?, ?> refused(String yaml, String... overrides) {
    return assertThatThrownBy(() -> parse(yaml, overrides)).isInstanceOf(InvalidInput.class);
  }

  @Test
  void gapsAreFilledWithTheDocumentedValues() {
    var recipe = parse(SHORT);
    assertThat(recipe.model()).isEqualTo(new Recipe.Pretrained(new Recipe.Source("embedded:tiny"), Precision.F32));
    assertThat(recipe.method()).isEqualTo(new Recipe.LowRank(8, 16, 0, new Recipe.AllLinear(), false));
    assertThat(recipe.training().learningRate()).isEqualTo(2e-4);
    assertThat(recipe.training().microBatch()).isEqualTo(8);
    assertThat(recipe.training().schedule()).isEqualTo(LrSchedule.Kind.COSINE);
    assertThat(parse(SHORT + "method: full").training().learningRate()).isEqualTo(2e-5);
    assertThat(parse(SCRATCH, "training.learningRate=").training().learningRate()).isEqualTo(5e-4);
  }

  @Test
  void everyWordOfARecipeIsUnderstood() {
    var recipe = parse(SCRATCH);
    var architecture = ((Recipe.Scratch) recipe.model()).architecture();
    assertThat(architecture.headDim()).isEqualTo(8);
    assertThat(architecture.intermediate()).isEqualTo(256);
    assertThat(architecture.tiedHead()).isTrue();
    assertThat(recipe.method()).isEqualTo(new Recipe.Full());
    assertThat(recipe.data().tooLong()).isEqualTo(TooLong.TRUNCATE);
    assertThat(recipe.training().maxSteps()).hasValue(1000);
    assertThat(recipe.training().learningRate()).isEqualTo(1e-3);
    assertThat(recipe.training().checkpointing()).isTrue();
    assertThat(recipe.evaluation().patience()).hasValue(3);
    assertThat(recipe.output().name()).contains("shakespeare");
  }

  @ParameterizedTest
  @ValueSource(strings = {
    SHORT, SCRATCH, SHORT + "method: full", SHORT + "method: {r: 4, alpha: 32, dropout: 0.05, targets: [q_proj, v_proj], rslora: true}",
    SHORT + "method: {targets: '.*layers\\.[01]\\..*q_proj'}", SHORT + "output: {name: '007'}", SHORT + "output: {name: 1e3, folder: 'on'}",
    SHORT + "training: {seed: 9007199254740993, minLearningRate: 1.0e-7}"
  })
  void whatIsWrittenReadsAsTheSameRecipe(String yaml) {
    var recipe = parse(yaml);
    assertThat(parse(RecipeFile.toYaml(recipe))).isEqualTo(recipe);
  }

  @Test
  void aWrittenRecipeReadsWell() {
    assertThat(RecipeFile.toYaml(parse(SHORT)))
        .startsWith("model:\n  path: embedded:tiny\n  precision: f32\nmethod:\n  type: lora\n  r: 8\n  alpha: 16.0\n")
        .contains("  learningRate: 2.0E-4\n");
  }

  @Test
  void anUnknownKeyIsRefusedWithItsPathAndTheNearestKey() {
    refused(SHORT + "training: {learningrate: 1e-4}").hasMessageContaining("unknown key training.learningrate").hasMessageContaining("did you mean learningRate?");
    refused(SHORT + "trainin: {}").hasMessageContaining("unknown key trainin").hasMessageContaining("did you mean training?");
    refused(SHORT + "training: {zzz: 1}").hasMessageContaining("known here: batch, beta1");
    refused(SCRATCH.replace("layers: 5", "layers: 5, hiden: 3")).hasMessageContaining("unknown key model.config.hiden");
    refused(SHORT + "method: {type: full, r: 8}").hasMessageContaining("unknown key method.r");
  }

  @Test
  void aValueOfAnotherTypeIsNamed() {
    refused(SHORT + "training: {batch: many}").hasMessageContaining("training.batch is the text \"many\"").hasMessageContaining("a number");
    refused(SHORT + "training: {batch: 1.5}").hasMessageContaining("training.batch is the number 1.5").hasMessageContaining("a whole number");
    refused(SHORT + "training: {batch: [8]}").hasMessageContaining("training.batch is a list [8]");
    refused(SHORT + "training: {checkpointing: 3}").hasMessageContaining("expected true or false");
    refused(SHORT + "training: 3").hasMessageContaining("training is the number 3");
    refused(SHORT + "training: {schedule: cosin}").hasMessageContaining("did you mean cosine?");
    refused(SHORT + "training: {maxSteps: 99999999999}").hasMessageContaining("training.maxSteps");
    refused(SHORT + "data: {path: {a: b}}").hasMessageContaining("recipe.yaml");
  }

  @Test
  void overridesWinInTheirOrder() {
    var recipe = parse(SHORT, "training.learningRate=1e-3", "training.batch=4", "method=full", "training.batch=2", "output.name=again");
    assertThat(recipe.training().learningRate()).isEqualTo(1e-3);
    assertThat(recipe.training().batch()).isEqualTo(2);
    assertThat(recipe.method()).isEqualTo(new Recipe.Full());
    assertThat(parse(SHORT + "method: lora\n", "method.r=32", "method.targets=[q_proj, v_proj]").method())
        .isEqualTo(new Recipe.LowRank(32, 64, 0, new Recipe.Suffixes(List.of("q_proj", "v_proj")), false));
    refused(SHORT, "training.learningrate=1").hasMessageContaining("unknown key training.learningrate");
    refused(SHORT, "nonsense").hasMessageContaining("expected key=value");
  }

  @Test
  void whatIsAdaptedMayDifferFromLayerToLayer() {
    var recipe = parse(SHORT + """
        method:
          type: lora
          rankPattern: {down_proj: 4, 'layers\\.0\\..*': 2}
          alphaPattern: {down_proj: 8}
          layersToTransform: [0, 2]
          layersPattern: layers
          modulesToSave: [embed_tokens, lm_head]
        """);
    var m = (Recipe.LowRank) recipe.method();
    assertThat(m.rankPattern()).containsExactly(Map.entry("down_proj", 4), Map.entry("layers\\.0\\..*", 2));
    assertThat(m.alphaPattern()).containsExactly(Map.entry("down_proj", 8.0));
    assertThat(m.layers()).containsExactly(0, 2);
    assertThat(m.layersPattern()).containsExactly("layers");
    assertThat(m.modulesToSave()).containsExactly("embed_tokens", "lm_head");
    assertThat(RecipeFile.parse(RecipeFile.toYaml(recipe))).isEqualTo(recipe);
    refused(SHORT + "method: {type: lora, rankPattern: {q_proj: 0}}").hasMessageContaining("method.rankPattern.q_proj is 0");
    refused(SHORT + "method: {type: lora, rankPattern: {q_proj: many}}").hasMessageContaining("rankPattern.q_proj");
    refused(SHORT + "method: {type: lora, layersToTransform: [-1]}").hasMessageContaining("layersToTransform");
    refused(SHORT + "method: {type: lora, layersToTransform: [a]}").hasMessageContaining("a list of whole numbers");
    refused(SHORT + "method: {type: lora, layersPattern: h}").hasMessageContaining("without layersToTransform");
    refused(SHORT + "method: {type: lora, targets: '.*q_proj', layersToTransform: [0]}").hasMessageContaining("an expression");
    refused(SHORT + "method: {type: lora, modulesToSave: {a: b}}").hasMessageContaining("a list of words");
  }

  @Test
  void contradictionsAreRefused() {
    refused("data: {path: x}").hasMessageContaining("has no model");
    refused("model: {path: x}").hasMessageContaining("has no data");
    refused("model: {path: x, init: scratch}\ndata: {path: x}").hasMessageContaining("exclude each other");
    refused("model: {path: x, config: {hidden: 1}}\ndata: {path: x}").hasMessageContaining("init: scratch");
    refused(SCRATCH + "method: lora").hasMessageContaining("needs a trained base");
    refused(SCRATCH, "model.config.heads=7").hasMessageContaining("not a multiple of heads 7");
    refused(SHORT + "training: {batch: 8, microBatch: 3}").hasMessageContaining("does not divide");
  }

  @Test
  void hostileFilesAreRefusedBeforeTheyGrow() throws IOException {
    refused("a: &x [1]\nb: *x\n").hasMessageContaining("anchors and aliases");
    refused("a: ".repeat(1) + "[".repeat(10_000)).hasMessageContaining("recipe.yaml");
    refused("x".repeat(2 << 20)).hasMessageContaining("at most");
    refused("model: {path: a\ndata").hasMessageContaining("is not YAML");
    refused("model: {path: a}\nmodel: {path: b}\n").hasMessageContaining("uplicate");
    refused("[1, 2]").hasMessageContaining("holds no recipe");
    Path big = Files.write(folder.resolve("big.yaml"), new byte[2 << 20]);
    assertThatThrownBy(() -> RecipeFile.read(big, List.of())).isInstanceOf(InvalidInput.class).hasMessageContaining("2097152 bytes");
    assertThatThrownBy(() -> RecipeFile.read(folder, List.of())).isInstanceOf(InvalidInput.class).hasMessageContaining("is not a file");
    assertThatThrownBy(() -> RecipeFile.read(folder.resolve("none.yaml"), List.of())).isInstanceOf(NoSuchFileException.class);
  }

  @Test
  void everyRecipeOfTheRepositoryIsUnderstood() throws IOException {
    try (var files = Files.list(Path.of("../recipes"))) {
      var all = files.toList();
      assertThat(all).hasSizeGreaterThan(3);
      for (var file : all) assertThat(RecipeFile.parse(RecipeFile.toYaml(RecipeFile.read(file, List.of())))).isEqualTo(RecipeFile.read(file, List.of()));
    }
  }
}
