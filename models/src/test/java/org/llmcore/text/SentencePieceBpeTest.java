package org.llmcore.text;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import org.llmcore.InvalidInput;
import org.llmcore.text.SentencePieceModel.Piece;
import org.llmcore.text.SentencePieceModel.Type;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

class SentencePieceBpeTest {
  private static final List<Piece> BASE = List.of(new Piece("<unk>", 0, Type.UNKNOWN), new Piece("<s>", 0, Type.CONTROL),
      new Piece("</s>", 0, Type.CONTROL), normal("ab", -1), normal("bc", 0), normal("abc", -2), normal("a", -5), normal("b", -5),
      normal("c", -5), normal("▁", -5));

  private static Piece normal(String text, float score) {
    return new Piece(text, score, Type.NORMAL);
  }

  private static List<Piece> with(Piece... more) {
    var all = new ArrayList<>(BASE);
    all.addAll(Arrays.asList(more));
    return all;
  }

  private static SentencePieceBpe plain(List<Piece> pieces) {
    return reread(new SentencePieceModel(pieces, "identity", false, false, true, false, false, "<s>", "</s>"));
  }

  private static SentencePieceBpe reread(SentencePieceModel model) {
    return SentencePieceBpe.parse("test", model.toBytes());
  }

  private static String pieces(Tokenizer tokenizer, String text) {
    return IntStream.of(tokenizer.encode(text)).mapToObj(tokenizer::piece).reduce((a, b) -> a + " " + b).orElse("");
  }

  @Test
  void theBestScoreJoinsFirstAndTheLeftmostAmongEquals() {
    var withoutAbc = BASE.stream().filter(p -> !p.text().equals("abc")).toList();
    assertThat(pieces(plain(withoutAbc), "abc")).isEqualTo("a bc");
    assertThat(pieces(plain(BASE), "abcab")).isEqualTo("abc ab");
    assertThat(pieces(plain(with(normal("aa", -1))), "aaaaa")).isEqualTo("aa aa a");
  }

  /// With byte fallback words are encoded one by one, unless a piece of the file reaches from a word over the space behind it.
  @Test
  void wordsAreEncodedApartOnlyWhereNoPieceJoinsThem() {
    assertThat(pieces(withBytes(), "ab ab  abc ab")).isEqualTo("ab ▁ ab ▁ ▁ abc ▁ ab");
    assertThat(pieces(withBytes(normal("▁▁", -1), normal("▁a", 1)), "ab ab  ab")).isEqualTo("ab ▁a b ▁ ▁a b");
    assertThat(pieces(withBytes(normal("b▁", 1), normal("b▁a", 2)), "ab ab b")).isEqualTo("a b▁a b▁ b");
    assertThat(pieces(withBytes(new Piece("b▁a", 0, Type.USER_DEFINED)), "ab ab")).isEqualTo("a b▁a b");
  }

  private static SentencePieceBpe withBytes(Piece... more) {
    var pieces = with(more);
    for (int b = 0; b < 256; b++) pieces.add(new Piece(String.format("<0x%02X>", b), 0, Type.BYTE));
    return reread(new SentencePieceModel(pieces, "identity", false, false, true, false, true, "<s>", "</s>"));
  }

  @Test
  void unknownCharactersWithoutByteFallbackAreOneUnknownIdForARun() {
    assertThat(plain(BASE).encode("a😀éb")).containsExactly(6, 0, 7);
    assertThat(plain(BASE).decode(6, 0, 7)).isEqualTo("ab");
  }

  @Test
  void userDefinedSymbolsAreKeptWholeAndNeverJoin() {
    var tokenizer = plain(with(new Piece("<b", 0, Type.USER_DEFINED), new Piece("<bc>", 0, Type.USER_DEFINED)));
    assertThat(pieces(tokenizer, "a<bc>b<bc")).isEqualTo("a <bc> b <b c");
  }

  @Test
  void unusedPiecesFallBackIntoTheirParts() {
    var pieces = new ArrayList<>(BASE);
    pieces.set(4, new Piece("bc", 0, Type.UNUSED));
    assertThat(pieces(plain(pieces), "bca")).isEqualTo("b c a");
  }

  @Test
  void theFlagsOfTheFileRuleSpaces() {
    var keep = reread(new SentencePieceModel(BASE, "identity", true, false, true, false, false, "<s>", "</s>"));
    assertThat(pieces(keep, " a  b ")).isEqualTo("▁ ▁ a ▁ ▁ b ▁");
    assertThat(keep.decode(keep.encode(" a  b "))).isEqualTo(" a  b ");
    assertThat(keep.encode("")).isEmpty();
    var squeeze = reread(new SentencePieceModel(BASE, "identity", true, true, true, false, false, "<s>", "</s>"));
    assertThat(pieces(squeeze, " a  b ")).isEqualTo("▁ a ▁ b");
    assertThat(squeeze.encode("   ")).isEmpty();
    var suffix = reread(new SentencePieceModel(BASE, "identity", true, true, true, true, false, "<s>", "</s>"));
    assertThat(pieces(suffix, "a b")).isEqualTo("a ▁ b ▁");
  }

