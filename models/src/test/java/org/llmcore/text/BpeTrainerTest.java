package org.llmcore.text;

import java.util.Collections;
import java.util.List;
import java.util.stream.IntStream;

import org.junit.jupiter.api.Test;

import org.llmcore.InvalidInput;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

class BpeTrainerTest {
  private static final List<String> TEXTS = List.of("select name from users where age > 21 and customer_id = 1024",
      "select count(*) from orders\nwhere price >= 99", "  indented   text, naïve café 日本語テキスト 😀");

  @Test
  void theVocabularyHasTheAskedSizeAndItsReservedIds() {
    var tokenizer = BpeTrainer.train(TEXTS, 320);
    assertThat(tokenizer.size()).isEqualTo(320);
    assertThat(tokenizer.piece(0)).isEqualTo("<unk>");
    assertThat(tokenizer.bos()).hasValue(1);
    assertThat(tokenizer.eos()).hasValue(2);
    assertThat(tokenizer.piece(3 + 10)).isEqualTo("<0x0A>");
    assertThat(IntStream.range(0, 320).filter(tokenizer::control)).containsExactly(0, 1, 2);
  }

  @Test
  void equalTextsGiveEqualBytes() {
    assertThat(BpeTrainer.train(TEXTS, 330).toBytes()).isEqualTo(BpeTrainer.train(List.copyOf(TEXTS), 330).toBytes());
  }

  @Test
  void frequentWordsBecomeOnePiece() {
    var tokenizer = BpeTrainer.train(Collections.nCopies(5, "select name from users"), 290);
    assertThat(tokenizer.encode("select name from users select")).hasSize(5);
  }

  @Test
  void piecesKeepDigitsWordsAndScriptsApart() {
    var tokenizer = BpeTrainer.train(Collections.nCopies(9, "user_id12 = 12 and the other one x日本 e\u0301e\u0301\n\tselect"), 282);
    for (int id = 259; id < tokenizer.size(); id++) {
      String piece = tokenizer.piece(id);
      assertThat(piece).matches("▁+|▁?\\p{IsLatin}[\\p{IsLatin}\\p{M}]*|\\p{M}|▁?[=_]+|[0-9]|\\p{IsHan}+");
    }
    assertThat(IntStream.of(tokenizer.encode("12\n")).mapToObj(tokenizer::piece)).containsExactly("▁", "1", "2", "<0x0A>");
  }

  @Test
  void aVocabularyTheTextsCannotFillIsRefusedWithTheNumberTheyCan() {
    assertThatThrownBy(() -> BpeTrainer.train(List.of("ab"), 4096)).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("only 264 different pieces");
    assertThat(BpeTrainer.train(List.of("ab"), 264).size()).isEqualTo(264);
    assertThatThrownBy(() -> BpeTrainer.train(TEXTS, 100)).isInstanceOf(InvalidInput.class).hasMessageContaining("259");
  }
}
