package org.llmcore.model;

import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;

import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.cpu.CpuDevice;
import org.llmcore.op.Device;
import org.llmcore.quant.Nf4Codes;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Nf4;
import org.llmcore.tensor.QuantMatrix;
import org.llmcore.tensor.Region;
import org.llmcore.text.BpeTrainer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

/// Models whose linear layers are opened in few bits.
class QuantLinearTest {
  @TempDir private Path folder;
  private final Device device = new CpuDevice(true, 1);
  private Path saved;

  @BeforeEach
  void aSavedModel() {
    saved = folder.resolve("m");
    var words = BpeTrainer.train(List.of("select name from users"), 280);
    var config = new LlamaConfig(words.size(), 64, 96, 2, 4, 2, 16, 32, 1e-5, 10000, 1, true, OptionalInt.of(1), List.of(2), OptionalInt.empty(), "float32");
    try (var model = LanguageModel.scratch(device, config, words, Precision.F32, 1)) {
      model.save(saved, 1L << 30);
    }
  }

  private LanguageModel open(Precision precision) {
    return LanguageModel.open(device, saved, Optional.empty(), precision, false);
  }

  @ParameterizedTest
  @EnumSource(value = Precision.class, names = {"NF4", "NF4_DOUBLE"})
  void linearLayersAreEncodedAndEverythingElseIsAsInBf16(Precision precision) {
    try (var dense = open(Precision.F32); var halves = open(Precision.BF16_WEIGHTS); var few = open(precision); var region = Region.growing("expected")) {
      assertThat(few.notes()).isEmpty();
      assertThat(few.decoder().linears()).hasSize(14);
      for (int i = 0; i < 14; i++) {
        var original = (DenseLinear) dense.decoder().linears().get(i);
        var layer = (QuantLinear) few.decoder().linears().get(i);
        assertThat(layer.name()).isEqualTo(original.name());
        var expected = Nf4Codes.encode(original.w().toFloats()).upload(device, region, layer.outputs(), layer.inputs(), precision == Precision.NF4_DOUBLE);
        for (int o = 0; o < layer.outputs(); o++) assertThat(layer.w().row(o)).isEqualTo(expected.row(o));
      }
      few.decoder().parameters().map().forEach((name, w) -> assertThat(w.toFloats()).as(name).isEqualTo(halves.decoder().parameters().get(name).toFloats()));
    }
  }

  @Test
  void bytesArePlannedExactly() {
    for (var precision : Precision.values()) {
      try (var model = open(precision)) {
        assertThat(Decoder.bytes(model.config(), model.form())).as("%s", precision).isEqualTo(model.bytes());
      }
    }
    try (var plain = open(Precision.NF4); var twice = open(Precision.NF4_DOUBLE)) {
      long weights = 0;
      for (var l : plain.decoder().linears()) weights += (long) l.inputs() * l.outputs();
      // 4.5 bits per weight; double quantization saves 24 bits of 32 per block, less what 14 layers add for their second level
      assertThat(held(plain)).isEqualTo(weights * 9 / 16);
      assertThat(held(twice)).isEqualTo(weights / 2 + weights / 64 + 14 * 4L + plain.decoder().linears().stream().mapToLong(l -> 4L * Nf4.nestedBlocks((long) l.inputs() * l.outputs())).sum());
    }
  }

  private static long held(LanguageModel model) {
    return model.decoder().linears().stream().map(l -> ((QuantLinear) l).w()).mapToLong(QuantMatrix::bytes).sum();
  }

  @Test
  void trainingAndSavingFewBitsIsRefused() {
    assertThatThrownBy(() -> LanguageModel.open(device, saved, Optional.empty(), Precision.NF4, true)).isInstanceOf(InvalidInput.class).hasMessageContaining("nf4 cannot be trained").hasMessageContaining("lora");
    try (var model = open(Precision.NF4)) {
      assertThat(model.decoder().embedding().dtype()).isEqualTo(DType.BF16);
      assertThatThrownBy(() -> model.save(folder.resolve("out"), 1L << 30)).isInstanceOf(InvalidInput.class).hasMessageContaining("nf4");
      assertThat(folder.resolve("out")).doesNotExist();
    }
    assertThatThrownBy(() -> Precision.parse("nf5")).isInstanceOf(InvalidInput.class).hasMessageContaining("nf4-double");
  }
}
