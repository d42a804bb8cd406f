package org.llmcore.cpu;

import org.llmcore.cpu.code.Assembler;
import org.llmcore.cpu.code.Condition;
import org.llmcore.cpu.code.Gpr;
import org.llmcore.cpu.code.Loads;
import org.llmcore.cpu.code.Loop;
import org.llmcore.cpu.code.Mem;
import org.llmcore.cpu.code.Routine;
import org.llmcore.cpu.code.Routines;
import org.llmcore.cpu.code.Vec;
import org.llmcore.tensor.DType;

import static org.llmcore.cpu.code.Gpr.*;
import static org.llmcore.cpu.code.Vec.xmm;
import static org.llmcore.cpu.code.Vec.zmm;

/// Attention of one query of one head as machine code: keys and values are used once, so they are read where they lie, page
/// by page through the block table. 16 dot products are 16 registers of partial sums, which a tree of shuffles adds all at
/// once.
///
/// | register | use                                                   |
/// |----------|-------------------------------------------------------|
/// | RDI RSI  | query (f32, padded), result                           |
/// | RDX RCX  | keys, values                                          |
/// | R8 R9    | bytes from key to key, block table                    |
/// | RBX      | keys left in the page                                 |
/// | R12      | scores                                                |
/// | R13 R14  | keys left, entry of the block table                   |
/// | R15      | the key or value                                      |
/// | k7       | lanes of the last vector of a head                    |
final class AttentionSingleCode {
  private static final Routines SINGLE = new Routines(2 * (AttentionCode.WIDEST + 1), AttentionSingleCode::single);
  private static final Routines PAIRS = new Routines(AttentionCode.WIDEST + 1, AttentionSingleCode::pairs);
  private static final Gpr[] SAVED = {RBX, RBP, R12, R13, R14, R15};

  private AttentionSingleCode() {}

  /// Keys or values of one head as pages of `slots` rows, `pitch` bytes apart; `table` holds page numbers.
  record Pages(long keys, long values, DType dtype, long pitch, long table, int slots, long bytes) {}

  /// o (f32, d elements) of query q (f32, padded) over n keys. `stats` receives the largest score and the sum of exponentials;
  /// `scores` has room for n.
  static void attend(long q, long o, Pages pages, int n, float scale, int d, long scores, long stats) {
    SINGLE.get(AttentionTiles.padded(d) / 16 * 2 + RowCode.bit(pages.dtype)).run(
        q, o, pages.keys, pages.values, pages.pitch, pages.table, n, pages.slots, pages.bytes, Float.floatToRawIntBits(scale),
        scores, stats, d);
  }

  /// The same in pairs of bf16, with the bits of `AttentionPairs`. Pages have an even number of slots, or there is one.
  /// @param q words, padded with zeros to whole vectors
  static void attendInPairs(long q, long o, Pages pages, int n, float scale, int d, long scores, long stats) {
    PAIRS.get(AttentionTiles.padded(d) / 16).run(
        q, o, pages.keys, pages.values, pages.pitch, pages.table, n, pages.slots, pages.bytes, Float.floatToRawIntBits(scale), scores, stats, d);
  }

  private static Assembler pairs(int w) {
    var c = new Loop();
    var a = c.a;
    int words = (w + 1) / 2; // vectors of words of a row
    a.push(SAVED);
    a.mov(R11, argument(12));
    a.mov(RBP, R11);
    a.shr(R11, 1);
    a.sub(R11, 16 * (words - 1));
    c.mask(6, R11); // words of the last vector
    a.sub(RBP, 16 * (w - 1));
    c.mask(7, RBP);
    pages(a, RDX, () -> keysInPairs(c, words));
    a.mov(R12, argument(10));
    a.mov(RBX, argument(6));
    a.mov(R15, argument(11));
    var exp = new ExpCode(c);
    var one = c.all(1f);
    c.narrows(DType.BF16);
    AttentionCode.softmaxOfRow(c, exp, R12, RBX, one, DType.BF16);
    a.lea(R11, R12.at(RBX, 2, 0));
    a.vpxord(zmm(0), zmm(0), zmm(0));
    a.mov(RAX, 1);
    c.mask(1, RAX);
    a.vpmovdw(R11.at(0), zmm(0).keep(1)); // beside an odd last key
    for (int v = 0; v < w; v++) a.vpxord(zmm(v), zmm(v), zmm(v));
    pages(a, RCX, () -> valuesInPairs(a, w));
    divide(a, w);
    a.pop(SAVED);
    return c.end();
  }

