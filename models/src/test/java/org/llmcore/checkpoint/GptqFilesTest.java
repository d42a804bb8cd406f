package org.llmcore.checkpoint;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;

import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.GptqConfig.Version;
import org.llmcore.checkpoint.Safetensors.Entry;
import org.llmcore.checkpoint.Safetensors.Item;
import org.llmcore.quant.GroupedCodes;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

class GptqFilesTest {
  private static GptqConfig config(int bits, int group, boolean symmetric, Version version) {
    return new GptqConfig(bits, group, symmetric, false, false, version, java.util.Map.of(), 0.01);
  }

  private static GroupedCodes random(int bits, int outputs, int inputs, int size, boolean symmetric, Optional<int[]> groupOf,
      long seed) {
    var random = new Random(seed);
    var q = new byte[outputs * inputs];
    for (int i = 0; i < q.length; i++) q[i] = (byte) random.nextInt(1 << bits);
    int groups = (inputs + size - 1) / size;
    var scales = new float[outputs * groups];
    var zeros = new int[scales.length];
    for (int i = 0; i < scales.length; i++) {
      scales[i] = Float.float16ToFloat(Float.floatToFloat16(random.nextFloat() + 0.1f));
      zeros[i] = symmetric ? 1 << bits - 1 : 1 + random.nextInt((1 << bits) - 1);
    }
    return new GroupedCodes(bits, outputs, inputs, size, q, scales, zeros, groupOf);
  }

  private static Map<String, Entry> entries(GroupedCodes c, Version version) {
    var items = new ArrayList<>(GptqFiles.write("l", c));
    items.add(GptqFiles.zeros("l", c.bits(), c.zeros(), c.outputs(), version));
    return entries(items);
  }

  private static Map<String, Entry> entries(List<Item> items) {
    var map = new LinkedHashMap<String, Entry>();
    for (var i : items) map.put(i.name(), new Entry(i.name(), i.dtype(), i.shape(), Items.whole(i)));
    return map;
  }

  private static void same(GroupedCodes a, GroupedCodes b) {
    assertThat(a.q()).isEqualTo(b.q());
    assertThat(a.scales()).isEqualTo(b.scales());
    assertThat(a.zeros()).isEqualTo(b.zeros());
    assertThat(a.groupOf().isPresent()).isEqualTo(b.groupOf().isPresent());
    b.groupOf().ifPresent(g -> assertThat(a.groupOf().orElseThrow()).isEqualTo(g));
  }

  @Test
  void threeBitsLieAsThePublishedTableSays() {
    var q = new byte[32];
    for (int i = 0; i < 32; i++) q[i] = (byte) (i % 8);
    int[] w = GptqPacking.qweight(3, q, 1, 32);
    int a = 0;
    int b = 0;
    int c = 0;
    for (int j = 0; j < 10; j++) a |= q[j] << 3 * j;
    a |= q[10] << 30;
    b |= q[10] >>> 2 & 1;
    for (int j = 11; j < 21; j++) b |= q[j] << 3 * (j - 11) + 1;
    b |= q[21] << 31;
    c |= q[21] >>> 1 & 3;
    for (int j = 22; j < 32; j++) c |= q[j] << 3 * (j - 22) + 2;
    assertThat(w).containsExactly(a, b, c);
    assertThat(GptqPacking.codes(3, w, 1, 32)).isEqualTo(q);
  }

  @Test
  void wordsAreFilledFromTheLittleEnd() {
    assertThat(GptqPacking.qweight(4, new byte[] {1, 2, 3, 4, 5, 6, 7, 8}, 1, 8)).containsExactly(0x87654321);
    assertThat(GptqPacking.qweight(8, new byte[] {1, 2, 3, (byte) 0xff}, 1, 4)).containsExactly(0xff030201);
    assertThat(GptqPacking.qweight(2, new byte[] {3, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}, 1, 16))
        .containsExactly(0x8000001b);
    // (inputs·b/32, outputs): a column per output
    assertThat(GptqPacking.qweight(8, new byte[] {1, 1, 1, 1, 2, 2, 2, 2}, 2, 4)).containsExactly(0x01010101, 0x02020202);
  }

