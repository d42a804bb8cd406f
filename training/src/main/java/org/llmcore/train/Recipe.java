package org.llmcore.train;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

import org.llmcore.InvalidInput;
import org.llmcore.data.Format;
import org.llmcore.data.TooLong;
import org.llmcore.model.Precision;

/// Everything that decides the outcome of a training run: what a recipe file says after its gaps are filled. Every value has
/// been checked when a record exists; what depends on the model or the data (contexts, layers, vocabularies) is checked there.
///
/// The words of the file (`training.microBatch`) are the names of the components; `org.llmcore.cli.RecipeFile` reads and writes
/// them.
///
/// @param tokenizer where the tokenizer lies, if not with the model
public record Recipe(
    Model model, Optional<Source> tokenizer, Method method, Data data, Training training, Evaluation evaluation, Checkpoints checkpoints, Output output) {

  /// A place: a path, or something that comes with the program (`embedded:<name>`).
  public record Source(String text) {
    private static final String EMBEDDED = "embedded:";

    public Source {
      check(!text.isBlank() && !text.equals(EMBEDDED), "a path is empty", "write a file, a folder, or embedded:<name>");
    }

    /// The name behind `embedded:`, if this is no path.
    public Optional<String> embedded() {
      return text.startsWith(EMBEDDED) ? Optional.of(text.substring(EMBEDDED.length())) : Optional.empty();
    }
  }

  /// The model to start from.
  public sealed interface Model {
    /// How weights are kept and activations flow.
    Precision precision();
  }

  /// A model that exists: a Hugging Face folder, a llama2.c file, or an embedded one.
  public record Pretrained(Source source, Precision precision) implements Model {}

  /// Fresh weights of this shape.
  public record Scratch(Architecture architecture, Precision precision) implements Model {}

  /// Shape of a Llama 2 model.
  ///
  /// @param kvHeads heads of keys and values; as many as `heads` without grouping
  /// @param intermediate inner width of the MLP; Llama's is 256·⌈⌊8/3·hidden⌋/256⌉
  /// @param vocabulary number of ids; absent: the tokenizer's
  /// @param tiedHead whether the output projection is the embedding
  public record Architecture(
      int hidden, int layers, int heads, int kvHeads, int headDim, int intermediate, OptionalInt vocabulary, int contextLength,
      double normEps, double ropeTheta, boolean tiedHead) {
    public Architecture {
      atLeast("model.config.hidden", hidden, 1);
      atLeast("model.config.layers", layers, 1);
      atLeast("model.config.heads", heads, 1);
      atLeast("model.config.kvHeads", kvHeads, 1);
      atLeast("model.config.intermediate", intermediate, 1);
      atLeast("model.config.contextLength", contextLength, 2);
      if (vocabulary.isPresent()) atLeast("model.config.vocabulary", vocabulary.getAsInt(), 2);
      check(heads % kvHeads == 0, "model.config.heads is " + heads + ", not a multiple of kvHeads " + kvHeads, "every kv head serves the same number of heads");
      check(headDim >= 2 && headDim % 2 == 0, "model.config.headDim is " + headDim, "rotary positions need an even number, usually hidden / heads");
      check(normEps > 0 && normEps < 1, "model.config.normEps is " + normEps, "expected a small number above 0, for example 1e-5");
      check(ropeTheta > 1, "model.config.ropeTheta is " + ropeTheta, "expected a number above 1, for example 10000");
    }
  }

  /// What is trained.
  public sealed interface Method {}

  /// All parameters.
  public record Full() implements Method {}

  /// A low-rank adapter on frozen weights (Hu et al. 2021, arXiv:2106.09685), with PEFT's scale alpha/r, or alpha/√r with `rslora`;
  /// `dora` trains magnitudes apart from directions (Liu et al. 2024, arXiv:2402.09353).
  ///
  /// @param rankPattern ranks of modules whose names end so or match, instead of r; the first that matches counts
  /// @param alphaPattern likewise for alpha
  /// @param layers blocks that are adapted; none: all
  /// @param layersPattern lists in which the blocks are counted; none: the first in a name
  /// @param modulesToSave modules that are trained and saved whole
  public record LowRank(
      int r, double alpha, double dropout, Targets targets, boolean rslora, boolean dora, Map<String, Integer> rankPattern,
      Map<String, Double> alphaPattern, List<Integer> layers, List<String> layersPattern, List<String> modulesToSave)
      implements Method {
    /// Alike in all layers, without DoRA.
    public LowRank(int r, double alpha, double dropout, Targets targets, boolean rslora) {
      this(r, alpha, dropout, targets, rslora, false, Map.of(), Map.of(), List.of(), List.of(), List.of());
    }

    public LowRank {
      between("method.r", r, 1, 1 << 16);
      check(alpha > 0 && alpha < 1e6, "method.alpha is " + alpha, "expected a number above 0, usually r or 2r");
      check(dropout >= 0 && dropout < 1, "method.dropout is " + dropout, "expected a number in [0, 1), usually 0 or 0.05");
      rankPattern = Collections.unmodifiableMap(new LinkedHashMap<>(rankPattern));
      alphaPattern = Collections.unmodifiableMap(new LinkedHashMap<>(alphaPattern));
      rankPattern.forEach((key, rank) -> between("method.rankPattern." + key, rank, 1, 1 << 16));
      alphaPattern.forEach((key, a) -> check(a > 0 && a < 1e6, "method.alphaPattern." + key + " is " + a,
          "expected a number above 0"));
      layers = List.copyOf(layers);
      for (int i : layers) atLeast("method.layersToTransform", i, 0);
      layersPattern = List.copyOf(layersPattern);
      check(layersPattern.isEmpty() || !layers.isEmpty(), "method.layersPattern is set without layersToTransform",
          "say which layers, or leave it out");
      check(layers.isEmpty() || !(targets instanceof Matching),
          "method.layersToTransform is set, but the targets are an expression",
          "put the layers into the expression, or list suffixes such as [q_proj, v_proj]");
      modulesToSave = List.copyOf(modulesToSave);
    }
  }

  /// Trained embeddings before every sequence of a frozen model (Lester et al. 2021, arXiv:2104.08691).
  /// @param init the text whose embeddings they start as
  /// @param start what they start as without a text
  public record SoftPrompt(int virtualTokens, Optional<String> init, Start start) implements Method {
    /// What a prompt without a text starts as.
    public enum Start {
      /// Embeddings of random pieces.
      VOCABULARY,
      /// The standard normal distribution.
      RANDOM
    }

    public SoftPrompt {
      check(init.isEmpty() || start == Start.VOCABULARY, "method.init is a text and method.start is random",
          "leave one of them out");
      between("method.virtualTokens", virtualTokens, 1, 1 << 16);
    }
  }

  /// Which linear layers an adapter decorates.
  public sealed interface Targets {}

  /// Every linear layer but the head.
  public record AllLinear() implements Targets {}

  /// Layers whose names end so (`q_proj`, `mlp.up_proj`).
  public record Suffixes(List<String> names) implements Targets {
    public Suffixes {
      names = List.copyOf(names);
      check(!names.isEmpty(), "method.targets is empty", "list suffixes such as [q_proj, v_proj], or write all-linear");
    }
  }

  /// Layers whose whole name matches a regular expression.
  public record Matching(String pattern) implements Targets {
    public Matching {
      try {
        Pattern.compile(pattern);
      } catch (PatternSyntaxException e) {
        throw new InvalidInput("method.targets is no regular expression: " + e.getMessage(), "list suffixes such as [q_proj, v_proj] instead", e);
      }
    }
  }

  /// The examples.
  ///
  /// @param format how the file is read; absent: its first rows tell
  /// @param validation share of the examples kept apart for evaluation
  /// @param maxLength tokens of the longest sequence; absent: the model's context
  /// @param pack whether short examples share a sequence, isolated from each other
  public record Data(Source source, Optional<Format> format, double validation, OptionalInt maxLength, boolean pack, TooLong tooLong) {
    public Data {
      check(validation >= 0 && validation < 1, "data.validation is " + validation, "expected a share in [0, 1), for example 0.05");
      if (maxLength.isPresent()) atLeast("data.maxLength", maxLength.getAsInt(), 2);
    }
  }

  /// The steps and the optimizer (AdamW, decoupled decay).
  ///
  /// @param epochs passes over the data; fractions are allowed
  /// @param maxSteps optimizer steps, if that comes first
  /// @param batch sequences per optimizer step
  /// @param microBatch sequences computed at once; changes memory and speed, not the result
  /// @param warmupSteps steps of rising learning rate; below 1 a share of all steps
  /// @param clip largest global gradient norm; 0 for no limit
  /// @param threads compute threads; absent: one per core. Changes speed, not the result
  /// @param checkpointing whether blocks are computed again in the backward pass to save memory
  public record Training(
      double epochs, OptionalInt maxSteps, int batch, int microBatch, double learningRate, LrSchedule.Kind schedule, double warmupSteps,
      double minLearningRate, double weightDecay, double beta1, double beta2, double eps, double clip, long seed, OptionalInt threads, boolean checkpointing) {
    public Training {
      check(epochs > 0 && epochs <= 1e6, "training.epochs is " + epochs, "expected a number above 0");
      if (maxSteps.isPresent()) atLeast("training.maxSteps", maxSteps.getAsInt(), 1);
      between("training.batch", batch, 1, 1 << 20);
      atLeast("training.microBatch", microBatch, 1);
      check(batch % microBatch == 0, "training.microBatch is " + microBatch + ", which does not divide training.batch " + batch, "try " + divisor(batch, microBatch));
      check(learningRate > 0 && learningRate <= 100, "training.learningRate is " + learningRate, "expected a number above 0, for example 2e-4");
      check(minLearningRate >= 0 && minLearningRate <= learningRate, "training.minLearningRate is " + minLearningRate, "expected 0 … learningRate " + learningRate);
      check(warmupSteps >= 0 && warmupSteps < Integer.MAX_VALUE, "training.warmupSteps is " + warmupSteps, "expected a number of steps, or a share of them below 1");
      check(warmupSteps < 1 || warmupSteps == Math.rint(warmupSteps), "training.warmupSteps is " + warmupSteps, "expected a whole number of steps, or a share below 1");
      check(weightDecay >= 0 && weightDecay < 1e3, "training.weightDecay is " + weightDecay, "expected a number of at least 0, usually 0 … 0.1");
      check(beta1 >= 0 && beta1 < 1, "training.beta1 is " + beta1, "expected a number in [0, 1), usually 0.9");
      check(beta2 >= 0 && beta2 < 1, "training.beta2 is " + beta2, "expected a number in [0, 1), usually 0.999");
      check(eps > 0 && eps < 1, "training.eps is " + eps, "expected a small number above 0, usually 1e-8");
      check(clip >= 0 && clip < Double.POSITIVE_INFINITY, "training.clip is " + clip, "expected a gradient norm above 0, or 0 for no limit");
      if (threads.isPresent()) between("training.threads", threads.getAsInt(), 1, 1024);
    }

    /// Warm-up in steps, of `total` steps altogether.
    public int warmup(int total) {
      return (int) (warmupSteps < 1 ? Math.ceil(warmupSteps * total) : Math.min(warmupSteps, total));
    }

    private static int divisor(int batch, int near) {
      int d = Math.min(near, batch);
      while (batch % d != 0) d--;
      return d;
    }
  }

  /// What evaluation measures.
  public enum Task {
    LOSS,
    /// Execution accuracy on questions of the embedded SQL task that training never sees.
    SQL,
    /// Exact match of generated answers on the validation split.
    EXACT,
    NONE
  }

  /// Evaluation during training.
  ///
  /// @param every optimizer steps between evaluations; 0: only before and after
  /// @param items examples an evaluation looks at, at most
  /// @param patience evaluations without improvement before training stops; absent: it does not stop early
  public record Evaluation(int every, Task task, int items, OptionalInt patience) {
    public Evaluation {
      atLeast("evaluation.every", every, 0);
      atLeast("evaluation.items", items, 1);
      if (patience.isPresent()) {
        atLeast("evaluation.patience", patience.getAsInt(), 1);
        check(every > 0 && task != Task.NONE, "evaluation.patience needs evaluations during training", "set evaluation.every and a task, or leave patience out");
      }
    }
  }

  /// @param every optimizer steps between checkpoints; 0: only at the end
  /// @param keep newest checkpoints that stay, beside the best
  public record Checkpoints(int every, int keep) {
    public Checkpoints {
      atLeast("checkpoints.every", every, 0);
      atLeast("checkpoints.keep", keep, 1);
    }
  }

  /// @param folder where runs lie
  /// @param name the run's folder in it; absent: chosen at the start
  public record Output(String folder, Optional<String> name) {
    private static final Pattern NAME = Pattern.compile("[\\p{L}\\p{N}][\\p{L}\\p{N}._-]{0,99}");

    public Output {
      check(!folder.isBlank(), "output.folder is empty", "runs is the usual one");
      name.ifPresent(n -> check(NAME.matcher(n).matches(), "output.name is '" + n + "'", "expected letters, digits, '.', '_' and '-', beginning with a letter or digit"));
    }
  }

  private static void atLeast(String key, int value, int least) {
    check(value >= least, key + " is " + value, "expected a whole number of at least " + least);
  }

  private static void between(String key, int value, int least, int most) {
    check(value >= least && value <= most, key + " is " + value, "expected a whole number from " + least + " to " + most);
  }

  private static void check(boolean holds, String found, String hint) {
    if (!holds) throw new InvalidInput(found, hint);
  }
}
