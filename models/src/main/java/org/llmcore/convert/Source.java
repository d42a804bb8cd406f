package org.llmcore.convert;

import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.checkpoint.ModelFiles;
import org.llmcore.gguf.Gguf;
import org.llmcore.gguf.GgufType;
import org.llmcore.model.Decoder;
import org.llmcore.model.LanguageModel;
import org.llmcore.op.Device;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.text.Tokenizer;

/// A model on disk whose tensors are read some rows at a time, under Hugging Face names and in Hugging Face's order, so that no
/// more than a few rows of it need be in memory (of a GPTQ layer: its codes, a byte a weight).
sealed interface Source extends AutoCloseable permits FolderSource, GgufSource, Llama2cSource, MergedSource {
  LlamaConfig config();

  Tokenizer tokenizer();

  /// The chat template, in Jinja.
  Optional<String> template();

  /// What was odd and could be passed over.
  List<String> notes();

  /// For people: `Hugging Face folder`.
  String describe();

  /// How a tensor is stored; empty for codes that have no type in GGUF.
  Optional<GgufType> type(Part part);

  /// Rows [from, to) as f32.
  void read(Part part, int from, int to, float[] out);

  /// The stored bytes of a row.
  /// @throws IllegalArgumentException if the tensor has no type
  MemorySegment row(Part part, int r);

  /// The whole model in memory, in f32.
  /// @param region where; `Decoder.bytes` says how large
  default Decoder decoder(Device device, Region region) {
    var decoder = Decoder.carve(config(), region, DType.F32, DType.F32, false);
    for (var part : Part.of(config())) {
      var w = decoder.parameters().get(part.name());
      var values = new float[part.stretch() * part.columns()];
      for (int r = 0; r < part.rows(); r += part.stretch()) {
        int to = Math.min(part.rows(), r + part.stretch());
        read(part, r, to, values);
        var rows = part.matrix() ? w.slice(r, to) : w;
        LanguageModel.upload(device, rows, to - r == part.stretch() ? values : Arrays.copyOf(values, (to - r) * part.columns()));
      }
    }
    return decoder;
  }

  @Override
  void close();

  /// Opens a model and checks that its tensors have the shapes that its configuration asks for.
  /// @param tokenizer where the tokenizer is, if not with the model
  /// @throws InvalidInput naming the file, tensor or key that is wrong
  static Source open(Path path, Optional<Path> tokenizer) {
    ModelFiles.refusePickle(path);
    if (Gguf.is(path)) return GgufSource.open(path, tokenizer);
    if (Files.isRegularFile(path)) return Llama2cSource.open(path, tokenizer);
    if (Files.isDirectory(path)) return FolderSource.open(path, tokenizer);
    throw new InvalidInput("there is no model at " + path, "give a Hugging Face folder, a GGUF file or a llama2.c .bin file");
  }
}
