package org.llmcore.convert;

import java.nio.file.Path;
import java.util.Arrays;
import java.util.Locale;
import java.util.stream.Collectors;

import org.llmcore.InvalidInput;

/// What a model can be written as.
public enum Format {
  /// A Hugging Face folder: config.json, safetensors, the tokenizer's files.
  HF("Hugging Face folder"),
  /// llama.cpp's one file.
  GGUF("GGUF file"),
  /// llama2.c's checkpoint, and a tokenizer file beside it.
  LLAMA2C("llama2.c checkpoint");

  private final String words;

  Format(String words) {
    this.words = words;
  }

  /// For people.
  public String describe() {
    return words;
  }

  /// What a name asks for: `.gguf`, `.bin`, or a folder.
  public static Format of(Path path) {
    var name = String.valueOf(path.getFileName()).toLowerCase(Locale.ROOT);
    return name.endsWith(".gguf") ? GGUF : name.endsWith(".bin") ? LLAMA2C : HF;
  }

  /// `hf`, `gguf` or `llama2c`.
  public static Format parse(String text) {
    for (var f : values()) if (f.name().equalsIgnoreCase(text)) return f;
    throw new InvalidInput("format '" + text + "'", "expected one of " + Arrays.stream(values())
        .map(f -> f.name().toLowerCase(Locale.ROOT)).collect(Collectors.joining(", ")));
  }
}
