package org.llmcore.checkpoint;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalInt;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

import org.llmcore.InvalidInput;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

class LlamaConfigTest {
  private static final ObjectMapper JSON = new ObjectMapper();

  /// Llama-2-7B as transformers 4 writes it.
  private static final String LLAMA_2 = """
      {"_name_or_path": "meta-llama/Llama-2-7b-hf", "architectures": ["LlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2,
       "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 11008, "max_position_embeddings": 4096,
       "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32, "pretraining_tp": 1,
       "rms_norm_eps": 1e-05, "rope_scaling": null, "tie_word_embeddings": false, "torch_dtype": "float16", "transformers_version": "4.31.0.dev0",
       "use_cache": true, "vocab_size": 32000}""";

  @TempDir private Path folder;

  private LlamaConfig read(String json) throws IOException {
    return LlamaConfig.read(Files.writeString(folder.resolve("config.json"), json));
  }

  /// Llama-2-7B's file with some keys changed; a value of `-` takes the key out.
  private String changed(String... keysAndValues) throws IOException {
    var c = (ObjectNode) JSON.readTree(LLAMA_2);
    for (int i = 0; i < keysAndValues.length; i += 2) {
      if (keysAndValues[i + 1].equals("-")) c.remove(keysAndValues[i]);
      else c.set(keysAndValues[i], JSON.readTree(keysAndValues[i + 1]));
    }
    return c.toString();
  }

  private void refused(String json, String... words) {
    assertThatThrownBy(() -> read(json)).isInstanceOf(InvalidInput.class).hasMessageContainingAll(words)
        .hasMessageContainingAll(folder.toString(), "---> ");
  }

  @Test
  void llama2IsReadAsPublished() throws IOException {
    var c = read(LLAMA_2);
    assertThat(c)
        .isEqualTo(
            new LlamaConfig(
                32000, 4096, 11008, 32, 32, 32, 128, 4096, 1e-5, 10000, 1, false, OptionalInt.of(1), List.of(2),
                OptionalInt.empty(), "float16"));
    assertThat(c.parameters()).isEqualTo(6_738_415_616L);
  }

  @Test
  void aFileOfTransformers5IsRead() {
    var file = Path.of(System.getProperty("llm.data", "../shared/data"), "stories260k/hf/config.json");
    assumeTrue(Files.exists(file), "skipped: " + file + " is not here");
    var c = LlamaConfig.read(file);
    assertThat(c)
        .isEqualTo(new LlamaConfig(512, 64, 172, 5, 8, 4, 8, 512, 1e-5, 10000, 1, true, OptionalInt.of(1), List.of(2),
            OptionalInt.empty(), "float32"));
    assertThat(c.parameters()).isEqualTo(260_032);
  }

  @ParameterizedTest
  @CsvSource(delimiter = '|', value = {
      "rope_theta | 500000.0 | x | - | 500000 | 1",
      "rope_theta | 500000 | rope_parameters | {\"rope_theta\": 1000.0, \"rope_type\": \"default\"} | 1000 | 1",
      "rope_theta | 500000 | rope_parameters | {\"rope_type\": \"default\"} | 500000 | 1",
      "rope_theta | 500000 | rope_parameters | null | 500000 | 1",
      "rope_theta | - | rope_parameters | {\"rope_theta\": 10000.0, \"rope_type\": \"linear\", \"factor\": 4.0} | 10000 | 4",
      "rope_theta | 10000 | rope_scaling | {\"type\": \"linear\", \"factor\": 2.0} | 10000 | 2",
      "rope_theta | 10000 | rope_scaling | {\"rope_type\": \"linear\", \"factor\": 8} | 10000 | 8",
      "rope_theta | 10000 | rope_scaling | {\"rope_type\": \"linear\", \"type\": \"linear\", \"factor\": 8.5} | 10000 | 8.5",
      "rope_theta | 10000 | rope_scaling | {\"rope_type\": \"default\"} | 10000 | 1",
      "rope_theta | - | rope_scaling | {\"rope_type\": \"linear\", \"factor\": 4.0, \"rope_theta\": 500000.0} | 500000 | 4",
      "rope_parameters | {\"rope_type\": \"default\", \"rope_theta\": 10000.0} | rope_scaling | {\"type\": \"linear\", \"factor\": 4.0} | 10000 | 4",
      "rope_parameters | {\"rope_type\": \"linear\", \"factor\": 2} | rope_scaling | {} | 10000 | 2",
      "hidden_act | \"swish\" | rope_scaling | null | 10000 | 1"})
  void rotarySettingsAreFoundWhereEitherVersionKeepsThem(String a, String av, String b, String bv, double theta,
      double scale) throws IOException {
    var c = read(changed(a, av, b, bv));
    assertThat(c.ropeTheta()).isEqualTo(theta);
    assertThat(c.ropeScale()).isEqualTo(scale);
  }

