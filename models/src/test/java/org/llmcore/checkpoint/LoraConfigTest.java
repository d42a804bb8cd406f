package org.llmcore.checkpoint;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

import org.llmcore.InvalidInput;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

class LoraConfigTest {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final String Q = "model.layers.0.self_attn.q_proj";
  private static final String O = "model.layers.11.self_attn.o_proj";
  private static final String DOWN = "model.layers.1.mlp.down_proj";

  @TempDir private Path folder;

  private LoraConfig read(String json) throws IOException {
    return LoraConfig.read(Files.writeString(folder.resolve("adapter_config.json"), json));
  }

  /// A file with only these keys beside `peft_type`.
  private LoraConfig with(String keys) throws IOException {
    return read("{\"peft_type\": \"LORA\"" + (keys.isEmpty() ? "" : ", " + keys) + "}");
  }

  private void refused(String keys, String... words) {
    assertThatThrownBy(() -> with(keys)).isInstanceOf(InvalidInput.class).hasMessageContainingAll(words)
        .hasMessageContainingAll(folder.toString(), "---> ");
  }

  @Test
  void onlyPeftTypeIsRequired() throws IOException {
    var c = with("");
    assertThat(c).isEqualTo(LoraConfig.of(8, 8, 0, false, List.of("q_proj", "v_proj")));
    assertThat(c.targets(Q)).isTrue();
    assertThat(c.targets(O)).isFalse();
    assertThat(c.scale(Q)).isEqualTo(1);
    assertThatThrownBy(() -> read("{\"r\": 8}")).isInstanceOf(InvalidInput.class).hasMessageContaining("peft_type is ''");
    assertThatThrownBy(() -> read("{\"peft_type\": \"PROMPT_TUNING\"}")).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("PROMPT_TUNING");
    assertThatThrownBy(() -> read("{\"peft_type\": 3}")).isInstanceOf(InvalidInput.class).hasMessageContaining("peft_type is 3");
  }

  @Test
  void aFileOfPeft21IsReadAndWrittenKeyForKey() throws IOException {
    var file = Path.of(System.getProperty("llm.data", "../shared/data"), "peft/qv_r4/init/adapter_config.json");
    assumeTrue(Files.exists(file), "skipped: " + file + " is not here");
    var c = LoraConfig.read(file);
    assertThat(c).isEqualTo(LoraConfig.of(4, 8, 0, false, List.of("q_proj", "v_proj")).onBase("stories260K"));
    assertThat(JSON.readTree(c.toJson())).isEqualTo(JSON.readTree(Files.readString(file)));
    assertThat(c.toJson().lines().map(String::strip).filter(l -> l.startsWith("\"")).map(l -> l.split("\"")[1])
        .filter(k -> !k.endsWith("_proj"))).isSorted();
  }

  @Test
  void aListMatchesWholeNamesAndSuffixesAtADot() throws IOException {
    var c = with("\"target_modules\": [\"o_proj\", \"model.layers.1.mlp.down_proj\", \"proj\"]");
    assertThat(c.targets(O)).isTrue();
    assertThat(c.targets(DOWN)).isTrue();
    assertThat(c.targets("model.layers.2.mlp.down_proj")).isFalse();
    assertThat(c.targets(Q)).isFalse();
    assertThat(c.targets("o_proj")).isTrue();
    assertThat(c.targets("model.no_proj")).isFalse();
  }

  @Test
  void aStringMustMatchTheWholeName() throws IOException {
    var c = with("\"target_modules\": \".*\\\\.(?:0|11)\\\\.self_attn\\\\.[qo]_proj\"");
    assertThat(c.targets(Q)).isTrue();
    assertThat(c.targets(O)).isTrue();
    assertThat(c.targets("model.layers.2.self_attn.q_proj")).isFalse();
    assertThat(with("\"target_modules\": \"q_proj\"").targets(Q)).isFalse();
    refused("\"target_modules\": \"*\"", "'*' is not a regular expression");
    refused("\"target_modules\": \"" + "(".repeat(20_000) + ")".repeat(20_000) + "\"", "not a regular expression");
  }

