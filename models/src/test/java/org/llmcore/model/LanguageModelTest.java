package org.llmcore.model;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.function.UnaryOperator;

import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.checkpoint.ModelFiles;
import org.llmcore.checkpoint.Safetensors;
import org.llmcore.cpu.CpuDevice;
import org.llmcore.op.Device;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.text.BpeTrainer;
import org.llmcore.text.Tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

class LanguageModelTest {
  private static final LlamaConfig TINY =
      new LlamaConfig(300, 8, 12, 2, 2, 1, 6, 16, 1e-5, 10000, 2, true, OptionalInt.of(1), List.of(2), OptionalInt.empty(),
          "float32");

  @TempDir private Path folder;
  private final Device device = new CpuDevice(true, 1);
  private final Tokenizer words = BpeTrainer.train(List.of("select name from users"), 280);
  private Path saved;

  @BeforeEach
  void aSavedModel() {
    saved = folder.resolve("m");
    try (var model = LanguageModel.scratch(device, TINY, words, Precision.F32, 1)) {
      model.save(saved, 1L << 30);
    }
  }

  private LanguageModel open(Precision precision) {
    return LanguageModel.open(device, saved, Optional.empty(), precision, false);
  }

  private void refused(String... words) {
    assertThatThrownBy(() -> open(Precision.F32)).isInstanceOf(InvalidInput.class).hasMessageContainingAll(words)
        .hasMessageContaining("---> ");
  }

  private void config(String from, String to) throws IOException {
    var file = saved.resolve("config.json");
    var text = Files.readString(file);
    assertThat(text).contains(from);
    Files.writeString(file, text.replace(from, to));
  }

  private void weights(UnaryOperator<List<Safetensors.Item>> change) throws IOException {
    var items = new ArrayList<Safetensors.Item>();
    try (var files = ModelFiles.open(saved)) {
      files.entries()
          .forEach((name, e) -> items.add(new Safetensors.Item(name, e.dtype(), e.shape(),
          MemorySegment.ofArray(e.data().toArray(ValueLayout.JAVA_BYTE)))));
    }
    Files.delete(saved.resolve("model.safetensors"));
    ModelFiles.write(saved, change.apply(items), 1L << 30);
  }

  @Test
  void aLargeTensorIsWrittenInPiecesAndNeverHeldWhole() {
    int rows = 5003;
    int columns = 1024; // 20 MB
    try (var region = Region.growing("large")) {
      var t = region.carve(DType.F32, Shape.of(rows, columns));
      var values = new float[rows * columns];
      for (int i = 0; i < values.length; i++) values[i] = i;
      t.set(values);
      var items = LanguageModel.items(device, Map.of("large", t, "small", t.slice(0, 1)));
      var sizes = new ArrayList<Long>();
      for (var i : items) if (i.name().equals("large")) i.pieces().each(piece -> sizes.add(piece.byteSize()));
      assertThat(sizes).hasSizeGreaterThan(1).allMatch(size -> size <= 16 << 20);
      var file = folder.resolve("large.safetensors");
      Safetensors.write(file, items);
      try (var read = Safetensors.open(file)) {
        assertThat(read.get("large").toFloats()).isEqualTo(t.toFloats());
        assertThat(read.get("small").toFloats()).isEqualTo(t.slice(0, 1).toFloats());
      }
    }
  }

  @Test
  void whatIsSavedIsOpenedBitForBitInOneFileOrMany() {
    for (long shard : new long[] {1L << 30, 2000, 1}) {
      for (var precision : List.of(Precision.F32, Precision.BF16_WEIGHTS, Precision.BF16)) {
        var place = folder.resolve(precision + "-" + shard);
        try (var model = LanguageModel.scratch(device, TINY, words, precision, 7)) {
          model.save(place, shard);
          assertThat(Files.exists(place.resolve("model.safetensors.index.json"))).isEqualTo(shard < 1L << 30);
          try (var again = LanguageModel.open(device, place, Optional.empty(), precision, false)) {
            assertThat(again.config()).isEqualTo(TINY.stored(precision == Precision.F32 ? "float32" : "bfloat16"));
            assertThat(again.notes()).isEmpty();
            assertThat(again.tokenizer().encode("select users")).isEqualTo(words.encode("select users"));
            again.decoder().parameters().map().forEach((name, w) -> assertThat(w.toFloats()).as(name)
                .isEqualTo(model.decoder().parameters().map().get(name).toFloats()));
          }
        }
      }
    }
  }

