package org.llmcore.data;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

import org.llmcore.InvalidInput;
import org.llmcore.data.Problem.Kind;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.llmcore.data.ByteTokenizer.LLAMA;
import static org.llmcore.data.ByteTokenizer.given;
import static org.llmcore.data.ByteTokenizer.learned;

class DataFileTest {
  private static final String CHAT = "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}, {\"role\": \"assistant\", \"content\": \"yo\"}]}";
  private static final Examples EXAMPLES = new Examples(LLAMA, new RoleTags(LLAMA));

  @TempDir Path folder;

  private DataFile file(String name, String content) throws IOException {
    return DataFile.detect(Files.writeString(folder.resolve(name), content));
  }

  private DataFile bytes(String name, byte[] content) throws IOException {
    return DataFile.detect(Files.write(folder.resolve(name), content));
  }

  private static List<Example> load(DataFile f) {
    return f.load(EXAMPLES, 4096, TooLong.REFUSE).data().examples();
  }

  private static Problems problems(DataFile f) {
    var p = new Problems(100);
    f.read(p, _ -> {});
    return p;
  }

  @Test
  void chatAnswersAndTheirEosAreLearned() throws IOException {
    var f = file("c.jsonl", CHAT + "\n");
    assertThat(f.sentence()).isEqualTo("c.jsonl: JSON lines of OpenAI chat: messages of role and content");
    var e = load(f).getFirst();
    assertThat(learned(e)).isEqualTo("yo|");
    assertThat(given(e)).isEqualTo("^u:hia:");
    assertThat(e.origin()).isEqualTo("c.jsonl:1");
  }

  @Test
  void weightZeroTakesAnAnswerOutOfTheLoss() throws IOException {
    var e = load(file("c.jsonl", """
      {"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","weight":0},\
      {"role":"user","content":"c"},{"role":"assistant","content":"d","weight":1}]}
      """)).getFirst();
    assertThat(learned(e)).isEqualTo("d|");
    assertThat(given(e)).isEqualTo("^u:aa:b|u:ca:");
  }

  @Test
  void contentMayBeAListOfTextPartsAndOfNothingElse() throws IOException {
    var parts = CHAT.replace("\"hi\"", "[{\"type\":\"text\",\"text\":\"h\"},{\"type\":\"text\",\"text\":\"i\"}]");
    assertThat(load(file("c.jsonl", parts)).getFirst().ids()).isEqualTo(load(file("d.jsonl", CHAT)).getFirst().ids());
    var image = CHAT.replace("\"hi\"", "[{\"type\":\"image_url\",\"image_url\":{\"url\":\"x\"}}]");
    assertThatThrownBy(() -> load(file("e.jsonl", image))).isInstanceOf(InvalidInput.class)
      .hasMessageContaining("missing_content: message 1 has parts that are no text in its content");
    assertThatThrownBy(() -> load(file("f.jsonl", CHAT.replace("\"hi\"", "[]")))).hasMessageContaining("an empty content");
  }

  @Test
  void aLineWithoutItsClosingBraceIsNamedWithLineAndColumn() throws IOException {
    var open = CHAT.substring(0, CHAT.length() - 1);
    assertThatThrownBy(() -> load(file("c.jsonl", CHAT + "\n\n" + open + "\n" + CHAT)))
      .isInstanceOf(InvalidInput.class)
      .hasMessageContaining("c.jsonl: 1 problem (json 1)")
      .hasMessageContaining("line 3, column " + CHAT.length() + ": json: the line ends before its value is closed: } is missing");
  }

  @ParameterizedTest
  @CsvSource(delimiter = '~', quoteCharacter = '`', value = {
    "{\"messages\": [{\"role\": \"user\"                ~ 30 ~ the line ends before its value is closed: }]} is missing",
    "{\"messages\": [{\"role\": \"us                    ~ 27 ~ the line ends inside a text: \" is missing",
    "{\"messages\": []} {}                              ~ 18 ~ text after the end of the value; one value a line",
    "{\"messages\": [], \"messages\": []}               ~ 28 ~ Duplicate",
    "{\"messages\": [{]}                                ~ 16 ~ Unexpected close marker",
    "{\"messages\": [{\"role\": \"user\"]}              ~ 30 ~ Unexpected close marker",
  })
  void syntaxErrorsHaveAColumn(String line, int column, String words) throws IOException {
    var p = problems(file("c.jsonl", CHAT + "\n" + line + "\n")).list();
    assertThat(p).hasSize(1);
    assertThat(p.getFirst().line()).isEqualTo(2);
    assertThat(p.getFirst().kind()).isEqualTo(Kind.JSON);
    assertThat(p.getFirst().sentence()).contains(words).doesNotContain("Source");
    assertThat(p.getFirst().column()).isEqualTo(column);
  }

