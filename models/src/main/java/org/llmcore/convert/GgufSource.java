package org.llmcore.convert;

import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;

import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.gguf.Gguf;
import org.llmcore.gguf.GgufType;
import org.llmcore.gguf.LlamaGguf;
import org.llmcore.text.Tokenizer;
import org.llmcore.text.Tokenizers;

/// A GGUF file.
record GgufSource(LlamaGguf file, Tokenizer tokenizer) implements Source {
  static GgufSource open(Path path, Optional<Path> tokenizer) {
    var open = Gguf.open(path);
    try {
      var file = LlamaGguf.of(open);
      for (var p : Part.of(file.config())) file.tensor(p.name(), p.shape());
      return new GgufSource(file, tokenizer.map(t -> Tokenizers.open(t, OptionalInt.of(file.config().vocabulary())))
          .orElseGet(file::tokenizer));
    } catch (RuntimeException e) {
      open.close();
      throw e;
    }
  }

  @Override
  public LlamaConfig config() {
    return file.config();
  }

  @Override
  public Optional<String> template() {
    return file.template();
  }

  @Override
  public List<String> notes() {
    return file.notes();
  }

  @Override
  public String describe() {
    return "GGUF file";
  }

  @Override
  public Optional<GgufType> type(Part part) {
    return Optional.of(file.type(part.name()));
  }

  @Override
  public void read(Part part, int from, int to, float[] out) {
    for (int r = from; r < to; r++) file.row(part.name(), r, out, (r - from) * part.columns(), part.shape());
  }

  @Override
  public MemorySegment row(Part part, int r) {
    return file.row(part.name(), r, part.shape());
  }

  @Override
  public void close() {
    file.close();
  }
}
