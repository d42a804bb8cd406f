package org.llmcore.cpu;

import java.util.Optional;

import org.llmcore.cpu.code.Vec;
import org.llmcore.op.Int8;
import org.llmcore.tensor.BlockType;

import static org.llmcore.cpu.StreamForm.z;

/// Rows of W in few bits for rows of x in eight (`Int8Code`): bytes are multiplied and summed by AVX-512 VNNI. A register holds 16 bytes of
/// each of four rows of W, so that what is made of W serves 64 or 128 products; four partial sums of each row are a quarter of one register.
///
/// Of every block the partial sums are exact integers; as floats they are multiplied with x's scale and fused with W's onto the sums.
sealed interface Int8Stream extends StreamForm permits BlockInt8Stream, GroupedInt8Stream, SuperBlockInt8Stream {
  /// How x is packed.
  Int8Code.Layout layout();

  /// The code that stands for 0, for `INTEGERS`.
  default int zero() {
    return 0;
  }

  @Override
  default int unit() {
    return layout().bytes / 4; // of floats, as long as packed x
  }

  @Override
  default boolean shared() {
    return true;
  }

  @Override
  default void row(StreamCode s, int r) {
    throw new IllegalStateException("rows are taken together");
  }

  /// The code for a product with b, if there is some.
  static Optional<Int8Stream> of(Lanes lanes, Right b) {
    if (!lanes.bytes()) return Optional.empty();
    return switch (b) {
      case GroupedRight g -> GroupedInt8Stream.handles(g) ? Optional.of(new GroupedInt8Stream(g.bits(), g.scaleType())) : Optional.empty();
      case BlocksRight q -> of(q.w().type());
      case Nf4Right _, Right.Dense _ -> Optional.empty(); // levels that are no integers
    };
  }

  private static Optional<Int8Stream> of(BlockType type) {
    return switch (type) {
      case Q8_0, Q4_0 -> Optional.of(new BlockInt8Stream(type));
      case Q4_K, Q6_K -> Optional.of(new SuperBlockInt8Stream(type));
      case Q4_1, Q5_0, Q5_1, Q5_K -> Optional.empty();
    };
  }

  /// Adds x's block at `at` to the partial sums of every row of x: its sixteens of codes from number `first` on times `codes`, times both
  /// scales. The integers begin at the packed sums, or at 0. Uses zmm24 … 27.
  static void block(StreamCode s, int at, boolean sums, Vec scale, int first, Vec... codes) {
    for (int i = 0; i < s.m(); i++) {
      var sum = z(24 + 2 * (i % 2));
      var x = z(25 + 2 * (i % 2));
      if (sums) s.a.vbroadcastf32x4(sum, s.x(i).plus(at + Int8Code.SUMS));
      else s.a.vpxord(sum, sum, sum);
      for (int h = 0; h < codes.length; h++) {
        s.a.vbroadcastf32x4(x, s.x(i).plus(at + 16 * (first + h)));
        s.a.vpdpbusd(sum, codes[h], x);
      }
      s.a.vcvtdq2ps(sum, sum);
      s.a.vmulps(sum, sum, s.x(i).plus(at + Int8Code.SCALE).all());
      s.a.vfmadd231ps(z(i), sum, scale);
    }
  }

  /// Takes `factor` times the four floats of x at `at` off the sums.
  static void less(StreamCode s, int at, Vec factor) {
    for (int i = 0; i < s.m(); i++) {
      var x = z(24 + i % 4);
      s.a.vbroadcastf32x4(x, s.x(i).plus(at));
      s.a.vfnmadd231ps(z(i), x, factor);
    }
  }

  /// The lower and the upper four bits of every byte.
  static void nibbles(StreamCode s, Vec low, Vec high, Vec fifteens) {
    s.a.vpsrld(high, low, 4);
    s.a.vpandd(low, low, fifteens);
    s.a.vpandd(high, high, fifteens);
  }
}
