package org.llmcore.tensor;

import java.lang.foreign.ValueLayout;
import java.util.ArrayList;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

/// Memory by lifetime: where carves lie, what a region holds, and that what was released is not read.
class RegionTest {
  @Test
  void carvesAreAlignedAndApart() {
    try (var region = Region.growing("test")) {
      long end = 0;
      for (int n : new int[] {1, 16, 17, 0, 1000}) {
        long address = region.carve(4L * n);
        assertThat(address % 64).isZero();
        assertThat(address).isGreaterThanOrEqualTo(end);
        end = address + 4L * n;
      }
      assertThat(region.used()).isEqualTo(64 + 64 + 128 + 0 + 4032);
      var tensor = region.carve(DType.BF16, Shape.of(3, 11));
      assertThat(tensor.address()).isGreaterThanOrEqualTo(end);
      assertThat(region.used()).isEqualTo(4288 + 128);
    }
  }

  /// From a piece of the C library's up to several that threads bring into memory side by side.
  @ParameterizedTest
  @ValueSource(longs = {100, 3 << 20, (4 << 20) + 100, (32 << 20) + 4096, (70 << 20) + 7})
  void fixedRegionsAreZeroedToTheirLastByte(long bytes) {
    try (var region = Region.fixed("weights", bytes)) {
      long address = region.carve(bytes);
      for (long i = 0; i < bytes; i += i + 4096 < bytes ? 4095 : 1) assertThat(Memory.ALL.get(ValueLayout.JAVA_BYTE, address + i)).isZero();
      Memory.ALL.asSlice(address, bytes).fill((byte) 1);
    }
  }

  @Test
  void fixedRegionsSayWhatDoesNotFit() {
    try (var region = Region.fixed("step", 1000)) {
      region.carve(DType.F32, Shape.of(200));
      assertThatThrownBy(() -> region.carve(DType.F32, Shape.of(100))).isInstanceOf(IllegalStateException.class).hasMessage("region 'step' is full: 448 bytes needed, 168 of 1,000 free");
      assertThatThrownBy(() -> region.carve(-1)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("-1 bytes of region step");
      assertThat(region.used()).isEqualTo(832);
    }
  }

  @Test
  void whatWasReleasedIsCarvedAgainInTheSamePlaces() {
    try (var region = Region.growing("scratch")) {
      var first = new ArrayList<Long>();
      var again = new ArrayList<Long>();
      long[] sizes = {100, 3 << 20, 500, 9 << 20, 64}; // more chunks than one
      for (long n : sizes) first.add(region.carve(n));
      long high = region.high();
      region.release(0);
      assertThat(region.used()).isZero();
      for (long n : sizes) again.add(region.carve(n));
      assertThat(again).isEqualTo(first);
      assertThat(region.high()).isEqualTo(high);
    }
  }

  @Test
  void tensorsAreDeadAfterReleaseResetAndClose() {
    var region = Region.growing("step");
    var kept = region.carve(DType.F32, Shape.of(4));
    long mark = region.mark();
    var released = region.carve(DType.F32, Shape.of(4));
    region.release(mark);
    kept.address();
    assertThatThrownBy(released::address).isInstanceOf(IllegalStateException.class).hasMessageContaining("after region 'step' released it");
    assertThatThrownBy(() -> region.release(mark + 64)).isInstanceOf(IllegalArgumentException.class);
    region.reset();
    var other = region.carve(DType.F32, Shape.of(4));
    assertThatThrownBy(kept::address).isInstanceOf(IllegalStateException.class); // its bytes are another's now
    region.close();
    assertThatThrownBy(other::address).isInstanceOf(IllegalStateException.class);
    assertThatThrownBy(() -> region.carve(1)).isInstanceOf(IllegalStateException.class).hasMessage("region step is closed");
  }

  @Test
  void measuringCountsWhatTheSameCarvesTake() {
    try (var measuring = Region.measuring("plan"); var growing = Region.growing("plan")) {
      for (var region : new Region[] {measuring, growing}) {
        region.carve(DType.F32, Shape.of(100, 100));
        long mark = region.mark();
        region.carve(DType.BF16, Shape.of(10_001));
        region.release(mark);
        region.carve(DType.I32, Shape.of(3));
      }
      assertThat(measuring.used()).isEqualTo(growing.used());
      assertThat(measuring.high()).isEqualTo(growing.high());
      assertThat(measuring.backed()).isFalse();
      var tensor = measuring.carve(DType.F32, Shape.of(1));
      assertThatThrownBy(tensor::segment).isInstanceOf(IllegalStateException.class).hasMessageContaining("measuring region 'plan' has no bytes");
    }
  }
}