  @Test
  @Timeout(10)
  void anExpressionThatWouldTryForHoursIsRefused() throws IOException {
    var target = with("\"target_modules\": \"(([a-z._0-9])+)+!\\\\1\"");
    assertThatThrownBy(() -> target.targets("x".repeat(200))).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("takes too long");
    var rank = with("\"rank_pattern\": {\"(x|x)*(x|x)*!\\\\3\": 4}");
    assertThatThrownBy(() -> rank.rank("x".repeat(200))).isInstanceOf(InvalidInput.class).hasMessageContaining("takes too long");
  }

  @Test
  void expressionsArePythons() throws IOException {
    assertThat(with("\"target_modules\": \"(?P<a_b>.*)\\\\.q_proj\\\\Z\"").targets(Q)).isTrue();
    assertThat(with("\"target_modules\": \".*\\\\.(?P<x>[a-z])_p(?P=x)oj\"").targets("model.r_proj")).isTrue();
    assertThat(with("\"target_modules\": \".*\\\\.(?P<x>[a-z])_p(?P=x)oj\"").targets(Q)).isFalse();
    assertThat(with("\"target_modules\": \".*[]q[&&^o]_proj\"").targets(Q)).isTrue();
    assertThat(with("\"target_modules\": \"[^]]*[[q]_proj\"").targets(Q)).isTrue();
    assertThat(with("\"r\": 8, \"rank_pattern\": {\"(?P<x>q)_proj\": 2}").rank(Q)).isEqualTo(2);
    refused("\"target_modules\": \"(?P<x\"", "'(?P<x' is not a regular expression");
    refused("\"target_modules\": \"(?P=x)\"", "'(?P=x)' is not a regular expression");
  }

  @Test
  void excludedModulesAreNoTargets() throws IOException {
    var list = with("\"target_modules\": \"all-linear\", \"exclude_modules\": [\"down_proj\", \"layers.0.self_attn.q_proj\"]");
    assertThat(List.of(Q, O, DOWN)).filteredOn(list::targets).containsExactly(O);
    assertThat(list.targets("model.layers.1.self_attn.q_proj")).isTrue();
    var expression = with("\"target_modules\": [\"q_proj\", \"o_proj\"], \"exclude_modules\": \".*layers\\\\.1\\\\d\\\\..*\"");
    assertThat(List.of(Q, O)).filteredOn(expression::targets).containsExactly(Q);
    assertThat(with("\"target_modules\": [\"q_proj\"], \"exclude_modules\": \"q_proj\"").targets(Q)).as("not the whole name").isTrue();
    for (var c : List.of(list, expression)) assertThat(read(c.toJson())).isEqualTo(c);
    assertThat(JSON.readTree(expression.toJson()).get("exclude_modules").textValue()).isEqualTo(".*layers\\.1\\d\\..*");
  }

  @Test
  void theHeadIsATargetByNameOnly() throws IOException {
    assertThat(with("\"target_modules\": \"all-linear\"").targets("lm_head")).isFalse();
    assertThat(with("\"target_modules\": \"all-linear\"").parts()).isFalse();
    var named = with("\"target_modules\": [\"q_proj\", \"lm_head\"], \"layers_to_transform\": [0]");
    assertThat(List.of(Q, "lm_head")).allMatch(named::targets);
    assertThat(named.parts()).isTrue();
    assertThat(named.unmet(List.of(Q, "lm_head"))).isEmpty();
    assertThat(named.unmet(List.of(O))).containsExactly("q_proj", "lm_head");
  }

  @ParameterizedTest
  @ValueSource(strings = {"all-linear", "ALL-LINEAR", "All-Linear"})
  void allLinearMeansEveryLayerOffered(String spelling) throws IOException {
    var c = with("\"target_modules\": \"" + spelling + "\"");
    assertThat(List.of(Q, O, DOWN)).allMatch(c::targets);
    assertThat(JSON.readTree(c.toJson()).get("target_modules").textValue()).isEqualTo("all-linear");
  }