  @Test
  void openAiErrorsAreCountedAsTheCookbookCountsThem() throws IOException {
    var p = problems(file("c.jsonl", CHAT + "\n" + """
      ["not an object"]
      {"messages": []}
      {"message": [{"role":"user","content":"x"}]}
      {"messages": [{"role":"user"},{"role":"assistant","content":"x"}]}
      {"messages": [{"role":"user","content":"x","mood":"good"},{"role":"assistant","content":"x"}]}
      {"messages": [{"role":"bot","content":"x"},{"role":"assistant","content":"x"}]}
      {"messages": [{"role":"user","content":""},{"role":"assistant","content":["x"]}]}
      {"messages": [{"role":"user","content":"x"}]}
      {"messages": [{"role":"assistant","content":"x","weight":2}]}
      {"messages": [{"role":"user","content":"x","weight":1},{"role":"assistant","content":"x"}]}
      {"messages": [{"role":"function","content":"x"},{"role":"assistant","content":"x"}]}
      """));
    assertThat(p.counts()).isEqualTo(Map.of(
      Kind.DATA_TYPE, 1, Kind.MISSING_MESSAGES_LIST, 2, Kind.MESSAGE_MISSING_KEY, 1, Kind.MESSAGE_UNRECOGNIZED_KEY, 1,
      Kind.UNRECOGNIZED_ROLE, 1, Kind.MISSING_CONTENT, 3, Kind.EXAMPLE_MISSING_ASSISTANT_MESSAGE, 1, Kind.WEIGHT, 2, Kind.FORM, 1));
    assertThat(p.list().getFirst()).hasToString("line 2: data_type: expected an object, found a list");
    assertThat(p.list().get(4)).hasToString("line 5: missing_content: message 1 has no text as content");
  }

  @Test
  void allProblemsAreCountedAndTheFirstTwentyShown() throws IOException {
    assertThatThrownBy(() -> load(file("c.jsonl", CHAT + "\n" + "{\"messages\":[]}\n".repeat(33))))
      .hasMessageContaining("33 problems (missing_messages_list 33)")
      .hasMessageContaining("line 21: ").hasMessageContaining("… and 13 more")
      .satisfies(e -> assertThat(e.getMessage()).doesNotContain("line 22: "));
  }

  @Test
  void whatTheChatFormRefusesIsAProblemOfItsLine() throws IOException {
    assertThatThrownBy(() -> load(file("c.jsonl", CHAT + "\n" + CHAT.replace("hi", "refuse me"))))
      .isInstanceOf(InvalidInput.class).hasMessageContaining("line 2: form: cannot spell this; use other words");
  }

  @Test
  void byteOrderMarkAndWindowsLineEndsAreNoPartOfTheData() throws IOException {
    assertThat(load(file("c.jsonl", "\uFEFF" + CHAT + "\r\n" + CHAT + "\r\n"))).hasSize(2)
      .allSatisfy(e -> assertThat(learned(e)).isEqualTo("yo|"));
    assertThat(load(file("a.json", "\uFEFF[{\"instruction\":\"i\",\"output\":\"o\"}]\r\n"))).hasSize(1);
    assertThat(given(load(file("t.txt", "\uFEFFa\r\nb")).getFirst()) + learned(load(file("t.txt", "\uFEFFa\r\nb")).getFirst()))
      .isEqualTo("^a\nb|");
  }

