package org.llmcore.convert;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Map;
import java.util.Optional;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.Llama2c;
import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.gguf.GgufType;
import org.llmcore.gguf.LlamaNames;
import org.llmcore.model.LanguageModel;
import org.llmcore.text.Tokenizer;

/// A llama2.c checkpoint, memory-mapped.
record Llama2cSource(LlamaConfig config, Tokenizer tokenizer, Arena arena, MemorySegment data, Map<String, Long> places)
    implements Source {
  static Llama2cSource open(Path path, Optional<Path> tokenizer) {
    var config = Llama2c.configuration(path); // checked against the file's length
    var words = LanguageModel.words(path, tokenizer, config);
    var arena = Arena.ofShared();
    try (var channel = FileChannel.open(path, StandardOpenOption.READ)) {
      return new Llama2cSource(config, words, arena, channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena),
          Llama2c.places(config));
    } catch (IOException e) {
      arena.close();
      throw new InvalidInput("cannot read " + path + ": " + e.getMessage(), "check that it is a readable file", e);
    }
  }

  @Override
  public Optional<String> template() {
    return Optional.empty();
  }

  @Override
  public List<String> notes() {
    return List.of();
  }

  @Override
  public String describe() {
    return "llama2.c checkpoint";
  }

  @Override
  public Optional<GgufType> type(Part part) {
    return Optional.of(GgufType.F32);
  }

  @Override
  public void read(Part part, int from, int to, float[] out) {
    for (int r = from; r < to; r++) {
      MemorySegment.copy(row(part, r), ValueLayout.JAVA_FLOAT_UNALIGNED, 0, out, (r - from) * part.columns(), part.columns());
    }
  }

  @Override
  public MemorySegment row(Part part, int r) {
    int heads = LlamaNames.heads(part.name(), config);
    int place = heads == 0 ? r : LlamaNames.neighbours(r, part.rows() / heads);
    return data.asSlice(places.get(part.name()) + 4L * place * part.columns(), 4L * part.columns());
  }

  @Override
  public void close() {
    arena.close();
  }
}