  @Test
  void numbersOfLayersChooseBlocks() throws IOException {
    var two = with("\"target_modules\": [\"q_proj\", \"o_proj\", \"down_proj\"], \"layers_to_transform\": [0, 11]");
    assertThat(List.of(Q, O, DOWN)).filteredOn(two::targets).containsExactly(Q, O);
    var one = with("\"target_modules\": [\"q_proj\", \"o_proj\", \"down_proj\"], \"layers_to_transform\": 1, \"layers_pattern\": \"layers\"");
    assertThat(List.of(Q, O, DOWN)).filteredOn(one::targets).containsExactly(DOWN);
    assertThat(one.targets("model.down_proj")).isFalse();
    assertThat(one.targets("down_proj")).as("PEFT asks for no block where a list has the whole name").isTrue();
    var other = with("\"target_modules\": [\"q_proj\"], \"layers_to_transform\": [0], \"layers_pattern\": [\"h\", \"blocks\"]");
    assertThat(other.targets(Q)).isFalse();
    assertThat(other.targets("model.blocks.0.q_proj")).isTrue();
    assertThat(other.targets("model.h.0.blocks.1.q_proj")).as("the first list that is there counts").isTrue();
    // The first number of a name is the block's, not that of an expert in it.
    assertThat(with("\"target_modules\": [\"up_proj\"], \"layers_to_transform\": [1]").targets("model.layers.1.experts.0.up_proj")).isTrue();
    for (var c : List.of(two, one, other)) assertThat(read(c.toJson())).isEqualTo(c);
    assertThatThrownBy(() ->
        with("\"target_modules\": \"all-linear\", \"layers_to_transform\": [0]")).hasMessageContaining("one expression");
  }

  @Test
  void modulesAreSavedByTheEndOfTheirNameOrOfOneAroundThem() throws IOException {
    var c = with("\"target_modules\": [\"q_proj\", \"down_proj\"], \"modules_to_save\": [\"norm\", \"lm_head\", \"1.mlp\"]");
    assertThat(List.of("model.norm", "model.layers.0.input_layernorm", "lm_head", DOWN)).allMatch(m -> c.saves(m).isPresent());
    assertThat(List.of("model.embed_tokens", Q, "model.layers.2.mlp.down_proj")).allMatch(m -> c.saves(m).isEmpty());
    assertThat(c.targets(DOWN)).as("saved whole, hence no target").isFalse();
    assertThat(c.targets("model.layers.2.mlp.down_proj")).isTrue();
    assertThat(c.parts()).isTrue();
    assertThat(read(c.toJson())).isEqualTo(c);
    assertThat(JSON.readTree(c.toJson()).get("modules_to_save").toString()).isEqualTo("[\"norm\",\"lm_head\",\"1.mlp\"]");
  }

  @Test
  void theScaleIsAlphaOverRankOrItsRoot() throws IOException {
    assertThat(with("\"r\": 16, \"lora_alpha\": 32").scale(Q)).isEqualTo(2);
    assertThat(with("\"r\": 16, \"lora_alpha\": 32, \"use_rslora\": true").scale(Q)).isEqualTo(8);
    assertThat(with("\"r\": 8, \"lora_alpha\": 2.5").scale(Q)).isEqualTo(0.3125);
  }

