package org.llmcore.text;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;

/// The chat template of a model folder, a text in Jinja that is kept and passed on, not run: `chat_template.jinja`, else
/// `chat_template` in tokenizer_config.json (a text, or a list of which `default` counts).
public final class ChatTemplate {
  private static final String FILE = "chat_template.jinja";

  private ChatTemplate() {}

  /// The template of a folder.
  public static Optional<String> beside(Path folder) {
    var own = folder.resolve(FILE);
    if (Files.isRegularFile(own)) return Optional.of(new String(Tokenizers.bytes(own), StandardCharsets.UTF_8));
    var file = folder.resolve("tokenizer_config.json");
    if (!Files.isRegularFile(file)) return Optional.empty();
    var node = TokenizerConfig.json(file.toString(), Tokenizers.bytes(file)).path("chat_template");
    if (node.isTextual()) return Optional.of(node.asText());
    for (var t : node) if (t.path("name").asText().equals("default") && t.path("template")
        .isTextual()) return Optional.of(t.path("template").asText());
    return Optional.empty();
  }

  /// Writes a template into a folder.
  public static void save(String template, Path folder) {
    Tokenizers.write(folder.resolve(FILE), template.getBytes(StandardCharsets.UTF_8));
  }
}
