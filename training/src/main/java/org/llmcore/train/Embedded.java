package org.llmcore.train;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.AtomicFile;

/// Models that travel in the jar. A name like `embedded:sql-base` stands for one wherever a path to a model or tokenizer may
/// stand; its files are unpacked to a private temporary folder that goes away with the process.
public final class Embedded {
  private static final String PREFIX = "embedded:";
  private static final String PLACE = "/org/llmcore/embedded/";
  private static final List<String> MODELS = List.of("sql-base");
  private static final List<String> FILES = List.of("config.json", "generation_config.json", "model.safetensors", "tokenizer.model", "tokenizer_config.json");

  private Embedded() {}

  /// The folder or file a text stands for: a path, or the unpacked files of an embedded model.
  /// @throws InvalidInput if no such model is embedded
  public static Path path(String text) {
    if (!text.startsWith(PREFIX)) return Path.of(text);
    var name = text.substring(PREFIX.length());
    if (!MODELS.contains(name)) throw new InvalidInput("no model is embedded as '" + name + "'", "embedded are " + MODELS);
    if (Embedded.class.getResource(PLACE + name + "/config.json") == null) {
      throw new InvalidInput("this build carries no model '" + name + "'", "use a released jar, or name a model folder");
    }
    try {
      var folder = Files.createTempDirectory("llm-core-" + name);
      Runtime.getRuntime().addShutdownHook(new Thread(() -> remove(folder)));
      for (var file : FILES) {
        try (var in = Embedded.class.getResourceAsStream(PLACE + name + "/" + file)) {
          if (in != null) Files.copy(in, folder.resolve(file));
        }
      }
      return folder;
    } catch (IOException e) {
      throw new InvalidInput("cannot unpack the embedded model " + name + ": " + e.getMessage(), "the temporary folder needs a few MB of space", e);
    }
  }

  private static void remove(Path folder) {
    try {
      AtomicFile.delete(folder);
    } catch (IOException _) {
      // the system clears its temporary folder
    }
  }
}
