package org.llmcore.cpu;

import org.llmcore.cpu.code.Assembler;
import org.llmcore.cpu.code.Condition;
import org.llmcore.cpu.code.Loop;
import org.llmcore.cpu.code.Routines;
import org.llmcore.op.Int8;

import static org.llmcore.cpu.code.Gpr.*;
import static org.llmcore.cpu.code.Vec.xmm;
import static org.llmcore.cpu.code.Vec.zmm;

/// Rows of x in eight bits (`Int8`) as `Int8Stream` reads them, packed by machine code: 64 bytes for a block of 32 columns.
///
/// | bytes  | hold                                                                                                         |
/// |--------|--------------------------------------------------------------------------------------------------------------|
/// | 0 … 31 | codes                                                                                                        |
/// | 32 … 47 | four sums of codes, of columns 4j … 4j+3 and 16+4j … 16+4j+3: as integers times −`zero`, or times the scale |
/// | 48 … 51 | the scale                                                                                                   |
///
/// The four sums are what a code of W that stands for 0 adds to each partial sum of a product. `SUPER` leaves them out; after the 512 bytes
/// of 256 columns it has 128 more: scale times sum of each sixteen columns, times 32 (16 floats), and of each block (8 floats).
final class Int8Code {
  enum Layout {
    INTEGERS(Int8.BLOCK, 64),
    FLOATS(Int8.BLOCK, 64),
    SUPER(256, 640);

    final int columns;
    final int bytes;

    Layout(int columns, int bytes) {
      this.columns = columns;
      this.bytes = bytes;
    }
  }

  static final int SUMS = 32;
  static final int SCALE = 48;
  static final int SIXTEENS = 512;
  static final int BLOCKS = SIXTEENS + 64;

  private static final Routines PACK = new Routines(Layout.values().length, i -> write(Layout.values()[i]));

  private Int8Code() {}

  /// Bytes of a row of so many columns, a multiple of the layout's.
  static int bytes(Layout layout, int columns) {
    return Math.multiplyExact(columns / layout.columns, layout.bytes);
  }

  /// Bytes from row to row: a line more, so that eight rows do not fall into the same sets of a cache.
  static int pitch(Layout layout, int columns) {
    return bytes(layout, columns) + 64;
  }

  /// Packs a row.
  /// @param x address of f32
  /// @param zero the code of W that stands for 0, for `INTEGERS`
  static void pack(Layout layout, long x, long to, int columns, int zero) {
    PACK.get(layout.ordinal()).brief(x, to, columns / Int8.BLOCK, -zero);
  }

  /// RDI: x. RSI: to. RDX: blocks. RCX: −zero. R8, R9: where sums of sixteens and of blocks go; R10: blocks left of 256 columns.
  private static Assembler write(Layout layout) {
    var c = new Loop();
    var a = c.a;
    var magnitude = c.bits(0x7fff_ffff);
    var levels = c.all(Int8.LEVELS);
    var most = c.all(Float.MAX_VALUE);
    var ones = c.bits(0x0101_0101);
    var minusZero = c.all(RCX);
    var fold = c.all(32f);
    var next = a.here();
    if (layout == Layout.SUPER) {
      a.lea(R8, RSI.at(SIXTEENS));
      a.lea(R9, RSI.at(BLOCKS));
      a.mov(R10, layout.columns / Int8.BLOCK);
    }
    var block = a.here();
    a.vmovups(zmm(0), RDI.at(0));
    a.vmovups(zmm(1), RDI.at(64));
    // The largest magnitude, everywhere in zmm2: as integers, so that what is no number is the largest.
    a.vpandd(zmm(2), zmm(0), magnitude);
    a.vpandd(zmm(3), zmm(1), magnitude);
    a.vpmaxsd(zmm(2), zmm(2), zmm(3));
    for (int order : new int[] {0x4e, 0xb1}) {
      a.vshuff32x4(zmm(3), zmm(2), zmm(2), order);
      a.vpmaxsd(zmm(2), zmm(2), zmm(3));
    }
    for (int order : new int[] {0x4e, 0xb1}) {
      a.vshufps(zmm(3), zmm(2), zmm(2), order);
      a.vpmaxsd(zmm(2), zmm(2), zmm(3));
    }
    // The scale in xmm3, no number if the largest is none or infinite; the inverse in zmm5.
    a.vsubps(xmm(4), xmm(2), xmm(2));
    a.vdivps(xmm(3), xmm(2), xmm(levels.index()));
    a.vaddps(xmm(3), xmm(3), xmm(4));
    a.vmovss(RSI.at(SCALE), xmm(3));
    a.vdivps(xmm(5), xmm(levels.index()), xmm(2));
    a.vminps(xmm(5), xmm(5), xmm(most.index()));
    a.vbroadcastss(zmm(5), xmm(5));
    for (int half = 0; half < 2; half++) {
      var v = zmm(half);
      a.vmulps(v, v, zmm(5));
      a.vcvtps2dq(v, v);
      a.vpmovdb(RSI.at(16 * half), v);
    }
    // Sums of codes, four by four.
    int sums = layout == Layout.SUPER ? 7 : 6;
    a.vpxord(xmm(6), xmm(6), xmm(6));
    a.vpxord(xmm(7), xmm(7), xmm(7));
    a.vpdpbusd(xmm(6), xmm(ones.index()), RSI.at(0));
    a.vpdpbusd(xmm(sums), xmm(ones.index()), RSI.at(16));
    switch (layout) {
      case INTEGERS -> {
        a.vpmulld(xmm(6), xmm(6), xmm(minusZero.index()));
        a.vmovups(RSI.at(SUMS), xmm(6));
      }
      case FLOATS -> {
        a.vcvtdq2ps(xmm(6), xmm(6));
        a.vmulps(xmm(6), xmm(6), xmm(3));
        a.vmovups(RSI.at(SUMS), xmm(6));
      }
      case SUPER -> {
        for (int half = 6; half < 8; half++) {
          for (int order : new int[] {0x4e, 0xb1}) {
            a.vshufps(xmm(8), xmm(half), xmm(half), order);
            a.vpaddd(xmm(half), xmm(half), xmm(8));
          }
        }
        a.vpaddd(xmm(8), xmm(6), xmm(7));
        for (int i = 6; i < 9; i++) {
          a.vcvtdq2ps(xmm(i), xmm(i));
          a.vmulps(xmm(i), xmm(i), xmm(3));
          if (i < 8) a.vmulps(xmm(i), xmm(i), xmm(fold.index()));
        }
        a.vmovss(R8.at(0), xmm(6));
        a.vmovss(R8.at(4), xmm(7));
        a.vmovss(R9.at(0), xmm(8));
        a.add(R8, 8);
        a.add(R9, 4);
      }
    }
    a.add(RDI, 4 * Int8.BLOCK);
    a.add(RSI, 64);
    a.dec(RDX);
    if (layout == Layout.SUPER) {
      a.dec(R10);
      a.j(Condition.NOT_EQUAL, block);
      a.add(RSI, layout.bytes - SIXTEENS);
      a.test(RDX, RDX);
      a.j(Condition.NOT_EQUAL, next);
    } else {
      a.j(Condition.NOT_EQUAL, block);
    }
    a.vzeroupper();
    a.ret();
    return a;
  }
}
