package org.llmcore.generate;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Random;

import org.llmcore.checkpoint.AtomicFile;
import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.cpu.CpuDevice;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Precision;
import org.llmcore.op.Device;
import org.llmcore.text.BpeTrainer;
import org.llmcore.text.Tokenizer;

/// A model of random weights, large enough to say something else at every step: 2 blocks, 4 heads in 2 groups.
final class TinyModel {
  static final int VOCABULARY = 300;
  static final int CONTEXT = 48;
  static final Device DEVICE = new CpuDevice(true, 2);
  private static final Tokenizer WORDS =
      BpeTrainer.train(List.of("select name from users where age > 21 and customer_id = 1024",
          "the quick brown fox, naïve café 日本語 😀"), VOCABULARY - 4);

  private TinyModel() {}

  /// Opens it. Four ids lie behind the tokenizer's vocabulary, as in padded models.
  static LanguageModel open(Precision precision, long seed) {
    var config =
        new LlamaConfig(VOCABULARY, 32, 48, 2, 4, 2, 8, CONTEXT, 1e-5, 10000, 1, false, OptionalInt.of(1), List.of(2),
            OptionalInt.empty(), "float32");
    if (precision.quantized()) return quantized(precision, seed);
    var model = LanguageModel.scratch(DEVICE, config, WORDS, precision, seed);
    // Weights as small as a training starts with give nearly equal logits: a random walk wants larger ones.
    model.decoder().parameters().map().forEach((name, w) -> {
      if (w.shape().rank() == 1) return;
      var random = new Random(seed + name.hashCode());
      var values = new float[Math.toIntExact(w.elements())];
      for (int i = 0; i < values.length; i++) values[i] =
          (float) (random.nextGaussian() * (name.startsWith("lm_head") ? 0.6 : 0.35));
      LanguageModel.upload(DEVICE, w, values);
    });
    return model;
  }

  /// The f32 model, saved and opened again in few bits.
  private static LanguageModel quantized(Precision precision, long seed) {
    try (var model = open(Precision.F32, seed)) {
      var folder = Files.createTempDirectory("tiny");
      try {
        model.save(folder.resolve("model"), 1L << 30);
        return LanguageModel.open(DEVICE, folder.resolve("model"), Optional.empty(), precision, false);
      } finally {
        AtomicFile.delete(folder);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  static int[] prompt(Random random, int length) {
    return random.ints(length, 3, VOCABULARY - 4).toArray();
  }
}