  @Test
  void unpairedSurrogatesCountAsReplacementCharacters() {
    var tokenizer = BpeTrainer.train(List.of("ab ab ab"), 262);
    assertThat(tokenizer.decode(tokenizer.encode("a\ud83d b"))).isEqualTo("a\ufffd b");
  }

  @Test
  void anotherModelTypeOrNormalisationIsRefusedByName() {
    byte[] unigram = new ProtoWriter().message(1, new ProtoWriter().string(1, "a")).message(2, new ProtoWriter().varint(3, 1)).toBytes();
    assertThatThrownBy(() -> SentencePieceBpe.parse("x.model", unigram)).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("unigram").hasMessageContaining("BPE");
    byte[] mapped = new ProtoWriter().message(1, new ProtoWriter().string(1, "a")).message(2, new ProtoWriter().varint(3, 2))
        .message(3, new ProtoWriter().string(1, "nmt_nfkc").string(2, "map")).toBytes();
    assertThatThrownBy(() -> SentencePieceBpe.parse("x.model", mapped)).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("nmt_nfkc").hasMessageContaining("identity");
  }

  @Test
  void inconsistentVocabulariesAreRefused() {
    assertThatThrownBy(() -> plain(with(normal("ab", -9)))).isInstanceOf(InvalidInput.class).hasMessageContaining("'ab' twice");
    assertThatThrownBy(() -> plain(BASE.subList(1, 5))).isInstanceOf(InvalidInput.class).hasMessageContaining("one unknown piece");
    assertThatThrownBy(() -> plain(with(new Piece("<0x41>", 0, Type.BYTE)))).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("byte fallback");
    assertThatThrownBy(() -> plain(with(new Piece("<0xZZ>", 0, Type.BYTE)))).isInstanceOf(InvalidInput.class).hasMessageContaining("<0xZZ>");
    assertThatThrownBy(() -> plain(with(normal("", 0)))).isInstanceOf(InvalidInput.class).hasMessageContaining("piece 10");
  }

  @Test
  void everyTruncationAndEveryBrokenByteEitherReadsOrSaysSo() {
    byte[] good = BpeTrainer.train(List.of("one two three, one two three"), 275).toBytes();
    for (int length = 0; length < good.length; length++) {
      readOrRefuse(Arrays.copyOf(good, length));
    }
    for (int at = 0; at < good.length; at++) {
      byte[] bad = good.clone();
      bad[at] = (byte) 0xff;
      readOrRefuse(bad);
    }
  }

  private static void readOrRefuse(byte[] bytes) {
    try {
      assertThat(SentencePieceBpe.parse("test", bytes).encode("one").length).isPositive();
    } catch (InvalidInput refused) {
      assertThat(refused.getMessage()).startsWith("test");
    }
  }

  @Test
  void aLengthBeyondTheFileAllocatesNothing() {
    byte[] hostile = {0x0a, (byte) 0xff, (byte) 0xff, (byte) 0xff, (byte) 0xff, 0x07};
    assertThatThrownBy(() -> SentencePieceBpe.parse("hostile", hostile)).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("2147483647 bytes where 0 are left");
  }

  @Test
  void whatIsSavedReadsBackTheSame(@TempDir Path folder) throws IOException {
    var tokenizer = BpeTrainer.train(List.of("to be or not to be, that is the question"), 290);
    tokenizer.save(folder.resolve("tokenizer.model"));
    var again = SentencePieceBpe.read(folder.resolve("tokenizer.model"));
    assertThat(again.toBytes()).isEqualTo(tokenizer.toBytes()).isEqualTo(Files.readAllBytes(folder.resolve("tokenizer.model")));
    assertThat(again.encode("to be or what 😀")).isEqualTo(tokenizer.encode("to be or what 😀"));
    assertThatThrownBy(() -> tokenizer.save(folder.resolve("no/such/folder"))).isInstanceOf(InvalidInput.class);
  }

  @Test
  void longTextsTakeNoQuadraticTime() {
    var tokenizer = plain(with(normal("aa", -1), normal("aaaa", -2)));
    String text = "a".repeat(400_000);
    assertThat(tokenizer.encode(text)).hasSize(100_000).containsOnly(11);
  }
}