  @ParameterizedTest
  @CsvSource({"4, 0x77777777, 0x88888888", "8, 0x7f7f7f7f, 0x80808080", "2, 0x55555555, 0xaaaaaaaa"})
  void symmetricZerosHaveThePublishedFingerprints(int bits, String v1, String v2) {
    int[] middle = new int[32];
    java.util.Arrays.fill(middle, 1 << bits - 1);
    for (var version : Version.values()) {
      var item = GptqFiles.zeros("l", bits, middle, 32, version);
      assertThat(Items.whole(item).toArray(ValueLayout.JAVA_INT_UNALIGNED))
          .containsOnly(Long.decode(version == Version.V1 ? v1 : v2).intValue());
    }
  }

  @Property(tries = 60)
  void whatIsWrittenIsRead(@ForAll @IntRange(max = 3) int width, @ForAll @IntRange(min = 1, max = 3) int tall,
      @ForAll @IntRange(min = 1, max = 6) int wide,
      @ForAll @IntRange(max = 2) int size, @ForAll boolean ordered, @ForAll boolean second, @ForAll boolean symmetric) {
    int bits = new int[] {2, 3, 4, 8}[width];
    int inputs = 32 * wide;
    int group = Math.min(inputs, new int[] {32, 64, 1 << 20}[size]);
    int groups = (inputs + group - 1) / group;
    var groupOf = Optional.<int[]>empty();
    if (ordered && groups > 1) groupOf = Optional.of(new Random(wide).ints(inputs, 0, groups).toArray());
    var c = random(bits, 32 * tall, inputs, group, symmetric, groupOf, 7L * tall + wide);
    var version = second ? Version.V2 : Version.V1;
    var files = GptqFiles.of(entries(c, version), config(bits, group, symmetric, version));
    assertThat(files.version()).isEqualTo(version);
    same(files.read("l", 32 * tall, inputs), c);
  }

