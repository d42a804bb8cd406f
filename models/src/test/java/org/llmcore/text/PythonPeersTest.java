package org.llmcore.text;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalInt;
import java.util.Random;
import java.util.stream.IntStream;

import com.fasterxml.jackson.databind.ObjectMapper;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import static org.assertj.core.api.Assertions.assertThat;

/// Against the original libraries, where `-Dllm.peers=` names a Python that has `sentencepiece` and `tokenizers`.
class PythonPeersTest {
  private static final String SENTENCE_PIECE = """
      import json, sys, sentencepiece
      t = sentencepiece.SentencePieceProcessor(model_file=sys.argv[1])
      rows = [t.encode(s) for s in json.load(open(sys.argv[2], encoding='utf8'))]
      print(json.dumps([[ids, t.decode(ids)] for ids in rows]))
      """;
  private static final String TOKENIZERS = """
      import json, sys, tokenizers
      t = tokenizers.Tokenizer.from_file(sys.argv[1])
      t.encode_special_tokens = True
      rows = [t.encode(s, add_special_tokens=False).ids for s in json.load(open(sys.argv[2], encoding='utf8'))]
      print(json.dumps([[ids, t.decode(ids)] for ids in rows]))
      """;
  private static final List<String> PARTS = List.of(" ", "  ", "   ", "▁", "\n", "\t", "\r\n", "a", "é", "e\u0301", "😀", "👨\u200d👩\u200d👧",
      "日本", "ا", "\u00a0", "\u3000", "12", "3.5", "<s>", "</s>", "[INST]", "<0x0A>", "\u200b", "ß", "ﬁ", "\u0001", "the", " the", "\ufffd",
      "'s", "don't", "select", " name", "\u0085", "\u2028", "½", "_", "²", "<|endoftext|>");

  @TempDir private Path folder;

  private static List<String> texts() {
    var random = new Random(7);
    var texts = new ArrayList<String>(List.of(""));
    for (int i = 0; i < 1000; i++) {
      texts.add(String.join("", IntStream.range(0, random.nextInt(14)).mapToObj(_ -> PARTS.get(random.nextInt(PARTS.size()))).toList()));
    }
    return texts;
  }

  private void agree(Tokenizer tokenizer, String program, Path file) throws IOException, InterruptedException {
    var peer = Path.of(System.getProperty("llm.peers"));
    var mapper = new ObjectMapper();
    var texts = texts();
    var input = folder.resolve("texts.json");
    mapper.writeValue(input.toFile(), texts);
    var process = new ProcessBuilder(peer.toString(), "-c", program, file.toString(), input.toString())
        .redirectError(folder.resolve("errors").toFile()).start();
    var rows = mapper.readTree(new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8));
    assertThat(process.waitFor()).as(() -> errors()).isZero();
    for (int i = 0; i < texts.size(); i++) {
      int[] ids = tokenizer.encode(texts.get(i));
      assertThat(ids).as(texts.get(i)).isEqualTo(Golden.ids(rows.get(i).get(0)));
      assertThat(tokenizer.decode(ids)).isEqualTo(rows.get(i).get(1).asText());
    }
  }

  private String errors() {
    try {
      return Files.readString(folder.resolve("errors"));
    } catch (IOException e) {
      return e.toString();
    }
  }

  private static void assumePeers() {
    Assumptions.assumeTrue(System.getProperty("llm.peers") != null, "no Python of peers is named by -Dllm.peers");
  }

  @Test
  void aTrainedTokenizerIsTheSameInSentencePiece() throws IOException, InterruptedException {
    assumePeers();
    var tokenizer = BpeTrainer.train(texts(), 420);
    tokenizer.save(folder.resolve("tokenizer.model"));
    agree(tokenizer, SENTENCE_PIECE, folder.resolve("tokenizer.model"));
  }

  @Test
  void realFilesAreTheSameInTheirLibraries() throws IOException, InterruptedException {
    assumePeers();
    for (String name : List.of("llama2-tokenizer/tokenizer.model", "stories260k/tok512.model", "gpt2-bpe/tokenizer.json")) {
      var file = Golden.file(name);
      agree(Tokenizers.open(file, OptionalInt.empty()), name.endsWith("json") ? TOKENIZERS : SENTENCE_PIECE, file);
    }
  }
}