  @Test
  void invalidUtf8IsNamedWithItsPlace() throws IOException {
    var bad = (CHAT + "\n" + CHAT.replace("hi", "h\u00e9") + "\n").getBytes(StandardCharsets.ISO_8859_1);
    assertThat(problems(bytes("c.jsonl", bad)).list())
      .containsExactly(new Problem(Kind.ENCODING, 2, CHAT.indexOf("hi") + 2, "byte 0xE9 is not UTF-8"));
    var broken = "[\n{\"instruction\":\"\u00e9\",\"output\":\"o\"}]".getBytes(StandardCharsets.ISO_8859_1);
    assertThatThrownBy(() -> bytes("a.json", broken)).isInstanceOf(InvalidInput.class).hasMessageContaining("line 2, column 17: encoding");
    assertThatThrownBy(() -> load(bytes("t.txt", "\uFEFFhello\n".getBytes(StandardCharsets.UTF_16LE))))
      .hasMessageContaining("line 1, column 1").hasMessageContaining("UTF-16");
  }

  @Test
  void promptAndCompletionKeepTheirBorder() throws IOException {
    var two = load(file("p.jsonl", """
      {"prompt": "2+2=", "completion": "4"}
      {"prompt": "", "completion": "hello"}
      """));
    assertThat(two).extracting(ByteTokenizer::given).containsExactly("^2+2=", "^");
    assertThat(two).extracting(ByteTokenizer::learned).containsExactly("4|", "hello|");
    assertThat(EXAMPLES.prompt("2+2=")).isEqualTo(new int[] {1, '2' + 3, '+' + 3, '2' + 3, '=' + 3});
  }

  @Test
  void anEmptyCompletionOrAMissingColumnIsRefused() throws IOException {
    assertThat(problems(file("p.jsonl", """
      {"prompt": "a", "completion": "b"}
      {"prompt": "a", "completion": "  "}
      {"prompt": "a"}
      {"prompt": 3, "completion": "b"}
      """)).list()).extracting(Problem::toString).containsExactly(
        "line 2: missing_content: \"completion\" is empty",
        "line 3: missing_key: \"completion\" is nothing, expected a text",
        "line 4: missing_key: \"prompt\" is a number, expected a text");
  }

  @Test
  void alpacaSpeaksThePublishedPrompts() throws IOException {
    var f = file("a.json", """
      [
        {"instruction": "Add.", "input": "1 2", "output": "3"},
        {"instruction": "Greet.", "input": "", "output": "Hi"}
      ]
      """);
    assertThat(f.sentence()).isEqualTo("a.json: a JSON list of instructions: instruction, input, output");
    var both = load(f);
    assertThat(given(both.get(0))).isEqualTo("^Below is an instruction that describes a task, paired with an input that provides further"
      + " context. Write a response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:");
    assertThat(given(both.get(1))).isEqualTo("^Below is an instruction that describes a task. Write a response that appropriately"
      + " completes the request.\n\n### Instruction:\nGreet.\n\n### Response:");
    assertThat(both).extracting(ByteTokenizer::learned).containsExactly("3|", "Hi|");
    assertThat(both).extracting(Example::origin).containsExactly("a.json:2", "a.json:3");
  }

  @Test
  void aListThatIsNotClosedIsNamedWithItsEnd() throws IOException {
    assertThatThrownBy(() -> load(file("a.json", "[\n  {\"instruction\": \"i\", \"output\": \"o\"},\n  {\"instruction\": \"i\"")))
      .isInstanceOf(InvalidInput.class).hasMessageContaining("line 3, column 22: json: the file ends before its value is closed: }] is missing");
  }

  @Test
  void shareGptIsAConversation() throws IOException {
    var e = load(file("s.jsonl", """
      {"system": "s", "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}
      """)).getFirst();
    assertThat(given(e)).isEqualTo("^s:su:qa:");
    assertThat(learned(e)).isEqualTo("a|");
  }

  @Test
  void plainTextIsOneDocumentOrSeveral() throws IOException {
    var f = file("t.txt", "[Scene I]\none\n%%\n\n%%\ntwo\n");
    assertThat(f.format()).isEqualTo(Format.TEXT);
    var samples = new ArrayList<Sample>();
    f.read(new Problems(1), samples::add);
    assertThat(samples).containsExactly(new Sample.Document("[Scene I]\none\n%%\n\n%%\ntwo\n", "t.txt:1"));
    samples.clear();
    f.separatedBy("%%").read(new Problems(1), samples::add);
    assertThat(samples).containsExactly(new Sample.Document("[Scene I]\none\n", "t.txt:1"), new Sample.Document("two\n", "t.txt:6"));
  }