  @ParameterizedTest
  @ValueSource(ints = {2, 3, 4, 8})
  void aMislabelledSymmetricFileIsReadByItsNumbersAndSaidSo(int bits) {
    var c = random(bits, 32, 64, 32, true, Optional.empty(), 1);
    for (var version : Version.values()) {
      var label = version == Version.V1 ? Version.V2 : Version.V1;
      var files = GptqFiles.of(entries(c, version), config(bits, 32, true, label));
      same(files.read("l", 32, 64), c);
      assertThat(files.notes()).singleElement().asString().contains(label.label(), "read as " + version.label());
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {2, 3, 4, 8})
  void zerosOfASymmetricGridCountThoughTheLabelSaysTheGridHasNone(int bits) {
    var c = random(bits, 32, 64, 32, true, Optional.empty(), 1);
    for (var version : Version.values()) {
      var files = GptqFiles.of(entries(c, version), config(bits, 32, false, version == Version.V1 ? Version.V2 : Version.V1));
      same(files.read("l", 32, 64), c);
      assertThat(files.notes()).hasSize(1);
    }
  }

  @Test
  void oneLayerOfItsOwnGridDoesNotHideTheOthers() {
    var c = random(4, 32, 64, 32, true, Optional.empty(), 1);
    var other = random(4, 32, 64, 32, false, Optional.empty(), 2);
    var entries = entries(c, Version.V2);
    var items = new ArrayList<>(GptqFiles.write("other", other));
    items.add(GptqFiles.zeros("other", 4, other.zeros(), 32, Version.V2));
    entries.putAll(entries(items));
    same(GptqFiles.of(entries, config(4, 32, true, Version.V1)).read("other", 32, 64), other);
  }

  @Test
  void patternsMayNameGroupsOfTheirOwn() throws IOException {
    var config = find("", """
        {"bits": 4, "group_size": 32, "dynamic": {"+:.*a$": {"bits": 8, "group_size": 64}, "-:.*b$": {}, ".*c$": {"group_size": -1}}}""").orElseThrow();
    for (int size : new int[] {32, 64, 160}) {
      var c = random(size == 64 ? 8 : 4, 32, 160, size, false, Optional.empty(), size);
      same(GptqFiles.of(entries(c, Version.V1), config).read("l", 32, 160), c);
    }
    var strange = random(4, 32, 160, 40, false, Optional.empty(), 1);
    assertThatThrownBy(() -> GptqFiles.of(entries(strange, Version.V1), config).read("l", 32, 160)).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("l.scales");
  }

  @Test
  void sizesThatGiveAsManyGroupsAreToldApartByTheIndex() throws IOException {
    var config = find("", "{\"bits\": 4, \"group_size\": 128, \"dynamic\": {\".*a$\": {\"group_size\": 96}}}").orElseThrow();
    for (int size : new int[] {128, 96}) {
      var c = random(4, 32, 160, size, false, Optional.empty(), size);
      same(GptqFiles.of(entries(c, Version.V1), config).read("l", 32, 160), c);
    }
  }

  /// Codes spread around their zeros, as those of weights around 0 do.
  private static GroupedCodes centred() {
    var random = new Random(3);
    var c = random(4, 32, 64, 32, false, Optional.empty(), 2);
    for (int o = 0; o < 32; o++) {
      for (int i = 0; i < 64; i++) c.q()[o * 64 + i] = (byte) Math.clamp(c.zeros()[o * 2 + i / 32]
          + Math.round(random.nextGaussian()), 0, 15);
    }
    return c;
  }

  @Test
  void labelsThatContradictEachOtherAreDecidedByTheNumbers() throws IOException {
    for (boolean symmetric : new boolean[] {true, false}) {
      var c = symmetric ? random(4, 32, 64, 32, true, Optional.empty(), 1) : centred();
      var v1 = config(4, 32, symmetric, Version.V1).toJson("llm-core").toString();
      var v2 = config(4, 32, symmetric, Version.V2).toJson("llm-core").toString();
      for (var version : Version.values()) {
        for (var config : List.of(find(v1, v2).orElseThrow(), find(v2, v1).orElseThrow())) {
          var files = GptqFiles.of(entries(c, version), config);
          same(files.read("l", 32, 64), c);
          assertThat(files.notes()).singleElement().asString().contains("different formats", "read as " + version.label());
        }
      }
    }
  }

  @Test
  void aQuantizedHeadIsRefusedByName() {
    var entries = entries(random(4, 32, 64, 32, true, Optional.empty(), 1), Version.V1);
    entries.put("lm_head.qweight", entries.get("l.qweight"));
    assertThatThrownBy(() -> GptqFiles.of(entries, config(4, 32, true, Version.V1))).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("lm_head");
  }

  @Test
  void anAsymmetricFileIsReadByItsLabelAndSuspicionIsSaid() {
    var c = centred();
    assertThat(GptqFiles.of(entries(c, Version.V1), config(4, 32, false, Version.V1)).notes()).isEmpty();
    var wrong = GptqFiles.of(entries(c, Version.V2), config(4, 32, false, Version.V1));
    assertThat(wrong.version()).isEqualTo(Version.V1);
    assertThat(wrong.notes()).singleElement().asString().contains("gptq_v2", "checkpoint_format");
  }

  @Test
  void hostileTensorsAreRefusedByName() {
    var c = random(4, 32, 64, 32, false, Optional.of(new Random(1).ints(64, 0, 2).toArray()), 5);
    var config = config(4, 32, false, Version.V1);
    for (var missing : List.of("l.qzeros", "l.scales")) {
      var entries = entries(c, Version.V1);
      entries.remove(missing);
      refused(entries, config, missing);
    }
    refused(entries(c, Version.V1), config(8, 32, false, Version.V1), "l.qzeros", "l.qweight"); // absurd bits
    refused(entries(c, Version.V1), config(4, 7, false, Version.V1), "l.scales"); // absurd groups
    for (var shape : List.of(new int[] {64}, new int[] {4, 64}, new int[] {8, 32, 1})) {
      var entries = entries(c, Version.V1);
      entries.put("l.qweight", new Entry("l.qweight", "I32", shape, entries.get("l.qweight").data()));
      refused(entries, config, "l.qweight");
    }
    var entries = entries(c, Version.V1);
    var g = new int[64];
    g[63] = 9;
    entries.put("l.g_idx", new Entry("l.g_idx", "I32", new int[] {64}, MemorySegment.ofArray(g)));
    refused(entries, config, "l.g_idx");
    entries.put("l.g_idx", new Entry("l.g_idx", "F32", new int[] {64}, MemorySegment.ofArray(g)));
    refused(entries, config, "l.g_idx");
    var biased = entries(c, Version.V1);
    biased.put("l.bias", new Entry("l.bias", "F32", new int[] {1}, MemorySegment.ofArray(new float[] {0})));
    same(GptqFiles.of(biased, config).read("l", 32, 64), c); // zeros, which early programs wrote
    biased.put("l.bias", new Entry("l.bias", "F32", new int[] {1}, MemorySegment.ofArray(new float[] {1})));
    refused(biased, config, "l.bias");
    refused(Map.of(), config, "qweight");
  }

  private static void refused(Map<String, Entry> entries, GptqConfig config, String... words) {
    assertThatThrownBy(() -> GptqFiles.of(entries, config).read("l", 32, 64)).isInstanceOf(InvalidInput.class)
        .satisfies(e -> assertThat(words).anyMatch(w -> e.getMessage().contains(w)));
  }

  @TempDir private Path folder;

  private Optional<GptqConfig> find(String inside, String own) throws IOException {
    Files.writeString(folder.resolve("config.json"), "{" + (inside.isEmpty() ? "" : "\"quantization_config\": " + inside) + "}");
    Files.deleteIfExists(folder.resolve(GptqConfig.FILE));
    if (!own.isEmpty()) Files.writeString(folder.resolve(GptqConfig.FILE), own);
    return GptqConfig.find(folder);
  }

  @Test
  void settingsAreReadFromEitherFile() throws IOException {
    assertThat(find("", "")).isEmpty();
    assertThat(find("", "{\"bits\": 4, \"group_size\": 128, \"desc_act\": true}")).hasValueSatisfying(c -> {
      assertThat(c.symmetric()).isTrue(); // a missing sym means true
      assertThat(c.actOrder()).isTrue();
      assertThat(c.version()).isEqualTo(Version.V1);
    });
    assertThat(find("{\"w_bit\": 3, \"q_group_size\": 64, \"sym\": false, \"format\": \"gptq_v2\", \"quant_method\": \"gptq\"}",
        "")).hasValueSatisfying(c -> {
      assertThat(c.bits()).isEqualTo(3);
      assertThat(c.group()).isEqualTo(64);
      assertThat(c.symmetric()).isFalse();
      assertThat(c.version()).isEqualTo(Version.V2);
    });
    var c = config(2, -1, false, Version.V2);
    assertThat(find(c.toJson("llm-core").toString(), c.toJson("llm-core").toString())).contains(c);
  }

  @ParameterizedTest
  @ValueSource(strings = {
    "{\"bits\": 5}", "{\"bits\": 99999}", "{\"bits\": \"4\"}", "{\"bits\": 4, \"group_size\": 0}",
        "{\"bits\": 4, \"group_size\": -2147483648}",
    "{\"bits\": 4, \"checkpoint_format\": \"gptq_p\"}", "{\"bits\": 4, \"quant_method\": \"awq\"}",
        "{\"bits\": 4, \"lm_head\": true}", "{}", "[4]",
    "{\"bits\": 4, \"is_marlin_format\": true}", "{\"bits\": 4, \"pack_dtype\": \"int16\"}",
        "{\"bits\": 4, \"dynamic\": {\"a\": {\"group_size\": 0}}}"
  })
  void settingsThatCannotBeAreRefused(String json) {
    assertThatThrownBy(() -> find("", json)).isInstanceOf(InvalidInput.class).hasMessageContaining("---> ");
  }

  @Test
  void settingsThatContradictEachOtherAreRefused() {
    assertThatThrownBy(() -> find("{\"bits\": 4, \"group_size\": 128}", "{\"bits\": 3, \"group_size\": 128}"))
        .isInstanceOf(InvalidInput.class)
        .hasMessageContainingAll("4 bits", "3 in groups");
  }
}