  @Test
  void rotarySettingsThatContradictEachOtherAreRefused() throws IOException {
    refused(changed("rope_parameters", "{\"rope_type\": \"default\", \"rope_theta\": 500000}", "rope_scaling", "{\"type\": \"linear\", \"factor\": 4}"),
        "rope_theta is 500000.0 in rope_parameters and 10000.0 beside it");
  }

  @Test
  void dtypeIsFoundUnderBothNames() throws IOException {
    assertThat(read(changed("torch_dtype", "-", "dtype", "\"bfloat16\"")).dtype()).isEqualTo("bfloat16");
    assertThat(read(changed("torch_dtype", "\"float16\"", "dtype", "\"bfloat16\"")).dtype()).isEqualTo("bfloat16");
    assertThat(read(changed("torch_dtype", "-")).dtype()).isEqualTo("float32");
    refused(changed("torch_dtype", "{}"), "torch_dtype is {}");
  }

  @Test
  void headsAreDerivedOnlyWhereTheFileLeavesThemOut() throws IOException {
    assertThat(read(changed("num_key_value_heads", "-")).kvHeads()).isEqualTo(32);
    assertThat(read(changed("num_key_value_heads", "null")).kvHeads()).isEqualTo(32);
    assertThat(read(changed("num_key_value_heads", "8")).kvHeads()).isEqualTo(8);
    assertThat(read(changed("head_dim", "64")).headDim()).isEqualTo(64);
    assertThat(read(changed("head_dim", "null")).headDim()).isEqualTo(128);
    assertThat(read(changed("hidden_size", "100", "head_dim", "128")).headDim()).isEqualTo(128);
    refused(changed("hidden_size", "4097"), "4097", "32 heads", "give head_dim");
    refused(changed("num_key_value_heads", "5"), "32 heads with 5 key/value heads");
    refused(changed("head_dim", "63"), "head dimension 63 is odd");
  }

  @Test
  void idsThatEndASequenceMayBeOneSeveralOrNone() throws IOException {
    assertThat(read(changed("vocab_size", "128256", "eos_token_id", "[128001, 128008, 128009]")).eos())
        .containsExactly(128001, 128008, 128009);
    assertThat(read(changed("eos_token_id", "null")).eos()).isEmpty();
    assertThat(read(changed("eos_token_id", "-")).eos()).isEmpty();
    assertThat(read(changed("bos_token_id", "-")).bos()).isEmpty();
    assertThat(read(changed("bos_token_id", "0")).bos()).hasValue(0);
    assertThat(read(changed("pad_token_id", "-1")).pad()).isEmpty();
    assertThat(read(changed("pad_token_id", "32000")).pad()).isEmpty();
    assertThat(read(changed("pad_token_id", "0")).pad()).hasValue(0);
    refused(changed("eos_token_id", "32000"), "eos_token_id is 32000", "vocabulary of 32000");
    refused(changed("eos_token_id", "[2, -1]"), "eos_token_id is -1");
    refused(changed("eos_token_id", "[\"</s>\"]"), "eos_token_id is [\"</s>\"]", "an integer");
    refused(changed("eos_token_id", "\"2\""), "eos_token_id is \"2\"");
    refused(changed("eos_token_id", "2.5"), "eos_token_id is 2.5");
    refused(changed("bos_token_id", "[1]"), "bos_token_id is [1]");
    refused(changed("bos_token_id", "99999"), "bos_token_id is 99999");
  }

