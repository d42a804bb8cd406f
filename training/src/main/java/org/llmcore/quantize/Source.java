package org.llmcore.quantize;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Optional;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.GptqConfig;
import org.llmcore.checkpoint.Llama2c;
import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.checkpoint.ModelFiles;
import org.llmcore.gguf.Gguf;
import org.llmcore.gguf.LlamaGguf;
import org.llmcore.model.LanguageModel;
import org.llmcore.text.ChatTemplate;
import org.llmcore.text.Tokenizer;

/// A model whose weights are read one by one: the whole of it need not fit into memory.
public final class Source implements AutoCloseable {
  /// Finds a tensor, with the shape it must have.
  private interface Weights {
    float[] get(String name, int... shape);
  }

  private final LlamaConfig config;
  private final Tokenizer tokenizer;
  private final Optional<String> template;
  private final Weights weights;
  private final Runnable closing;

  private Source(LlamaConfig config, Tokenizer tokenizer, Optional<String> template, Weights weights, Runnable closing) {
    this.config = config;
    this.tokenizer = tokenizer;
    this.template = template;
    this.weights = weights;
    this.closing = closing;
  }

  /// Opens a Hugging Face folder, a GGUF file, whose weights in few bits are what they are worth, or a llama2.c checkpoint.
  /// @param tokenizer where the tokenizer is, if not in the folder
  public static Source open(Path path, Optional<Path> tokenizer) {
    ModelFiles.refusePickle(path);
    if (Gguf.is(path)) return gguf(path, tokenizer);
    if (Files.isRegularFile(path)) {
      var file = Llama2c.read(path);
      var words = LanguageModel.words(path, tokenizer, file.config());
      return new Source(file.config(), words, Optional.empty(), (name, _) -> file.tensors().get(name), () -> {});
    }
    if (!Files.isDirectory(path))
        throw new InvalidInput("there is no model at " + path, "give a Hugging Face folder, a GGUF file or a llama2.c .bin file");
    if (GptqConfig.find(path).isPresent())
        throw new InvalidInput(path + " is quantized already", "give the model as it was before quantization");
    var config = LlamaConfig.read(path.resolve("config.json"));
    var words = LanguageModel.words(path, tokenizer, config);
    var files = ModelFiles.open(path);
    return new Source(config.fitting(files.entries()), words, ChatTemplate.beside(path), (name, shape) -> tensor(files, name, shape), files::close);
  }

  private static Source gguf(Path path, Optional<Path> tokenizer) {
    var open = Gguf.open(path);
    try {
      var file = LlamaGguf.of(open);
      var words = tokenizer.isPresent() ? LanguageModel.words(path, tokenizer, file.config()) : file.tokenizer();
      return new Source(file.config(), words, file.template(), file::floats, file::close);
    } catch (RuntimeException e) {
      open.close();
      throw e;
    }
  }

  private static float[] tensor(ModelFiles files, String name, int[] shape) {
    var e = files.entries().get(name);
    if (e == null) throw new InvalidInput("the files lack the tensor " + name,
        "config.json and the weights must belong together");
    if (!Arrays.equals(e.shape(), shape)) {
      throw new InvalidInput("tensor " + name + " is " + e.describe() + ", config.json asks for " + Arrays.toString(shape),
          "config.json and the weights must belong together");
    }
    return e.toFloats();
  }

  public LlamaConfig config() {
    return config;
  }

  public Tokenizer tokenizer() {
    return tokenizer;
  }

  /// The chat template, in Jinja.
  Optional<String> template() {
    return template;
  }

  /// A tensor of that shape as f32.
  /// @throws InvalidInput if there is none
  float[] weights(String name, int... shape) {
    return weights.get(name, shape);
  }

  @Override
  public void close() {
    closing.run();
  }
}