  @Test
  void patternsOverrideRankAndAlphaPerModule() throws IOException {
    var c = with(
        "\"r\": 8, \"lora_alpha\": 8, \"rank_pattern\": {\"q_proj\": 4, \"layers\\\\.1\\\\..*\": 2}, "
            + "\"alpha_pattern\": {\"^model.layers.1.mlp.down_proj\": 6}");
    assertThat(c.rank(Q)).isEqualTo(4);
    assertThat(c.scale(Q)).isEqualTo(2);
    assertThat(c.rank(DOWN)).isEqualTo(2);
    assertThat(c.scale(DOWN)).isEqualTo(3);
    assertThat(c.rank(O)).isEqualTo(8);
    assertThat(with("\"rank_pattern\": {\"proj\": 4}").rank(Q)).isEqualTo(8);
    var keys = "\"rank_pattern\": {\"self_attn.q_proj\": 4, \"layers.0.self_attn.q_proj\": 2, \"a\": 1}";
    assertThat(with(keys).rank(Q)).as("the first that matches").isEqualTo(4);
    assertThat(read(with(keys).toJson()).rank(Q)).as("after a round trip").isEqualTo(4);
  }

  @ParameterizedTest
  @CsvSource(delimiter = '|', value = {
      "lora_bias | true", "use_qalora | true",
      "target_parameters | [\"mlp.experts.gate_up_proj\"]",
      "layer_replication | [[0, 4], [2, 5]]", "trainable_token_indices | [1]",
      "trainable_token_indices | {\"embed_tokens\": [1]}", "alora_invocation_tokens | [3]",
      "use_bdlora | true", "megatron_config | {\"a\": 1}", "corda_config | {\"a\": 1}",
      "init_lora_weights | \"loftq\"", "init_lora_weights | \"lora_ga\"",
      "init_lora_weights | \"corda\"",
      "init_lora_weights | 3"})
  void featuresThatWouldChangeResultsAreRefusedByName(String key, String value) {
    refused("\"" + key + "\": " + value, key + " is " + JSON.valueToTree(value).asText().replace(", ", ",")
        .replace(": ", ":"), "cannot be ignored");
  }

  @ParameterizedTest
  @ValueSource(strings = {"pissa", "pissa_niter_4", "olora"})
  void anAdapterOfAChangedBaseIsRefusedWithTheWayToSaveIt(String start) {
    refused("\"init_lora_weights\": \"" + start + "\"", start, "path_initial_model_for_weight_conversion");
  }

  @ParameterizedTest
  @CsvSource(delimiter = '|', value = {
      "auto_mapping | {\"base_model_class\": \"LlamaForCausalLM\"}", "eva_config | {\"rho\": 2.0}", "fan_in_fan_out | true",
      "bias | \"all\"", "bias | \"lora_only\"", "ensure_weight_tying | true", "lora_alpha | 0", "alpha_pattern | {\"q_proj\": 0}",
      "exclude_modules | \"\"", "exclude_modules | []", "exclude_modules | null",
      "use_dora | false", "bias | \"none\"", "bias | null", "modules_to_save | null", "modules_to_save | []",
      "layers_to_transform | []", "loftq_config | {\"loftq_bits\": 4}",
      "init_lora_weights | false", "init_lora_weights | \"gaussian\"", "init_lora_weights | \"eva\"", "use_bdlora | false",
      "task_type | \"CAUSAL_LM\"", "r | null",
      "target_modules | null", "rank_pattern | null", "inference_mode | false"})
  void whatChangesNothingIsTakenWithoutAWord(String key, String value) throws IOException {
    assertThat(with("\"" + key + "\": " + value).warnings()).isEmpty();
  }

  @Test
  void unknownKeysAreTakenWithAWarning() throws IOException {
    var c = with("\"r\": 4, \"flux_capacitor\": {\"gigawatts\": 1.21}, \"runtime_config\": null");
    assertThat(c.r()).isEqualTo(4);
    assertThat(c.warnings()).containsExactly("unknown key flux_capacitor", "unknown key runtime_config");
  }