  @ParameterizedTest
  @CsvSource(delimiter = '|', value = {
      "attention_bias | true | attention_bias is true",
      "mlp_bias | true | mlp_bias is true",
      "model_type | \"mistral\" | model_type is 'mistral'",
      "model_type | \"gpt2\" | only 'llama'",
      "model_type | - | model_type is ''",
      "hidden_act | \"gelu\" | hidden_act is 'gelu'",
      "rope_scaling | {\"rope_type\": \"llama3\", \"factor\": 8.0} | rope type is 'llama3'",
      "rope_scaling | {\"type\": \"dynamic\", \"factor\": 8.0} | rope type is 'dynamic'",
      "rope_scaling | {\"factor\": 8.0} | rope_scaling has a factor and no rope_type",
      "rope_parameters | {\"rope_type\": \"yarn\", \"factor\": 8.0} | rope type is 'yarn'",
      "quantization_config | {\"quant_method\": \"bitsandbytes\", \"bits\": 4} | quantized"})
  void whatIsNotSupportedIsRefusedByName(String key, String value, String words) throws IOException {
    refused(changed(key, value), words);
  }

  @Test
  void theShapeOfAGptqModelIsReadFromItsConfig() {
    var file = Path.of(System.getProperty("llm.data", "../shared/data"), "gptq/w4_g32_asym/config.json");
    assumeTrue(Files.exists(file), "skipped: " + file + " is not here");
    assertThat(LlamaConfig.read(file).intermediate()).isEqualTo(192);
  }

  @ParameterizedTest
  @ValueSource(strings = {
      "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
      "head_dim", "max_position_embeddings"})
  void sizesOfTheWrongKindAreRefusedByName(String key) throws IOException {
    for (var value : List.of("0", "-1", "2147483647", "2147483648", "99999999999999999999", "1e3", "4096.0", "\"4096\"",
        "[4096]", "{}", "true")) {
      refused(changed(key, value), "is ");
    }
    for (var value : List.of("\"4096\"", "true", "4096.5")) refused(changed(key, value), key + " is " + value,
        "nothing is assumed for it");
  }

  @ParameterizedTest
  @ValueSource(strings = {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
      "max_position_embeddings", "rms_norm_eps"})
  void nothingThatChangesResultsIsFilledFromDefaults(String key) throws IOException {
    refused(changed(key, "-"), "config.json: " + key + " is missing");
    refused(changed(key, "null"), "config.json: " + key + " is null");
  }

  @ParameterizedTest
  @CsvSource(delimiter = '|', value = {
      "rms_norm_eps | \"1e-5\"", "rms_norm_eps | -1e-5", "rms_norm_eps | 1", "rms_norm_eps | 1e999", "rope_theta | \"10000\"",
      "rope_theta | 0",
      "rope_theta | -5", "rope_theta | 1e999", "rope_theta | 1e40", "rope_scaling | 2", "rope_scaling | \"linear\"",
      "rope_scaling | [\"linear\"]",
      "rope_scaling | {\"type\": \"linear\"}", "rope_scaling | {\"type\": \"linear\", \"factor\": \"2\"}",
      "rope_scaling | {\"type\": \"linear\", \"factor\": 0}",
      "rope_scaling | {\"type\": \"linear\", \"factor\": -2}", "rope_scaling | {\"type\": \"linear\", \"factor\": 1e999}",
      "rope_scaling | {\"type\": 3}",
      "rope_parameters | \"default\"", "rope_parameters | {\"rope_theta\": \"x\"}", "tie_word_embeddings | \"yes\"",
      "tie_word_embeddings | 1",
      "attention_bias | \"false\"", "attention_bias | 0", "hidden_act | 3", "model_type | [\"llama\"]"})
  void valuesOfTheWrongKindAreNeverTakenForDefaults(String key, String value) throws IOException {
    refused(changed(key, value), "expected ");
  }

