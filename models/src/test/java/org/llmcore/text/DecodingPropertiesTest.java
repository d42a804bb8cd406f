package org.llmcore.text;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalInt;
import java.util.stream.IntStream;

import net.jqwik.api.Arbitraries;
import net.jqwik.api.Arbitrary;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.Provide;

import static org.assertj.core.api.Assertions.assertThat;

/// What holds for every text and every row of ids, for a trained vocabulary and for the real files where they are.
class DecodingPropertiesTest {
  private static final List<Tokenizer> TOKENIZERS = tokenizers();

  private static List<Tokenizer> tokenizers() {
    var all = new ArrayList<Tokenizer>();
    all.add(BpeTrainer.train(List.of("the cat sat on the mat, the cat ate the rat: ça va 日本 😀😀"), 300));
    for (String file : List.of("llama2-tokenizer/tokenizer.model", "gpt2-bpe/tokenizer.json", "stories260k/tok512.bin")) {
      if (Golden.present(file)) {
        all.add(Tokenizers.open(Golden.file(file), OptionalInt.empty()));
      }
    }
    return List.copyOf(all);
  }

  @Property(tries = 500)
  void everyTextComesBack(@ForAll("texts") String text) {
    for (var tokenizer : TOKENIZERS) {
      int[] ids = tokenizer.encode(text);
      boolean escapes = tokenizer instanceof SentencePieceBpe; // writes a space as ▁, so it reads ▁ as a space
      assertThat(tokenizer.decode(ids)).isEqualTo(escapes ? text.replace('▁', ' ') : text);
      assertThat(Golden.streamed(tokenizer, ids)).isEqualTo(tokenizer.decode(ids));
      assertThat(IntStream.of(ids).filter(tokenizer::control)).isEmpty();
    }
  }

  @Property(tries = 500)
  void streamingAnyIdsEqualsDecodingThem(@ForAll("seeds") List<Integer> seeds) {
    for (var tokenizer : TOKENIZERS) {
      int[] ids = seeds.stream().mapToInt(s -> s % tokenizer.size()).toArray();
      assertThat(Golden.streamed(tokenizer, ids)).isEqualTo(tokenizer.decode(ids));
    }
  }

  @Property(tries = 500)
  void looseBytesGiveOneReplacementEach(@ForAll byte[] bytes) {
    var tokenizer = TOKENIZERS.getFirst(); // byte b is id 3 + b
    int[] ids = new int[bytes.length];
    for (int i = 0; i < ids.length; i++) {
      ids[i] = 3 + (bytes[i] & 0xff);
    }
    String text = tokenizer.decode(ids);
    assertThat(Golden.streamed(tokenizer, ids)).isEqualTo(text);
    long valid = text.codePoints().filter(c -> c != 0xfffd).mapToLong(c -> Character.toString(c).getBytes(StandardCharsets.UTF_8).length).sum();
    boolean spelled = new String(bytes, StandardCharsets.UTF_8).equals(text);
    assertThat(spelled || valid + text.codePoints().filter(c -> c == 0xfffd).count() == bytes.length).isTrue();
  }

  @Provide
  Arbitrary<String> texts() {
    var special = Arbitraries.of(" ", "  ", "▁", "\n", "\t", "e\u0301", "😀", "👨\u200d👩\u200d👧", "🇩🇪", "日本", "\u00a0", "<s>", "</s>",
        "<0x0A>", "[INST]", "the", " the", "123", "don't", "\ufffd", "\u0000");
    var any = Arbitraries.strings().ofMaxLength(4).filter(s -> s.equals(Tokenizers.wellFormed(s)));
    return Arbitraries.oneOf(special, any).list().ofMaxSize(12).map(parts -> String.join("", parts));
  }

  @Provide
  Arbitrary<List<Integer>> seeds() {
    return Arbitraries.oneOf(Arbitraries.integers().between(0, 300), Arbitraries.integers().between(0, 1_000_000)).list().ofMaxSize(20);
  }
}
