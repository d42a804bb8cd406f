package org.llmcore.text;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;

import org.llmcore.InvalidInput;

/// Opens the tokenizer of a model, whatever file it lies in.
///
/// | file                           | known by                          | becomes                 |
/// |--------------------------------|-----------------------------------|-------------------------|
/// | tokenizer.json                 | begins with `{`                   | [HuggingFaceTokenizer]  |
/// | tokenizer.model                | begins with a SentencePiece piece | [SentencePieceBpe]      |
/// | tokenizer.bin of llama2.c      | else                              | [Llama2cTokenizer]      |
///
/// In a folder tokenizer.json comes first: it holds the tokens that were added to a model after the fact, and it is what
/// the transformers library itself runs; a tokenizer.model beside it is often the base model's, without them. Then
/// tokenizer.model, then tokenizer.bin, then the only `tok*.json`, `tok*.model` or `tok*.bin` of the folder. A file that
/// cannot be used is refused, never silently replaced by its neighbour: the two may differ in ids.
public final class Tokenizers {
  private static final long MOST_BYTES = 1L << 28;
  private static final String KINDS = "give tokenizer.model, tokenizer.json or a llama2.c tokenizer.bin, or a folder that holds one";

  private Tokenizers() {
  }

  /// Opens a file, or the tokenizer in a folder.
  /// @param vocabulary rows of the model's embedding, where known: the tokenizer must fit. It may be smaller by the
  ///     padding that models have (a sixteenth, or 128), never larger.
  /// @throws InvalidInput if there is none, it cannot be used, or it does not fit
  public static Tokenizer open(Path fileOrFolder, OptionalInt vocabulary) {
    Path file = Files.isDirectory(fileOrFolder) ? inFolder(fileOrFolder) : fileOrFolder;
    var tokenizer = read(file);
    if (vocabulary.isPresent()) {
      int rows = vocabulary.getAsInt();
      if (tokenizer.size() > rows || rows - tokenizer.size() > Math.max(128, rows / 16)) {
        throw new InvalidInput("The tokenizer " + file + " has " + tokenizer.size() + " ids, the model " + rows
            + ": they do not belong together", "give the tokenizer the model was trained with");
      }
    }
    return tokenizer;
  }

  /// The tokenizer that lies beside a model and not in it, as llama2.c's checkpoints have theirs: `tokenizer.*` or
  /// `tok<vocabulary>.*` in the folder that holds the model. It counts only if it has exactly the model's ids.
  /// @param model a checkpoint file (llama2.c's own form comes first) or a folder (that form comes last)
  public static Optional<Path> beside(Path model, int vocabulary) {
    var folder = model.toAbsolutePath().normalize().getParent();
    if (folder == null) return Optional.empty();
    var kinds = Files.isDirectory(model) ? List.of(".json", ".model", ".bin") : List.of(".bin", ".model", ".json");
    for (var kind : kinds) {
      for (var name : List.of("tokenizer", "tok" + vocabulary)) {
        var file = folder.resolve(name + kind);
        if (Files.isRegularFile(file) && ids(file) == vocabulary) return Optional.of(file);
      }
    }
    return Optional.empty();
  }

  /// How many ids a file has; none if it is no tokenizer: nobody has named it.
  private static int ids(Path file) {
    try {
      return read(file).size();
    } catch (InvalidInput other) {
      return 0;
    }
  }

  /// Whether a folder holds a file that is named like a tokenizer's.
  public static boolean in(Path folder) {
    return find(folder).isPresent();
  }

  /// Writes a tokenizer into a model folder: the file it was read from (tokenizer.json, tokenizer.bin) or a
  /// tokenizer.model, and beside the first and the last a tokenizer_config.json, with which transformers loads it.
  /// @throws InvalidInput if a file cannot be written
  public static void save(Tokenizer tokenizer, Path folder) {
    switch (tokenizer) {
      case SentencePieceBpe t -> {
        t.save(folder.resolve("tokenizer.model"));
        write(folder.resolve("tokenizer_config.json"), TokenizerConfig.json(t, "LlamaTokenizer"));
      }
      case HuggingFaceTokenizer t -> {
        write(folder.resolve("tokenizer.json"), t.toBytes());
        write(folder.resolve("tokenizer_config.json"), TokenizerConfig.json(t, "PreTrainedTokenizerFast"));
      }
      case Llama2cTokenizer t -> write(folder.resolve("tokenizer.bin"), t.toBytes());
      case Wordless _ -> {} // a model that came without one goes without one
      default -> throw new IllegalArgumentException("no file format for a " + tokenizer.getClass().getName());
    }
  }