  /// zmm0 … w−1 divided by the sum of exponentials become the result.
  private static void divide(Assembler a, int w) {
    a.mov(RAX, argument(11));
    a.vbroadcastss(zmm(31), RAX.at(8));
    for (int v = 0; v < w; v++) {
      a.vmulps(zmm(v), zmm(v), zmm(31));
      a.vmovups(RSI.at(64 * v), last(w, v) ? zmm(v).keep(7) : zmm(v));
    }
  }

  private static Assembler single(int variant) {
    var c = new Loop();
    var a = c.a;
    int w = variant / 2;
    var dtype = RowCode.dtype(variant);
    a.push(SAVED);
    a.mov(R11, argument(12));
    a.sub(R11, 16 * (w - 1));
    c.mask(7, R11);
    pages(a, RDX, () -> keys(c, w, dtype));
    softmax(c);
    for (int v = 0; v < w; v++) a.vpxord(zmm(v), zmm(v), zmm(v));
    pages(a, RCX, () -> values(a, w, dtype));
    divide(a, w);
    a.pop(SAVED);
    return c.end();
  }

  private static Mem argument(int i) {
    return Routine.argument(i, SAVED.length);
  }

  private static boolean last(int w, int v) {
    return v == w - 1;
  }

  /// `body` for every page: RBX keys from R15 on.
  private static void pages(Assembler a, Gpr base, Runnable body) {
    a.mov(R12, argument(10));
    a.mov(R13, argument(6));
    a.mov(R14, R9);
    var page = a.here();
    a.mov32(R15, R14.at(0));
    a.mov(RAX, argument(8));
    a.imul(R15, RAX);
    a.add(R15, base);
    a.mov(RBX, argument(7));
    a.cmp(RBX, R13);
    a.cmov(Condition.GREATER, RBX, R13);
    a.sub(R13, RBX);
    body.run();
    a.add(R14, 4);
    a.test(R13, R13);
    a.j(Condition.NOT_EQUAL, page);
  }

  /// Scores of the page's keys, 16 at a time; keys that do not exist repeat the last and are not stored.
  private static void keys(Loop c, int w, DType dtype) {
    var a = c.a;
    var group = a.here();
    a.mov(R10, R15);
    for (int i = 0; i < 16; i++) {
      a.vpxord(zmm(i), zmm(i), zmm(i));
      for (int v = 0; v < w; v++) {
        load(a, zmm(16), R10, v, w, dtype);
        a.vfmadd231ps(last(w, v) ? zmm(i).keep(7) : zmm(i), zmm(16), RDI.at(64 * v));
      }
      a.lea(R11, R10.at(R8, 1, 0));
      a.cmp(RBX, i + 1);
      a.cmov(Condition.GREATER, R10, R11);
    }
    totals(a);
    a.mov(R11, 16);
    a.cmp(RBX, R11);
    a.cmov(Condition.LESS, R11, RBX);
    c.mask(1, R11);
    put(a);
    a.j(Condition.GREATER, group);
  }

  /// The scores of a group of R11 keys, and on to the next; the flags say whether there is one.
  private static void put(Assembler a) {
    a.vmovups(R12.at(0), zmm(0).keep(1));
    a.lea(R12, R12.at(R11, 4, 0));
    a.mov(R11, R8);
    a.shl(R11, 4);
    a.add(R15, R11);
    a.sub(RBX, 16);
  }

  /// Scores of the page's keys, 16 at a time: their words turned in registers, then two sums of pairs each.
  private static void keysInPairs(Loop c, int words) {
    var a = c.a;
    var group = a.here();
    for (int b = 0; b < words; b++) {
      a.mov(R10, R15);
      for (int i = 0; i < 16; i++) {
        a.vmovups(last(words, b) ? zmm(i).zero(6) : zmm(i), R10.at(64 * b));
        a.lea(R11, R10.at(R8, 1, 0));
        a.cmp(RBX, i + 1);
        a.cmov(Condition.GREATER, R10, R11); // the last key again where there is none
      }
      AttentionCode.transpose(a);
      for (int i = 0; i < 2; i++) {
        if (b == 0) a.vpxord(zmm(16 + i), zmm(16 + i), zmm(16 + i));
        else a.vmovups(zmm(16 + i), RSP.at(-128 + 64 * i)); // below the stack's end, where leaf functions may keep things
      }
      for (int j = 0; j < 16; j++) a.vdpbf16ps(zmm(16 + j % 2), zmm(j), RDI.at(64 * b + 4 * j).all());
      if (!last(words, b)) for (int i = 0; i < 2; i++) a.vmovups(RSP.at(-128 + 64 * i), zmm(16 + i));
    }
    a.vaddps(zmm(0), zmm(16), zmm(17));
    a.vbroadcastss(zmm(1), argument(9));
    a.vmulps(zmm(0), zmm(0), zmm(1));
    a.mov(R11, 16);
    a.cmp(RBX, R11);
    a.cmov(Condition.LESS, R11, RBX);
    c.mask(1, R11);
    put(a);
    a.j(Condition.GREATER, group);
  }