  @Test
  void weightsOfOtherDtypesAreConverted() {
    try (var f32 = open(Precision.F32); var bf16 = open(Precision.BF16)) {
      f32.decoder().parameters().map().forEach((name, w) -> {
        var exact = w.toFloats();
        var rounded = bf16.decoder().parameters().map().get(name).toFloats();
        for (int i = 0; i < exact.length; i++) assertThat(Math.abs(rounded[i] - exact[i]))
            .isLessThanOrEqualTo(Math.abs(exact[i]) / 256);
      });
    }
  }

  @Test
  void sizesThatTheWeightsDoNotHaveAreRefusedBeforeMemoryIsTaken() throws IOException {
    config("\"num_hidden_layers\" : 2", "\"num_hidden_layers\" : 4096");
    config("\"intermediate_size\" : 12", "\"intermediate_size\" : 4194304");
    refused("F32(12, 8)", "4194304");
    config("\"intermediate_size\" : 4194304", "\"intermediate_size\" : 12");
    refused("lack the tensor model.layers.2.");
    config("\"hidden_size\" : 8", "\"hidden_size\" : 1048576");
    refused("model.embed_tokens.weight", "F32(300, 8)", "1048576");
  }

  @Test
  void aMissingOrMisshapenTensorIsNamed() throws IOException {
    weights(items -> items.stream().filter(i -> !i.name().equals("model.norm.weight")).toList());
    refused("lack the tensor model.norm.weight");
    weights(items -> {
      var out = new ArrayList<>(items);
      out.add(new Safetensors.Item("model.norm.weight", "F32", new int[] {8, 1}, MemorySegment.ofArray(new byte[32])));
      return out;
    });
    refused("model.norm.weight", "F32(8, 1)");
  }

  @Test
  void aHeadInTheFilesIsTiedOnlyIfItIsTheEmbedding() throws IOException {
    for (boolean same : new boolean[] {true, false}) {
      weights(items -> {
        var out = new ArrayList<>(items);
        var values = new float[300 * 8];
        for (var i : items) if (i.name().equals("model.embed_tokens.weight")) i.pieces().each(p -> MemorySegment.copy(p, ValueLayout.JAVA_FLOAT_UNALIGNED, 0, values, 0, values.length));
        if (!same) values[17] = 3;
        out.add(new Safetensors.Item("lm_head.weight", "F32", new int[] {300, 8}, MemorySegment.ofArray(new byte[4 * values.length]).copyFrom(MemorySegment.ofArray(values))));
        return out;
      });
      try (var model = open(Precision.F32)) {
        assertThat(model.config().tiedHead()).isEqualTo(same);
        assertThat(model.notes()).isEmpty();
        if (!same) assertThat(model.decoder().parameters().get("lm_head.weight").toFloats()[17]).isEqualTo(3);
      }
      weights(items -> items.stream().filter(i -> !i.name().equals("lm_head.weight")).toList());
    }
  }

  @Test
  void tensorsWithoutAPlaceAreNotedUnlessTheyAreKnownLeftovers() throws IOException {
    weights(items -> {
      var out = new ArrayList<>(items);
      for (var name : List.of("model.layers.0.self_attn.rotary_emb.inv_freq", "lm_head.weight", "score.weight")) {
        out.add(new Safetensors.Item(name, "F32", new int[] {1}, MemorySegment.ofArray(new byte[4])));
      }
      return out;
    });
    try (var model = open(Precision.F32)) {
      assertThat(model.notes()).hasSize(1).first().asString().contains("score.weight");
    }
  }

  @Test
  void picklesAndWhatIsNoModelAreRefused() throws IOException {
    Files.delete(saved.resolve("model.safetensors"));
    Files.write(saved.resolve("pytorch_model.bin"), new byte[] {(byte) 0x80, 2});
    refused("pytorch_model.bin", "use safetensors");
    for (var path : List.of(saved.resolve("pytorch_model.bin"), saved.resolve("none"), Path.of("/"))) {
      assertThatThrownBy(() -> LanguageModel.open(device, path, Optional.empty(), Precision.F32, false))
          .isInstanceOf(InvalidInput.class);
    }
  }
}