  static void write(Path file, byte[] bytes) {
    try {
      Files.write(file, bytes);
    } catch (IOException e) {
      throw new InvalidInput("Cannot write the tokenizer to " + file + ": " + e, "check the folder and its permissions", e);
    }
  }

  private static Tokenizer read(Path file) {
    try {
      return parsed(file);
    } catch (OutOfMemoryError e) {
      throw InvalidInput.tooLarge(file, e);
    }
  }

  private static Tokenizer parsed(Path file) {
    byte[] bytes = bytes(file);
    int first = bytes[0] & 0xff;
    if (first == 0x80 || first == 'P' && bytes.length > 1 && bytes[1] == 'K') {
      throw new InvalidInput(file + " is a Python pickle or a zip of pickles, not a tokenizer; pickles are never opened", KINDS);
    }
    var config = TokenizerConfig.beside(file.toAbsolutePath().getParent());
    if (first == '{' || Character.isWhitespace(first) && first != '\n' || file.toString().endsWith(".json")) {
      return HuggingFaceTokenizer.parse(file.toString(), bytes, config);
    }
    if (first == '\n' || file.toString().endsWith(".model")) { // field 1, bytes: the first piece
      var tokenizer = SentencePieceBpe.parse(file.toString(), bytes);
      return tokenizer.withEnds(config.addsBos().orElse(tokenizer.addsBos()), config.addsEos().orElse(false));
    }
    return Llama2cTokenizer.parse(file.toString(), bytes);
  }

  private static Path inFolder(Path folder) {
    return find(folder).orElseThrow(() -> new InvalidInput(
        "There is no tokenizer in the folder " + folder + ": expected tokenizer.json, tokenizer.model or tokenizer.bin",
        "copy the tokenizer of the model into the folder, or name its file"));
  }

  private static Optional<Path> find(Path folder) {
    for (String name : List.of("tokenizer.json", "tokenizer.model", "tokenizer.bin")) {
      if (Files.isRegularFile(folder.resolve(name))) return Optional.of(folder.resolve(name));
    }
    for (String kind : List.of(".json", ".model", ".bin")) {
      try (var files = Files.list(folder)) {
        var found = files.filter(f -> f.getFileName().toString().startsWith("tok") && f.toString().endsWith(kind)
            && !f.endsWith("tokenizer_config.json")).toList();
        if (found.size() == 1) return Optional.of(found.getFirst());
      } catch (IOException e) {
        throw new InvalidInput("Cannot list the folder " + folder + ": " + e.getMessage(), "check the path and its permissions", e);
      }
    }
    return Optional.empty();
  }

  /// A whole file, if it has the size a tokenizer can have.
  static byte[] bytes(Path file) {
    try {
      if (!Files.exists(file)) {
        throw new InvalidInput("There is no file " + file, KINDS);
      }
      long size = Files.size(file);
      if (size == 0 || size > MOST_BYTES) {
        throw new InvalidInput(file + " has " + size + " bytes; a tokenizer has between 1 and " + MOST_BYTES, KINDS);
      }
      return Files.readAllBytes(file);
    } catch (IOException e) {
      throw new InvalidInput("Cannot read the tokenizer " + file + ": " + e, "check the path and its permissions", e);
    }
  }

  /// The text with U+FFFD for every unpaired surrogate, which no encoding can write.
  static String wellFormed(String text) {
    boolean broken = text.codePoints().anyMatch(c -> c >= Character.MIN_SURROGATE && c <= Character.MAX_SURROGATE);
    return broken ? new String(text.getBytes(StandardCharsets.UTF_16BE), StandardCharsets.UTF_16BE) : text;
  }
}
