package org.llmcore.data;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

import com.fasterxml.jackson.databind.ObjectMapper;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.llmcore.data.ByteTokenizer.LLAMA;

/// Files other people published, read to the last row.
class PublishedDataTest {
  private static final Examples EXAMPLES = new Examples(LLAMA, new RoleTags(LLAMA));

  private static Path data(String name) {
    var path = Path.of(System.getProperty("llm.data", "../shared/data")).resolve(name);
    Assumptions.assumeTrue(Files.exists(path), "the data file " + name + " is not on this machine");
    return path;
  }

  private static List<Sample> samples(DataFile file) {
    var problems = new Problems(20);
    var list = new ArrayList<Sample>();
    file.read(problems, list::add);
    assertThat(problems.list()).isEmpty();
    return list;
  }

  @Test
  void openAiToyDataGivesTheCookbooksNumbers() throws IOException {
    var expected = new ObjectMapper().readTree(data("openai-chat/toy_chat_fine_tuning.expected.json").toFile());
    var file = DataFile.detect(data("openai-chat/toy_chat_fine_tuning.jsonl"));
    assertThat(file.format()).isEqualTo(Format.OPENAI);
    var survey = new ChatSurvey();
    samples(file).forEach(survey::add);
    var found = survey.result();
    assertThat(expected.get("format_errors")).isEmpty();
    assertThat(found.examples()).isEqualTo(expected.get("num_examples").asInt());
    assertThat(found.withoutSystem()).isEqualTo(expected.get("num_examples_missing_system_message").asInt());
    assertThat(found.withoutUser()).isEqualTo(expected.get("num_examples_missing_user_message").asInt());
    var m = expected.get("num_messages_per_example");
    assertThat(found.messages().min()).isEqualTo(m.get("min").asDouble());
    assertThat(found.messages().max()).isEqualTo(m.get("max").asDouble());
    assertThat(found.messages().mean()).isEqualTo(m.get("mean").asDouble());
    assertThat(found.messages().median()).isEqualTo(m.get("median").asDouble());
    assertThat(found.messages().p10()).isCloseTo(m.get("p10").asDouble(), within(1e-12));
    assertThat(found.messages().p90()).isCloseTo(m.get("p90").asDouble(), within(1e-12));
  }

  @Test
  void identityInstructionsAreAnAlpacaList() throws IOException {
    var path = data("text/identity_sft.json");
    var file = DataFile.detect(path);
    assertThat(file.format()).isEqualTo(Format.ALPACA);
    assertThat(samples(file)).hasSize(new ObjectMapper().readTree(path.toFile()).size()).isNotEmpty();
    assertThat(MaskReport.of(file.load(EXAMPLES, 4096, TooLong.REFUSE).data(), LLAMA).findings()).isEmpty();
  }

  @Test
  void gsm8kIsQuestionsAndAnswers() {
    var file = DataFile.detect(data("gsm8k/train-500.jsonl"));
    assertThat(file.format()).isEqualTo(Format.PAIRS);
    var first = (Sample.Pair) samples(file).getFirst();
    assertThat(samples(file)).hasSize(500);
    assertThat(first.prompt()).startsWith("Natalia sold clips");
    assertThat(first.completion()).endsWith("#### 72");
  }

  @Test
  void selfInstructSeedTasksGiveOneSamplePerInstance() throws IOException {
    var path = data("text/self_instruct_seed_tasks.jsonl");
    var file = DataFile.detect(path);
    assertThat(file.format()).isEqualTo(Format.ALPACA);
    int instances = 0;
    for (var line : Files.readAllLines(path)) instances += new ObjectMapper().readTree(line).get("instances").size();
    assertThat(samples(file)).hasSize(instances).hasSizeGreaterThanOrEqualTo(175);
  }

  @Test
  void c4IsRowsOfText() throws IOException {
    var path = data("text/c4_demo.jsonl");
    var file = DataFile.detect(path);
    assertThat(file.format()).isEqualTo(Format.DOCUMENTS);
    assertThat(samples(file)).hasSize(Files.readAllLines(path).size());
  }

  @Test
  void shakespeareIsReadByteForByteAndCutWithoutLoss() throws IOException {
    var path = data("tinyshakespeare/input.txt");
    var file = DataFile.detect(path);
    assertThat(file.format()).isEqualTo(Format.TEXT);
    assertThat(samples(file)).containsExactly(new Sample.Document(Files.readString(path), "input.txt:1"));
    var windows = file.load(EXAMPLES, 256, TooLong.REFUSE).data();
    assertThat(windows.learned()).as("every byte and EOS, once").isEqualTo(Files.size(path) + 1);
    assertThat(windows.lengths()).startsWith(256, 256);
    assertThat(MaskReport.of(windows, LLAMA).findings()).isEmpty();
  }
}