  /// Registers 0 … w−1 += p of two keys · their values, over the page.
  private static void valuesInPairs(Assembler a, int w) {
    var pair = a.here();
    a.lea(R11, R15.at(R8, 1, 0));
    a.cmp(RBX, 1);
    a.cmov(Condition.EQUAL, R11, R15); // times 0
    a.vbroadcastss(zmm(30), R12.at(0));
    for (int v = 0; v < w; v++) {
      a.vpmovzxwd(last(w, v) ? zmm(28).zero(7) : zmm(28), R15.at(32 * v));
      a.vpmovzxwd(last(w, v) ? zmm(29).zero(7) : zmm(29), R11.at(32 * v));
      a.vpslld(zmm(29), zmm(29), 16);
      a.vpord(zmm(28), zmm(28), zmm(29));
      a.vdpbf16ps(zmm(v), zmm(28), zmm(30));
    }
    a.add(R12, 4);
    a.lea(R15, R15.at(R8, 2, 0));
    a.sub(RBX, 2);
    a.j(Condition.GREATER, pair);
  }

  private static void load(Assembler a, Vec to, Gpr row, int v, int w, DType dtype) {
    Loads.load(a, last(w, v) ? to.zero(7) : to, row.at(16 * dtype.bytes() * v), dtype);
  }

  /// zmm0 = the sums of the 16 partial sums in each of registers 0 … 15: i with i+8, +4, +2, +1. Registers j, 4+j, 8+j and 12+j
  /// become one, so that sum i ends in lane i.
  private static void totals(Assembler a) {
    for (int i : new int[] {0, 1, 2, 3, 8, 9, 10, 11}) lanes(a, i, i, i + 4, 0x44, 0xee);
    for (int j = 0; j < 4; j++) lanes(a, j, j, j + 8, 0x88, 0xdd);
    for (int j = 0; j < 4; j += 2) within(a, j, j, j + 1, 0x44, 0xee);
    within(a, 0, 0, 2, 0x88, 0xdd);
  }

  private static void lanes(Assembler a, int to, int x, int y, int one, int other) {
    a.vshuff32x4(zmm(16), zmm(x), zmm(y), one);
    a.vshuff32x4(zmm(17), zmm(x), zmm(y), other);
    a.vaddps(zmm(to), zmm(16), zmm(17));
  }

  private static void within(Assembler a, int to, int x, int y, int one, int other) {
    a.vshufps(zmm(16), zmm(x), zmm(y), one);
    a.vshufps(zmm(17), zmm(x), zmm(y), other);
    a.vaddps(zmm(to), zmm(16), zmm(17));
  }

  private static void softmax(Loop c) {
    var a = c.a;
    var exp = new ExpCode(c);
    var least = c.all(Float.NEGATIVE_INFINITY);
    var one = c.all(1f);
    var scale = c.all(argument(9));
    a.mov(R12, argument(10));
    a.mov(RBX, argument(6));
    a.mov(R15, argument(11));
    a.vmovaps(zmm(0), least);
    c.begin(RBX);
    do {
      c.load(zmm(2), R12, DType.F32);
      a.vmulps(zmm(2), zmm(2), scale);
      c.store(R12, DType.F32, false, zmm(2), zmm(3));
      a.vmaxps(c.kept(zmm(0)), zmm(2), zmm(0)); // passes over NaN, which comes back by the sum
    } while (c.again());
    AttentionCode.exponentials(c, exp, R12, RBX, one, DType.F32);
  }

  /// Registers 0 … w−1 += p[u] · value u over the page.
  private static void values(Assembler a, int w, DType dtype) {
    var key = a.here();
    a.vbroadcastss(zmm(30), R12.at(0));
    for (int v = 0; v < w; v++) {
      load(a, zmm(29), R15, v, w, dtype);
      a.vfmadd231ps(zmm(v), zmm(29), zmm(30));
    }
    a.add(R12, 4);
    a.add(R15, R8);
    a.dec(RBX);
    a.j(Condition.NOT_EQUAL, key);
  }
}
