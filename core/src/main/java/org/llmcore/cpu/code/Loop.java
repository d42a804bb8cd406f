package org.llmcore.cpu.code;

import java.util.HashMap;
import java.util.Map;

import org.llmcore.tensor.DType;

import static org.llmcore.cpu.code.Gpr.R10;
import static org.llmcore.cpu.code.Gpr.R11;
import static org.llmcore.cpu.code.Gpr.RAX;
import static org.llmcore.cpu.code.Vec.xmm;
import static org.llmcore.cpu.code.Vec.ymm;
import static org.llmcore.cpu.code.Vec.zmm;

/// Code over rows of f32 and bf16, 16 elements at a time; the last few under mask k1, so that nothing beyond a row is touched.
///
/// | register        | use                                              |
/// |-----------------|--------------------------------------------------|
/// | RAX             | element index of a loop                          |
/// | R10, R11, k1    | end and mask of a loop                           |
/// | zmm31 downwards | constants: `all`                                 |
/// | zmm13, zmm14, k2| rounding to bf16 (a body's own are 0 … 12)     |
public final class Loop {
  public final Assembler a = new Assembler();

  private final Map<Integer, Vec> constants = new HashMap<>();
  private int free = 31;
  private boolean tail;
  private Gpr count;
  private Label loop;
  private Label rest;
  private Label done;

  /// A register of this value in every lane, loaded here.
  public Vec all(float value) {
    return bits(Float.floatToRawIntBits(value));
  }

  /// The same of an integer.
  public Vec bits(int value) {
    return constants.computeIfAbsent(
        value,
        v -> {
          a.mov(R11, v & 0xffff_ffffL);
          return all(R11);
        });
  }

  /// A register of the lower 32 bits of `value` in every lane, loaded here.
  public Vec all(Gpr value) {
    var v = zmm(free--);
    a.vpbroadcastd(v, value);
    return v;
  }

  /// A register of the float at `value` in every lane, loaded here.
  public Vec all(Mem value) {
    var v = zmm(free--);
    a.vbroadcastss(v, value);
    return v;
  }

  /// A register of this 64-bit value in every lane, loaded here.
  public Vec wide(long value) {
    a.mov(R11, value);
    return wide(R11);
  }

  /// A register of a 64-bit argument in every lane, loaded here.
  public Vec wide(Gpr value) {
    var v = zmm(free--);
    a.vpbroadcastq(v, value);
    return v;
  }

  /// Loads what `store` of bf16 needs.
  public void narrows(DType... targets) {
    for (var t : targets) {
      if (t == DType.BF16) rounding();
    }
  }

  private Rounding rounding() {
    return new Rounding(bits(Rounding.ONE), bits(Rounding.HALF), bits(Rounding.QUIET), 2);
  }

  /// Starts a loop over elements 0 … n−1 in steps of 16. The body is written twice, once whole and once masked:
  ///
  ///     begin(n);
  ///     do { … } while (again());
  public void begin(Gpr n) {
    count = n;
    rest = new Label();
    done = new Label();
    a.xor(RAX, RAX);
    a.mov(R10, n);
    a.and(R10, -16);
    a.j(Condition.EQUAL, rest);
    loop = a.here();
  }

  /// Ends a body; true if it is to be written once more.
  public boolean again() {
    if (tail) {
      tail = false;
      a.bind(done);
      return false;
    }
    a.add(RAX, 16);
    a.cmp(RAX, R10);
    a.j(Condition.BELOW, loop);
    a.bind(rest);
    a.mov(R11, count);
    a.sub(R11, R10);
    a.j(Condition.EQUAL, done);
    mask(1, R11);
    tail = true;
    return true;
  }

  /// Mask k of the lowest `count` lanes; overwrites R10.
  public void mask(int k, Gpr count) {
    a.mov(R10, -1L);
    a.bzhi(R10, R10, count);
    a.kmovw(k, R10);
  }

  /// d as destination of a sum: lanes beyond the row keep their value.
  public Vec kept(Vec d) {
    return tail ? d.keep(1) : d;
  }

  /// 16 elements of the row at `row` as f32; lanes beyond it are 0.
  public void load(Vec d, Gpr row, DType dtype) {
    Loads.load(a, tail ? d.zero(1) : d, row.at(RAX, dtype.bytes(), 0), dtype);
  }

  /// Stores v, or adds it to what is there. With `add`, `spare` and v are overwritten.
  public void store(Gpr row, DType dtype, boolean add, Vec v, Vec spare) {
    if (add) {
      load(spare, row, dtype);
      a.vaddps(v, spare, v);
    }
    if (dtype == DType.F32) {
      a.vmovups(row.at(RAX, 4, 0), tail ? v.keep(1) : v);
    } else {
      rounding().narrow(a, zmm(13), v, zmm(14));
      a.vpmovdw(row.at(RAX, 2, 0), tail ? zmm(13).keep(1) : zmm(13));
    }
  }

  /// The tree over the 16 partial sums in s, into lane 0 of s: i with i+8, then +4, +2, +1.
  public void total(Vec s, Vec spare) {
    int i = s.index();
    int t = spare.index();
    a.vextractf64x4(ymm(t), s, 1);
    a.vaddps(ymm(i), ymm(i), ymm(t));
    a.vextractf32x4(xmm(t), zmm(i), 1);
    a.vaddps(xmm(i), xmm(i), xmm(t));
    a.vshufps(xmm(t), xmm(i), xmm(i), 0b11_10);
    a.vaddps(xmm(i), xmm(i), xmm(t));
    a.vshufps(xmm(t), xmm(i), xmm(i), 0b01);
    a.vaddps(xmm(i), xmm(i), xmm(t));
  }

  /// The largest of the 16 lanes of s, into lane 0 of s; s must have no NaN.
  public void largest(Vec s, Vec spare) {
    int i = s.index();
    int t = spare.index();
    a.vextractf64x4(ymm(t), s, 1);
    a.vmaxps(ymm(i), ymm(i), ymm(t));
    a.vextractf32x4(xmm(t), zmm(i), 1);
    a.vmaxps(xmm(i), xmm(i), xmm(t));
    a.vshufps(xmm(t), xmm(i), xmm(i), 0b11_10);
    a.vmaxps(xmm(i), xmm(i), xmm(t));
    a.vshufps(xmm(t), xmm(i), xmm(i), 0b01);
    a.vmaxps(xmm(i), xmm(i), xmm(t));
  }

  /// The end of a function that returns the float in lane 0 of s.
  public Assembler returns(Vec s) {
    a.vmovd(RAX, xmm(s.index()));
    return end();
  }

  /// The end of a function.
  public Assembler end() {
    a.vzeroupper();
    a.ret();
    return a;
  }
}