  @Test
  void documentsBecomeOneStreamOfWindows() throws IOException {
    var f = file("d.jsonl", "{\"text\":\"abc\"}\n{\"text\":\"de\"}\n");
    var loaded = f.load(EXAMPLES, 4, TooLong.REFUSE).data();
    assertThat(loaded.objective()).isEqualTo(Objective.TEXT);
    // stream ^abc|^de|
    assertThat(loaded.examples()).extracting(ByteTokenizer::given).containsExactly("^", "c^", "d");
    assertThat(loaded.examples()).extracting(ByteTokenizer::learned).containsExactly("abc", "|d", "e|");
  }

  @Test
  void examplesLongerThanTheContextAreRefusedWithTheirNumberAndTheLongest() throws IOException {
    var f = file("p.jsonl", """
      {"prompt": "abcdef", "completion": "g"}
      {"prompt": "a", "completion": "b"}
      {"prompt": "a", "completion": "bcdefghijk"}
      """);
    assertThatThrownBy(() -> f.load(EXAMPLES, 8, TooLong.REFUSE)).isInstanceOf(InvalidInput.class)
      .hasMessageContaining("2 of 3 examples are longer than the context of 8 tokens; the longest has 13 (p.jsonl:3)");
    var dropped = f.load(EXAMPLES, 8, TooLong.SKIP);
    assertThat(dropped.dropped()).isEqualTo(2);
    assertThat(dropped.data().examples()).extracting(Example::origin).containsExactly("p.jsonl:2");
    var cut = f.load(EXAMPLES, 7, TooLong.TRUNCATE);
    assertThat(cut.cut()).isEqualTo(1);
    assertThat(cut.dropped()).as("cut before its answer, the first has nothing to learn").isEqualTo(1);
    assertThat(cut.data().examples()).extracting(ByteTokenizer::learned).containsExactly("b|", "bcdef");
    assertThatThrownBy(() -> f.load(EXAMPLES, 3, TooLong.SKIP)).hasMessageContaining("no example is left");
  }

  @Test
  void absentEmptyAndUnknownFilesAreRefusedInASentence() throws IOException {
    assertThatThrownBy(() -> DataFile.detect(folder.resolve("none.jsonl"))).isInstanceOf(InvalidInput.class).hasMessageContaining("no file");
    assertThatThrownBy(() -> file("e.jsonl", " \n\n")).isInstanceOf(InvalidInput.class).hasMessageContaining("e.jsonl is empty");
    assertThatThrownBy(() -> file("e.json", "[]")).isInstanceOf(InvalidInput.class).hasMessageContaining("no row has the keys");
    assertThatThrownBy(() -> file("k.jsonl", "{\"sentence\": 1}")).isInstanceOf(InvalidInput.class).hasMessageContaining("found [sentence]");
    assertThatThrownBy(() -> file("c.jsonl", "hello\n")).isInstanceOf(InvalidInput.class).hasMessageContaining("begins with 'h'");
    assertThatThrownBy(() -> file("c.jsonl", CHAT).separatedBy("x")).isInstanceOf(InvalidInput.class);
  }

  @Test
  void aBrokenFirstLineDoesNotHideTheFormat() throws IOException {
    var f = file("c.jsonl", CHAT.substring(0, 20) + "\n" + CHAT);
    assertThat(f.format()).isEqualTo(Format.OPENAI);
    assertThat(problems(f).list()).extracting(Problem::line).containsExactly(1L);
  }

  @Test
  void aTokenizerWithoutEosCannotLearnAnswers() throws IOException {
    var endless = new ByteTokenizer(true, java.util.OptionalInt.empty());
    var f = file("p.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}");
    assertThatThrownBy(() -> f.load(new Examples(endless, new RoleTags(endless)), 9, TooLong.REFUSE))
      .isInstanceOf(InvalidInput.class).hasMessageContaining("no EOS");
  }
}
