package org.llmcore.checkpoint;

import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Random;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import org.llmcore.checkpoint.Safetensors.Item;
import org.llmcore.tensor.DType;

import static org.assertj.core.api.Assertions.assertThat;

class SpoolTest {
  @TempDir private Path folder;

  @Test
  void whatWaitedIsWrittenAsItWasAndTheFileGoes() {
    var random = new Random(1);
    var one = new byte[24];
    var two = new byte[40];
    random.nextBytes(one);
    random.nextBytes(two);
    var place = folder.resolve("spool");
    var file = folder.resolve("t.safetensors");
    try (var spool = new Spool(place)) {
      var first = spool.keep(Item.of("one", DType.F32, new int[] {2, 3}, MemorySegment.ofArray(one.clone())));
      var none = spool.keep(Item.of("none", DType.F32, new int[] {0, 3}, MemorySegment.ofArray(new byte[0])));
      var pieces = new Item("two", "I8", new int[] {40}, sink -> { // in pieces, from memory that is used again
        var memory = new byte[16];
        for (int at = 0; at < 40; at += 16) {
          int n = Math.min(16, 40 - at);
          System.arraycopy(two, at, memory, 0, n);
          sink.accept(MemorySegment.ofArray(memory).asSlice(0, n));
        }
      });
      Safetensors.write(file, List.of(first, none, spool.keep(pieces)));
    }
    assertThat(Files.exists(place)).isFalse();
    try (var read = Safetensors.open(file)) {
      assertThat(read.get("one").data().mismatch(MemorySegment.ofArray(one))).isEqualTo(-1);
      assertThat(read.get("two").data().mismatch(MemorySegment.ofArray(two))).isEqualTo(-1);
      assertThat(read.get("none").elements()).isZero();
    }
  }
}
