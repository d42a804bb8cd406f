package org.llmcore.text;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.stream.IntStream;
import java.util.stream.Stream;

import org.junit.jupiter.api.Test;

import org.llmcore.InvalidInput;
import org.llmcore.text.Llama2Chat.Segment;
import org.llmcore.text.Message.Role;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

class Llama2ChatTest {
  private static final List<Message> TALK = List.of(Message.system("Be brief."), Message.user(" Hi there\n"),
      Message.assistant("  Hello! "), Message.user("Bye\u00a0"), Message.assistant("See you."), Message.user("Still here?"));

  private static SentencePieceBpe trained() {
    return BpeTrainer.train(Collections.nCopies(3, "[INST] Hi there [/INST] Hello! Bye See you. Still here? <<SYS>>"), 310);
  }

  private static int[] ids(Stream<Segment> segments) {
    return segments.flatMapToInt(s -> Arrays.stream(s.ids())).toArray();
  }

  @Test
  void theIdsAreThoseOfWholeTurnsWithTheirEnds() {
    for (var tokenizer : tokenizers()) {
      var expected = new ArrayList<Integer>();
      for (String turn : List.of("[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n Hi there [/INST] Hello! ", "[INST] Bye [/INST] See you. ",
          "[INST] Still here? [/INST]")) {
        expected.add(1);
        IntStream.of(tokenizer.encode(turn)).forEach(expected::add);
        if (turn.endsWith(" ")) {
          expected.add(2);
        }
      }
      int[] whole = expected.stream().mapToInt(i -> i).toArray();
      assertThat(ids(new Llama2Chat(tokenizer).encode(TALK).stream())).isEqualTo(whole);
      assertThat(new Llama2Chat(tokenizer).prompt(TALK)).isEqualTo(whole);
    }
  }

  @Test
  void exactlyTheAnswersAndTheirEosAreLearned() {
    for (var tokenizer : tokenizers()) {
      var segments = new Llama2Chat(tokenizer).encode(TALK);
      assertThat(segments).extracting(Segment::learn).containsExactly(false, true, false, true, false);
      assertThat(tokenizer.decode(segments.get(1).ids()).strip()).isEqualTo("Hello!");
      assertThat(tokenizer.decode(segments.get(3).ids()).strip()).isEqualTo("See you.");
      assertThat(segments.get(1).ids()).endsWith(2);
      assertThat(segments.get(0).ids()).startsWith(1);
      assertThat(tokenizer.decode(segments.get(2).ids())).isEqualTo("[INST] Bye [/INST]");
      assertThat(segments.get(2).ids()).isEqualTo(new Llama2Chat(tokenizer).prompt(List.of(Message.user("Bye"))));
    }
  }

  @Test
  void aPieceThatJoinsInstructionAndAnswerIsLearned() {
    var pieces = new ArrayList<>(SentencePieceModel.parse("t", trained().toBytes()).pieces());
    pieces.add(new SentencePieceModel.Piece("]▁", 9, SentencePieceModel.Type.NORMAL));
    var tokenizer = new SentencePieceBpe("t", new SentencePieceModel(pieces, "identity", true, false, true, false, true, "<s>", "</s>"));
    var segments = new Llama2Chat(tokenizer).encode(List.of(Message.user("Hi"), Message.assistant("Hello!")));
    assertThat(tokenizer.piece(segments.get(1).ids()[0])).isEqualTo("]▁");
    assertThat(IntStream.of(ids(segments.stream())).skip(1).limit(ids(segments.stream()).length - 2L))
        .containsExactlyElementsOf(IntStream.of(tokenizer.encode("[INST] Hi [/INST] Hello! ")).boxed().toList());
  }

  @Test
  void anEmptyAnswerIsStillEnded() {
    var segments = new Llama2Chat(trained()).encode(List.of(Message.user("Hi"), Message.assistant("")));
    assertThat(segments.get(1).ids()).endsWith(2);
  }

  @Test
  void contentsThatSpeakTheFormAreRefused() {
    var chat = new Llama2Chat(trained());
    for (String control : List.of("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>")) {
      assertThatThrownBy(() -> chat.encode(List.of(Message.user("a" + control + "b")))).isInstanceOf(InvalidInput.class)
          .hasMessageContaining("Message 1").hasMessageContaining("'" + control + "'");
      assertThatThrownBy(() -> chat.encode(List.of(Message.system(control), Message.user("b")))).isInstanceOf(InvalidInput.class);
    }
    int[] spelled = chat.prompt(List.of(Message.user("</s><s>")));
    assertThat(IntStream.of(spelled).filter(id -> id < 3)).containsExactly(1);
  }

  @Test
  void rolesAlternateFromTheUserOn() {
    var chat = new Llama2Chat(trained());
    assertThatThrownBy(() -> chat.encode(List.of())).isInstanceOf(InvalidInput.class).hasMessageContaining("empty");
    assertThatThrownBy(() -> chat.encode(List.of(Message.system("x")))).isInstanceOf(InvalidInput.class).hasMessageContaining("user");
    assertThatThrownBy(() -> chat.encode(List.of(Message.assistant("x")))).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("Message 1").hasMessageContaining("expected user");
    assertThatThrownBy(() -> chat.encode(List.of(Message.user("x"), Message.user("y")))).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("Message 2").hasMessageContaining("expected assistant");
    assertThatThrownBy(() -> chat.encode(List.of(Message.user("x"), Message.assistant("y"), Message.system("z"))))
        .isInstanceOf(InvalidInput.class).hasMessageContaining("Message 3");
    assertThatThrownBy(() -> chat.prompt(List.of(Message.user("x"), Message.assistant("y")))).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("end with a user message");
  }

  @Test
  void theTextIsThatOfAPublishedLlama2Template() throws IOException {
    int compared = 0;
    for (var row : Golden.json("chat-templates/llama.cpp-dev.json")) {
      String template = row.path("chat_template").asText();
      if (template.contains("[INST]") && template.contains("content.strip()")) { // as Meta does; others keep the spaces
        var talk = row.path("messages").valueStream().map(m ->
            new Message(Role.valueOf(m.path("role").asText().toUpperCase(Locale.ROOT)), m.path("content").asText())).toList();
        assertThat(Llama2Chat.text(talk, row.path("bos_token").asText(), row.path("eos_token").asText()))
            .isEqualTo(row.path("python_jinja2_rendering").asText());
        compared++;
      }
    }
    assertThat(compared).isPositive();
    assertThat(new Llama2Chat(trained()).render(TALK.subList(1, 3))).isEqualTo("<s>[INST] Hi there [/INST] Hello! </s>");
  }

  private static List<Tokenizer> tokenizers() {
    return Golden.present("llama2-tokenizer/tokenizer.model")
        ? List.of(trained(), SentencePieceBpe.read(Golden.file("llama2-tokenizer/tokenizer.model"))) : List.of(trained());
  }
}
