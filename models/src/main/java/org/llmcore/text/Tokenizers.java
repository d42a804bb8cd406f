package org.llmcore.text;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

import org.llmcore.InvalidInput;

/// Opens the tokenizer of a model.
public final class Tokenizers {
  private static final long MOST_BYTES = 1L << 28;

  private Tokenizers() {
  }

  /// The tokenizer of a file or folder.
  public static Tokenizer open(Path path, java.util.OptionalInt vocabulary) {
    return SentencePieceBpe.read(Files.isDirectory(path) ? path.resolve("tokenizer.model") : path);
  }

  /// Writes a tokenizer into a model folder.
  public static void save(Tokenizer tokenizer, Path folder) {
    if (tokenizer instanceof SentencePieceBpe s) s.save(folder.resolve("tokenizer.model"));
  }

  /// A whole file, if it has the size a tokenizer can have.
  static byte[] bytes(Path file) {
    try {
      long size = Files.size(file);
      if (size == 0 || size > MOST_BYTES) {
        throw new InvalidInput(file + " has " + size + " bytes; a tokenizer has between 1 and " + MOST_BYTES,
            "give tokenizer.model, tokenizer.json or a llama2.c tokenizer.bin, or a folder that holds one");
      }
      return Files.readAllBytes(file);
    } catch (IOException e) {
      throw new InvalidInput("Cannot read the tokenizer " + file + ": " + e, "check the path and its permissions", e);
    }
  }
}