  @ParameterizedTest
  @CsvSource(delimiter = '|', value = {
      "r | 0 | LoRA r is 0", "r | -8 | LoRA r is -8", "r | 2147483647 | LoRA r is", "r | 1e400 | r is", "r | \"8\" | r is \"8\"",
      "r | 8.5 | r is 8.5", "r | [8] | r is [8]",
      "bias | \"some\" | bias is \"some\"", "exclude_modules | 5 | exclude_modules is 5", "exclude_modules | \"(\" | not a regular expression",
      "ensure_weight_tying | 1 | ensure_weight_tying is 1",
      "lora_alpha | -1 | alpha is -1", "lora_alpha | \"16\" | lora_alpha is \"16\"",
      "lora_alpha | 1e400 | lora_alpha is",
      "lora_dropout | 1 | dropout is 1", "lora_dropout | -0.1 | dropout is -0.1", "lora_dropout | \"0\" | lora_dropout is \"0\"",
      "use_rslora | \"true\" | use_rslora is \"true\"",
      "use_rslora | 1 | use_rslora is 1", "target_modules | [] | no target modules", "target_modules | 5 | target_modules is 5",
      "target_modules | {} | target_modules is {}",
      "target_modules | [1] | target_modules is [1]", "modules_to_save | 5 | modules_to_save is 5",
          "modules_to_save | [5] | modules_to_save is [5]",
      "modules_to_save | [\"\"] | an empty name", "layers_to_transform | \"0\" | layers_to_transform is \"0\"",
      "layers_to_transform | [0.5] | layers_to_transform is [0.5]", "layers_to_transform | -1 | holds -1",
      "layers_pattern | \"layers\" | without layers_to_transform", "rank_pattern | [] | rank_pattern is []",
      "rank_pattern | {\"q_proj\": 0} | is 0",
      "rank_pattern | {\"q_proj\": \"4\"} | q_proj is \"4\"", "rank_pattern | {\"*\": 4} | not a regular expression",
      "rank_pattern | {\"q_proj\": 99999999} | is 99999999",
      "alpha_pattern | {\"q_proj\": -1} | is -1", "alpha_pattern | {\"q_proj\": null} | q_proj is null",
      "base_model_name_or_path | 7 | base_model_name_or_path is 7"})
  void valuesOfTheWrongKindAreNeverTakenForDefaults(String key, String value, String words) {
    refused("\"" + key + "\": " + value, words);
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "{", "[]", "null", "\"LORA\"", "{\"peft_type\": \"LORA\"} x",
      "{\"peft_type\": \"LORA\", \"r\": 4, \"r\": 8}"})
  void whatIsNoJsonObjectIsRefused(String content) {
    assertThatThrownBy(() -> read(content)).isInstanceOf(InvalidInput.class).hasMessageContaining("adapter_config.json");
  }

  @Test
  void whatIsWrittenIsReadBackEqual() throws IOException {
    for (var c : List.of(
        LoraConfig.of(8, 16, 0.05, false, List.of("q_proj", "v_proj")),
        LoraConfig.of(64, 0.5, 0, true, List.of("all-linear")).onBase("meta-llama/Llama-2-7b-hf"),
        new LoraConfig(3, 7.25, 0.5, List.of(".*[qv]_proj"), true, false, Map.of("q_proj", 2), Map.of("v_proj", 1.5), "base",
            List.of()))) {
      assertThat(read(c.toJson())).isEqualTo(c);
    }
  }

  @Test
  void numbersAreWrittenAsPeftWritesThem() throws IOException {
    var c = (ObjectNode) JSON.readTree(new LoraConfig(4, 16, 0, List.of("q_proj"), false, false, Map.of(),
        Map.of("q_proj", 32.0), "", List.of()).toJson());
    assertThat(c.get("lora_alpha").toString()).isEqualTo("16");
    assertThat(c.get("lora_dropout").toString()).isEqualTo("0.0");
    assertThat(c.get("alpha_pattern").toString()).isEqualTo("{\"q_proj\":32}");
    assertThat(c.get("base_model_name_or_path").isNull()).isTrue();
    assertThat(JSON.readTree(LoraConfig.of(4, 1.5, 0, false, List.of("q_proj")).toJson()).get("lora_alpha").toString())
        .isEqualTo("1.5");
  }
}