  @ParameterizedTest
  @ValueSource(strings = {"", " ", "{", "[]", "null", "3", "\"llama\"", "{}{}", "{\"model_type\": \"llama\"",
      "{\"rms_norm_eps\": NaN}", "\uFEFF{}"})
  void whatIsNoJsonObjectIsRefused(String content) {
    refused(content, "config.json");
  }

  @Test
  void aKeyThatStandsTwiceIsRefused() {
    refused(LLAMA_2.replace("\"vocab_size\": 32000", "\"vocab_size\": 32000, \"vocab_size\": 512"), "vocab_size");
  }

  @Test
  void bytesThatAreNotUtf8AreRefused() throws IOException {
    Files.write(folder.resolve("config.json"), new byte[] {'{', '"', (byte) 0xe9, '"', ':', '1', '}'});
    assertThatThrownBy(() -> LlamaConfig.read(folder.resolve("config.json"))).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("not UTF-8");
    assertThatThrownBy(() -> LlamaConfig.read(folder)).isInstanceOf(InvalidInput.class).hasMessageContaining("there is no file");
    assertThatThrownBy(() -> LlamaConfig.read(folder.resolve("none.json"))).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("none.json");
  }

  @Test
  void nestingWithoutEndIsRefused() {
    refused("{\"a\":" + "[".repeat(100_000), "config.json");
  }

  @Test
  void whatIsWrittenIsReadBackEqual() throws IOException {
    for (var c : List.of(
        read(LLAMA_2),
        new LlamaConfig(512, 64, 172, 5, 8, 4, 16, 512, 1e-6, 500000, 4.5, true, OptionalInt.empty(), List.of(),
            OptionalInt.empty(), "bfloat16"),
        new LlamaConfig(512, 64, 172, 5, 8, 8, 8, 512, 0, 1, 0.5, false, OptionalInt.of(0), List.of(3, 2, 7), OptionalInt.of(4),
            "float32"))) {
      assertThat(read(c.toJson())).isEqualTo(c);
    }
    assertThat(read(LLAMA_2).stored("bfloat16").dtype()).isEqualTo("bfloat16");
  }

  @Test
  void generationConfigNamesTheIdsThatBeginAndEnd() throws IOException {
    var one = JSON.readTree(read(LLAMA_2).generationJson());
    assertThat(one.get("bos_token_id").intValue()).isEqualTo(1);
    assertThat(one.get("eos_token_id").intValue()).isEqualTo(2);
    var several = JSON.readTree(read(changed("eos_token_id", "[3, 4]", "bos_token_id", "null")).generationJson());
    assertThat(several.has("bos_token_id")).isFalse();
    assertThat(several.get("eos_token_id").toString()).isEqualTo("[3,4]");
    assertThat(JSON.readTree(read(changed("eos_token_id", "-")).generationJson()).has("eos_token_id")).isFalse();
  }

  @Test
  void generationConfigBesideItAddsItsEnds() throws IOException {
    var beside = folder.resolve("generation_config.json");
    Files.writeString(beside, "{\"eos_token_id\": [7, 2, 9], \"temperature\": 0.6}");
    assertThat(read(LLAMA_2).eos()).containsExactly(2, 7, 9);
    Files.writeString(beside, "{\"temperature\": 0.6}");
    assertThat(read(LLAMA_2).eos()).containsExactly(2);
    Files.writeString(beside, read(changed("eos_token_id", "5")).generationJson());
    assertThat(read(changed("eos_token_id", "-")).eos()).containsExactly(5);
    Files.writeString(beside, "{\"eos_token_id\": 32000}");
    assertThatThrownBy(() -> read(LLAMA_2)).isInstanceOf(InvalidInput.class)
        .hasMessageContainingAll("generation_config.json", "eos_token_id is 32000");
    Files.writeString(beside, "{");
    assertThatThrownBy(() -> read(LLAMA_2)).isInstanceOf(InvalidInput.class).hasMessageContaining("generation_config.json");
  }
}
