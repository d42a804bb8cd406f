package org.llmcore.cpu.code;

/// Machine code of x86-64, one method per instruction, named as Intel names them (Intel SDM vol. 2). Destination first.
///
/// Only what the kernels of this engine use is here. `AssemblerTest` compares every encoding with the GNU assembler's.
/// Vector instructions take the width and the mask of their destination.
public final class Assembler {
  private final Encoder e = new Encoder();

  /// The code so far; every label that was named must have been bound.
  public byte[] bytes() {
    return e.bytes();
  }

  // ---- places and jumps

  /// A label at this place.
  public Label here() {
    var l = new Label();
    bind(l);
    return l;
  }

  /// Says that `label` is this place.
  public void bind(Label label) {
    if (label.place >= 0) throw new IllegalStateException("label bound twice");
    label.place = e.size();
    for (int end : label.waiting) e.patch(end, label.place);
  }

  public void jmp(Label to) {
    e.u8(0xe9);
    distance(to);
  }

  public void j(Condition condition, Label to) {
    e.u8(0x0f, 0x80 | condition.ordinal());
    distance(to);
  }

  public void ret() {
    e.u8(0xc3);
  }

  private void distance(Label to) {
    e.i32(0);
    if (to.place >= 0) e.patch(e.size(), to.place);
    else to.waiting.add(e.size());
  }

  // ---- general registers, 64 bits

  public void mov(Gpr d, Gpr s) {
    e.general(s.ordinal(), d, 0x89);
  }

  public void mov(Gpr d, long value) {
    if (value >= 0 && value >>> 32 == 0) { // the upper half becomes 0
      if (d.ordinal() > 7) e.u8(0x41);
      e.u8(0xb8 | d.ordinal() & 7);
      e.i32((int) value);
    } else if (value == (int) value) {
      e.general(0, d, 0xc7);
      e.i32((int) value);
    } else {
      e.u8(0x48 | d.ordinal() >> 3, 0xb8 | d.ordinal() & 7);
      e.i64(value);
    }
  }

  public void mov(Gpr d, Mem s) {
    e.general(true, d.ordinal(), s, 0x8b);
  }

  public void mov(Mem d, Gpr s) {
    e.general(true, s.ordinal(), d, 0x89);
  }

  /// 32 bits; the upper half of d becomes 0.
  public void mov32(Gpr d, Mem s) {
    e.general(false, d.ordinal(), s, 0x8b);
  }

  /// The lower 32 bits of s.
  public void mov32(Mem d, Gpr s) {
    e.general(false, s.ordinal(), d, 0x89);
  }

  public void movzx8(Gpr d, Mem s) {
    e.general(false, d.ordinal(), s, 0x0f, 0xb6);
  }

  public void movzx16(Gpr d, Mem s) {
    e.general(false, d.ordinal(), s, 0x0f, 0xb7);
  }

  /// d = the address of s.
  public void lea(Gpr d, Mem s) {
    e.general(true, d.ordinal(), s, 0x8d);
  }

  public void add(Gpr d, Gpr s) {
    e.general(s.ordinal(), d, 0x01);
  }

  public void sub(Gpr d, Gpr s) {
    e.general(s.ordinal(), d, 0x29);
  }

  public void and(Gpr d, Gpr s) {
    e.general(s.ordinal(), d, 0x21);
  }

  public void xor(Gpr d, Gpr s) {
    e.general(s.ordinal(), d, 0x31);
  }

  public void cmp(Gpr a, Gpr b) {
    e.general(b.ordinal(), a, 0x39);
  }

  public void test(Gpr a, Gpr b) {
    e.general(b.ordinal(), a, 0x85);
  }

  public void imul(Gpr d, Gpr s) {
    e.general(d.ordinal(), s, 0x0f, 0xaf);
  }

  public void add(Gpr d, int value) {
    immediate(0, d, value);
  }

  public void and(Gpr d, int value) {
    immediate(4, d, value);
  }

  public void sub(Gpr d, int value) {
    immediate(5, d, value);
  }

  public void cmp(Gpr a, int value) {
    immediate(7, a, value);
  }

  private void immediate(int operation, Gpr d, int value) {
    boolean small = value == (byte) value;
    if (!small && d == Gpr.RAX) {
      e.u8(0x48, 0x05 | operation << 3);
      e.i32(value);
      return;
    }
    e.general(operation, d, small ? 0x83 : 0x81);
    if (small) e.u8(value);
    else e.i32(value);
  }

  public void add(Gpr d, Mem s) {
    e.general(true, d.ordinal(), s, 0x03);
  }

  public void sub(Gpr d, Mem s) {
    e.general(true, d.ordinal(), s, 0x2b);
  }

  public void cmp(Gpr a, Mem b) {
    e.general(true, a.ordinal(), b, 0x3b);
  }

  public void shl(Gpr d, int bits) {
    shift(4, d, bits);
  }

  public void shr(Gpr d, int bits) {
    shift(5, d, bits);
  }

  public void sar(Gpr d, int bits) {
    shift(7, d, bits);
  }

  private void shift(int operation, Gpr d, int bits) {
    e.general(operation, d, bits == 1 ? 0xd1 : 0xc1);
    if (bits != 1) e.u8(bits);
  }

  public void inc(Gpr d) {
    e.general(0, d, 0xff);
  }

  public void dec(Gpr d) {
    e.general(1, d, 0xff);
  }

  /// d = s if the condition holds.
  public void cmov(Condition condition, Gpr d, Gpr s) {
    e.general(d.ordinal(), s, 0x0f, 0x40 | condition.ordinal());
  }

  public void push(Gpr r) {
    if (r.ordinal() > 7) e.u8(0x41);
    e.u8(0x50 | r.ordinal() & 7);
  }

  public void pop(Gpr r) {
    if (r.ordinal() > 7) e.u8(0x41);
    e.u8(0x58 | r.ordinal() & 7);
  }

  public void push(Gpr... registers) {
    for (var r : registers) push(r);
  }

  /// Restores what `push` of the same list saved.
  public void pop(Gpr... registers) {
    for (int i = registers.length - 1; i >= 0; i--) pop(registers[i]);
  }

  /// The lowest `bits` bits of s, the rest 0 (BMI2).
  public void bzhi(Gpr d, Gpr s, Gpr bits) {
    e.vex(2, 0, 1, 0, 0xf5, d.ordinal(), bits.ordinal(), s.ordinal());
  }

  // ---- asking the processor

  public void cpuid() {
    e.u8(0x0f, 0xa2);
  }

  public void xgetbv() {
    e.u8(0x0f, 0x01, 0xd0);
  }

  // ---- caches

  public void prefetcht0(Mem m) {
    e.general(false, 1, m, 0x0f, 0x18);
  }

  // ---- masks k1 … k7

  /// The lower 16 bits of s.
  public void kmovw(int k, Gpr s) {
    e.vex(1, 0, 0, 0, 0x92, k, 0, s.ordinal());
  }

  /// The lower 32 bits of s.
  public void kmovd(int k, Gpr s) {
    e.vex(1, 3, 0, 0, 0x92, k, 0, s.ordinal());
  }

  /// 16 bits of k into d; the rest of d becomes 0.
  public void kmovw(Gpr d, int k) {
    e.vex(1, 0, 0, 0, 0x93, d.ordinal(), 0, k);
  }

  /// 16 bits of memory into k.
  public void kmovw(int k, Mem s) {
    e.vex(1, 0, 0, 0, 0x90, k, 0, s);
  }

  // ---- moves of vectors

  public void vmovups(Vec d, Mem s) {
    e.evex(1, 0, 0, 0x10, d, d.index(), 0, s, d.bytes());
  }

  /// The mask of s says which lanes are written.
  public void vmovups(Mem d, Vec s) {
    e.evex(1, 0, 0, 0x11, s, s.index(), 0, d, s.bytes());
  }

  public void vmovaps(Vec d, Vec s) {
    e.evex(1, 0, 0, 0x28, d, d.index(), 0, s.index());
  }

  /// One float into lane 0, the others 0.
  public void vmovss(Vec d, Mem s) {
    e.evex(1, 2, 0, 0x10, d, d.index(), 0, s, 4);
  }

  public void vmovss(Mem d, Vec s) {
    e.evex(1, 2, 0, 0x11, s, s.index(), 0, d, 4);
  }

  public void vmovdqu16(Vec d, Mem s) {
    e.evex(1, 3, 1, 0x6f, d, d.index(), 0, s, d.bytes());
  }

  public void vmovdqu16(Mem d, Vec s) {
    e.evex(1, 3, 1, 0x7f, s, s.index(), 0, d, s.bytes());
  }

  public void vbroadcastss(Vec d, Mem s) {
    e.evex(2, 1, 0, 0x18, d, d.index(), 0, s, 4);
  }

  public void vbroadcastss(Vec d, Vec s) {
    e.evex(2, 1, 0, 0x18, d, d.index(), 0, s.index());
  }

  /// 128 bits of memory in every quarter.
  public void vbroadcastf32x4(Vec d, Mem s) {
    e.evex(2, 1, 0, 0x1a, d, d.index(), 0, s, 16);
  }

  /// 16 bits of memory in every 16-bit lane; a mask has a bit for each of these.
  public void vpbroadcastw(Vec d, Mem s) {
    e.evex(2, 1, 0, 0x79, d, d.index(), 0, s, 2);
  }

  /// The lower 32 bits of s in every lane.
  public void vpbroadcastd(Vec d, Gpr s) {
    e.evex(2, 1, 0, 0x7c, d, d.index(), 0, s.ordinal());
  }

  public void vpbroadcastq(Vec d, Gpr s) {
    e.evex(2, 1, 1, 0x7c, d, d.index(), 0, s.ordinal());
  }

  // ---- arithmetic of floats

  public void vaddps(Vec d, Vec a, Vec b) {
    e.evex(1, 0, 0, 0x58, d, d.index(), a.index(), b.index());
  }

  public void vaddps(Vec d, Vec a, Mem b) {
    e.evex(1, 0, 0, 0x58, d, d.index(), a.index(), b, d.bytes());
  }

  public void vsubps(Vec d, Vec a, Vec b) {
    e.evex(1, 0, 0, 0x5c, d, d.index(), a.index(), b.index());
  }

  public void vsubps(Vec d, Vec a, Mem b) {
    e.evex(1, 0, 0, 0x5c, d, d.index(), a.index(), b, d.bytes());
  }

  public void vmulps(Vec d, Vec a, Vec b) {
    e.evex(1, 0, 0, 0x59, d, d.index(), a.index(), b.index());
  }

  public void vmulps(Vec d, Vec a, Mem b) {
    e.evex(1, 0, 0, 0x59, d, d.index(), a.index(), b, d.bytes());
  }

  public void vdivps(Vec d, Vec a, Vec b) {
    e.evex(1, 0, 0, 0x5e, d, d.index(), a.index(), b.index());
  }

  /// b where either is NaN or both are 0, as all of `vminps` and `vmaxps`.
  public void vmaxps(Vec d, Vec a, Vec b) {
    e.evex(1, 0, 0, 0x5f, d, d.index(), a.index(), b.index());
  }

  public void vmaxps(Vec d, Vec a, Mem b) {
    e.evex(1, 0, 0, 0x5f, d, d.index(), a.index(), b, d.bytes());
  }

  public void vminps(Vec d, Vec a, Vec b) {
    e.evex(1, 0, 0, 0x5d, d, d.index(), a.index(), b.index());
  }

  public void vsqrtps(Vec d, Vec s) {
    e.evex(1, 0, 0, 0x51, d, d.index(), 0, s.index());
  }

  /// d += a·b, rounded once.
  public void vfmadd231ps(Vec d, Vec a, Vec b) {
    e.evex(2, 1, 0, 0xb8, d, d.index(), a.index(), b.index());
  }

  public void vfmadd231ps(Vec d, Vec a, Mem b) {
    e.evex(2, 1, 0, 0xb8, d, d.index(), a.index(), b, d.bytes());
  }

  /// d = fma(a₀, b₀, fma(a₁, b₁, d)) for pairs of bf16, the odd ones first; denormals count as 0.
  public void vdpbf16ps(Vec d, Vec a, Vec b) {
    e.evex(2, 2, 0, 0x52, d, d.index(), a.index(), b.index());
  }

  public void vdpbf16ps(Vec d, Vec a, Mem b) {
    e.evex(2, 2, 0, 0x52, d, d.index(), a.index(), b, d.bytes());
  }

  /// d += Σ of the four products of unsigned bytes of a and signed bytes of b in every 32-bit lane (AVX-512 VNNI).
  public void vpdpbusd(Vec d, Vec a, Vec b) {
    e.evex(2, 1, 0, 0x50, d, d.index(), a.index(), b.index());
  }

  public void vpdpbusd(Vec d, Vec a, Mem b) {
    e.evex(2, 1, 0, 0x50, d, d.index(), a.index(), b, d.bytes());
  }

  /// d = a·d + b.
  public void vfmadd213ps(Vec d, Vec a, Vec b) {
    e.evex(2, 1, 0, 0xa8, d, d.index(), a.index(), b.index());
  }

  public void vfmadd213ps(Vec d, Vec a, Mem b) {
    e.evex(2, 1, 0, 0xa8, d, d.index(), a.index(), b, d.bytes());
  }

  /// d −= a·b.
  public void vfnmadd231ps(Vec d, Vec a, Vec b) {
    e.evex(2, 1, 0, 0xbc, d, d.index(), a.index(), b.index());
  }

  /// d = a·b − d.
  public void vfmsub231ps(Vec d, Vec a, Vec b) {
    e.evex(2, 1, 0, 0xba, d, d.index(), a.index(), b.index());
  }

  public void vfmsub231ps(Vec d, Vec a, Mem b) {
    e.evex(2, 1, 0, 0xba, d, d.index(), a.index(), b, d.bytes());
  }

  /// k = a ⋛ b by predicate: 0 equal, 1 less, 2 less or equal, 3 unordered, 13 greater or equal, 14 greater.
  public void vcmpps(int k, Vec a, Vec b, int predicate) {
    e.evex(1, 0, 0, 0xc2, a, k, a.index(), b.index());
    e.u8(predicate);
  }

  public void vaddpd(Vec d, Vec a, Vec b) {
    e.evex(1, 1, 1, 0x58, d, d.index(), a.index(), b.index());
  }

  public void vsubpd(Vec d, Vec a, Vec b) {
    e.evex(1, 1, 1, 0x5c, d, d.index(), a.index(), b.index());
  }

  public void vmulpd(Vec d, Vec a, Vec b) {
    e.evex(1, 1, 1, 0x59, d, d.index(), a.index(), b.index());
  }

  public void vfmadd213pd(Vec d, Vec a, Vec b) {
    e.evex(2, 1, 1, 0xa8, d, d.index(), a.index(), b.index());
  }

  public void vfmadd231pd(Vec d, Vec a, Vec b) {
    e.evex(2, 1, 1, 0xb8, d, d.index(), a.index(), b.index());
  }

  /// The exponent of s as a float: the floor of log₂|s|, −∞ of 0.
  public void vgetexppd(Vec d, Vec s) {
    e.evex(2, 1, 1, 0x42, d, d.index(), 0, s.index());
  }

  /// The significand of s, 1 of 0 and ∞. Bits 0 and 1 of `form`: within [1, 2), [½, 2), [½, 1) or [¾, 3⁄2); bit 2: without its sign.
  public void vgetmantpd(Vec d, Vec s, int form) {
    e.evex(3, 1, 1, 0x26, d, d.index(), 0, s.index());
    e.u8(form);
  }

  public void vdivpd(Vec d, Vec a, Vec b) {
    e.evex(1, 1, 1, 0x5e, d, d.index(), a.index(), b.index());
  }

  public void vsqrtpd(Vec d, Vec s) {
    e.evex(1, 1, 1, 0x51, d, d.index(), 0, s.index());
  }

  /// d = a · 2 to the floor of b, rounded once.
  public void vscalefps(Vec d, Vec a, Vec b) {
    e.evex(2, 1, 0, 0x2c, d, d.index(), a.index(), b.index());
  }

  // ---- arithmetic of integers

  public void vpaddd(Vec d, Vec a, Vec b) {
    e.evex(1, 1, 0, 0xfe, d, d.index(), a.index(), b.index());
  }

  public void vpaddd(Vec d, Vec a, Mem b) {
    e.evex(1, 1, 0, 0xfe, d, d.index(), a.index(), b, d.bytes());
  }

  /// The lower 32 bits of products.
  public void vpmulld(Vec d, Vec a, Vec b) {
    e.evex(2, 1, 0, 0x40, d, d.index(), a.index(), b.index());
  }

  /// The greater of signed integers.
  public void vpmaxsd(Vec d, Vec a, Vec b) {
    e.evex(2, 1, 0, 0x3d, d, d.index(), a.index(), b.index());
  }

  public void vpaddq(Vec d, Vec a, Vec b) {
    e.evex(1, 1, 1, 0xd4, d, d.index(), a.index(), b.index());
  }

  public void vpmullq(Vec d, Vec a, Vec b) {
    e.evex(2, 1, 1, 0x40, d, d.index(), a.index(), b.index());
  }

  public void vpandd(Vec d, Vec a, Vec b) {
    e.evex(1, 1, 0, 0xdb, d, d.index(), a.index(), b.index());
  }

  public void vpandd(Vec d, Vec a, Mem b) {
    e.evex(1, 1, 0, 0xdb, d, d.index(), a.index(), b, d.bytes());
  }

  public void vpord(Vec d, Vec a, Vec b) {
    e.evex(1, 1, 0, 0xeb, d, d.index(), a.index(), b.index());
  }

  public void vpord(Vec d, Vec a, Mem b) {
    e.evex(1, 1, 0, 0xeb, d, d.index(), a.index(), b, d.bytes());
  }

  public void vpxord(Vec d, Vec a, Vec b) {
    e.evex(1, 1, 0, 0xef, d, d.index(), a.index(), b.index());
  }

  public void vpxord(Vec d, Vec a, Mem b) {
    e.evex(1, 1, 0, 0xef, d, d.index(), a.index(), b, d.bytes());
  }

  /// Any function of three bits: bit 4·d + 2·a + b of `table`.
  public void vpternlogd(Vec d, Vec a, Vec b, int table) {
    e.evex(3, 1, 0, 0x25, d, d.index(), a.index(), b.index());
    e.u8(table);
  }

  public void vpslld(Vec d, Vec s, int bits) {
    e.evex(1, 1, 0, 0x72, d, 6, d.index(), s.index());
    e.u8(bits);
  }

  public void vpsrld(Vec d, Vec s, int bits) {
    e.evex(1, 1, 0, 0x72, d, 2, d.index(), s.index());
    e.u8(bits);
  }

  public void vpsrlq(Vec d, Vec s, int bits) {
    e.evex(1, 1, 1, 0x73, d, 2, d.index(), s.index());
    e.u8(bits);
  }

  /// Each lane by its own count.
  public void vpsrlvd(Vec d, Vec s, Vec counts) {
    e.evex(2, 1, 0, 0x45, d, d.index(), s.index(), counts.index());
  }

  /// k = a ⋛ b of unsigned 32-bit lanes: 0 equal, 1 less, 2 less or equal, 5 greater or equal, 6 greater.
  public void vpcmpud(int k, Vec a, Vec b, int predicate) {
    e.evex(3, 1, 0, 0x1e, a, k, a.index(), b.index());
    e.u8(predicate);
  }

  // ---- conversions

  /// 32-bit lanes from unsigned 16-bit ones.
  public void vpmovzxwd(Vec d, Mem s) {
    e.evex(2, 1, 0, 0x33, d, d.index(), 0, s, d.bytes() / 2);
  }

  public void vpmovzxwd(Vec d, Vec s) {
    e.evex(2, 1, 0, 0x33, d, d.index(), 0, s.index());
  }

  /// 32-bit lanes from unsigned bytes.
  public void vpmovzxbd(Vec d, Mem s) {
    e.evex(2, 1, 0, 0x31, d, d.index(), 0, s, d.bytes() / 4);
  }

  public void vpmovzxbd(Vec d, Vec s) {
    e.evex(2, 1, 0, 0x31, d, d.index(), 0, s.index());
  }

  /// 32-bit lanes from signed bytes.
  public void vpmovsxbd(Vec d, Mem s) {
    e.evex(2, 1, 0, 0x21, d, d.index(), 0, s, d.bytes() / 4);
  }

  public void vpmovsxbd(Vec d, Vec s) {
    e.evex(2, 1, 0, 0x21, d, d.index(), 0, s.index());
  }

  /// The lower 16 bits of every 32-bit lane.
  public void vpmovdw(Mem d, Vec s) {
    e.evex(2, 2, 0, 0x33, s, s.index(), 0, d, s.bytes() / 2);
  }

  /// The lower half of d = f32 as bf16, to nearest even; denormals count as 0.
  public void vcvtneps2bf16(Vec d, Vec s) {
    e.evex(2, 2, 0, 0x72, s, d.index(), 0, s.index());
  }

  /// The same of two registers: b in the lower half of d, a in the upper.
  public void vcvtne2ps2bf16(Vec d, Vec a, Vec b) {
    e.evex(2, 3, 0, 0x72, d, d.index(), a.index(), b.index());
  }

  /// The lowest byte of every 32-bit lane.
  public void vpmovdb(Mem d, Vec s) {
    e.evex(2, 2, 0, 0x31, s, s.index(), 0, d, s.bytes() / 4);
  }

  /// f32 from f16.
  public void vcvtph2ps(Vec d, Mem s) {
    e.evex(2, 1, 0, 0x13, d, d.index(), 0, s, d.bytes() / 2);
  }

  public void vcvtph2ps(Vec d, Vec s) {
    e.evex(2, 1, 0, 0x13, d, d.index(), 0, s.index());
  }

  public void vcvtdq2ps(Vec d, Vec s) {
    e.evex(1, 0, 0, 0x5b, d, d.index(), 0, s.index());
  }

  /// Integers nearest to floats, of two the even one; the least where there is none.
  public void vcvtps2dq(Vec d, Vec s) {
    e.evex(1, 1, 0, 0x5b, d, d.index(), 0, s.index());
  }

  /// f64 from the lower half's f32.
  public void vcvtps2pd(Vec d, Mem s) {
    e.evex(1, 0, 0, 0x5a, d, d.index(), 0, s, d.bytes() / 2);
  }

  public void vcvtps2pd(Vec d, Vec s) {
    e.evex(1, 0, 0, 0x5a, d, d.index(), 0, s.index());
  }

  public void vcvtpd2ps(Vec d, Vec s) {
    e.evex(1, 1, 1, 0x5a, s, d.index(), 0, s.index());
  }

  /// Lane 0 of s.
  public void vmovd(Gpr d, Vec s) {
    e.evex(1, 1, 0, 0x7e, s, s.index(), 0, d.ordinal());
  }

  // ---- rearranging

  public void vunpcklps(Vec d, Vec a, Vec b) {
    e.evex(1, 0, 0, 0x14, d, d.index(), a.index(), b.index());
  }

  public void vunpckhps(Vec d, Vec a, Vec b) {
    e.evex(1, 0, 0, 0x15, d, d.index(), a.index(), b.index());
  }

  public void vunpcklpd(Vec d, Vec a, Vec b) {
    e.evex(1, 1, 1, 0x14, d, d.index(), a.index(), b.index());
  }

  public void vunpckhpd(Vec d, Vec a, Vec b) {
    e.evex(1, 1, 1, 0x15, d, d.index(), a.index(), b.index());
  }

  /// 128-bit lanes: two of a below two of b, chosen by pairs of bits of `lanes`.
  public void vshuff32x4(Vec d, Vec a, Vec b, int lanes) {
    e.evex(3, 1, 0, 0x23, d, d.index(), a.index(), b.index());
    e.u8(lanes);
  }

  /// Within 128-bit lanes: two floats of a below two of b, chosen by pairs of bits of `places`.
  public void vshufps(Vec d, Vec a, Vec b, int places) {
    e.evex(1, 0, 0, 0xc6, d, d.index(), a.index(), b.index());
    e.u8(places);
  }

  /// d = places[i] of table, lane by lane.
  public void vpermps(Vec d, Vec places, Vec table) {
    e.evex(2, 1, 0, 0x16, d, d.index(), places.index(), table.index());
  }

  public void vpermps(Vec d, Vec places, Mem table) {
    e.evex(2, 1, 0, 0x16, d, d.index(), places.index(), table, d.bytes());
  }

  /// Lanes of a (places below 16) and b; d holds the places and is overwritten.
  public void vpermi2ps(Vec d, Vec a, Vec b) {
    e.evex(2, 1, 0, 0x77, d, d.index(), a.index(), b.index());
  }

  /// Lanes of d (places below 16) and b, at the places.
  public void vpermt2ps(Vec d, Vec places, Vec b) {
    e.evex(2, 1, 0, 0x7f, d, d.index(), places.index(), b.index());
  }

  /// d = s with 128 bits of memory as its quarter `lane`.
  public void vinsertf32x4(Vec d, Vec s, Mem m, int lane) {
    e.evex(3, 1, 0, 0x18, d, d.index(), s.index(), m, 16);
    e.u8(lane);
  }

  /// d = s with the lower half of h as its half `half`.
  public void vinsertf64x4(Vec d, Vec s, Vec h, int half) {
    e.evex(3, 1, 1, 0x1a, d, d.index(), s.index(), h.index());
    e.u8(half);
  }

  /// 128-bit lane of a 512-bit register.
  public void vextractf32x4(Vec d, Vec s, int lane) {
    e.evex(3, 1, 0, 0x19, Vec.zmm(0), s.index(), 0, d.index());
    e.u8(lane);
  }

  public void vextractf64x4(Vec d, Vec s, int half) {
    e.evex(3, 1, 1, 0x1b, Vec.zmm(0), s.index(), 0, d.index());
    e.u8(half);
  }

  public void vextractf64x4(Mem d, Vec s, int half) {
    e.evex(3, 1, 1, 0x1b, s, s.index(), 0, d, 32);
    e.u8(half);
  }

  public void vzeroupper() {
    e.u8(0xc5, 0xf8, 0x77);
  }

  // ---- tiles (AMX)

  /// The shape of the tiles from 64 bytes: palette 1, rows and bytes per row of each.
  public void ldtilecfg(Mem m) {
    e.vex(2, 0, 0, 0, 0x49, 0, 0, m);
  }

  public void tilerelease() {
    e.vex(2, 0, 0, 0, 0x49, 0, 0, 0);
  }

  public void tilezero(int tile) {
    e.vex(2, 3, 0, 0, 0x49, tile, 0, 0);
  }

  /// Rows at base + row · index; m needs an index register, the pitch in bytes.
  public void tileloadd(int tile, Mem m) {
    e.vex(2, 3, 0, 0, 0x4b, tile, 0, m);
  }

  /// As `tileloadd`, for what will not be used again soon.
  public void tileloaddt1(int tile, Mem m) {
    e.vex(2, 1, 0, 0, 0x4b, tile, 0, m);
  }

  public void tilestored(Mem m, int tile) {
    e.vex(2, 2, 0, 0, 0x4b, tile, 0, m);
  }

  /// f32 d[m,n] += Σ of pairs of bf16 a[m,2k…]·b[k,2n…].
  public void tdpbf16ps(int d, int a, int b) {
    e.vex(2, 2, 0, 0, 0x5c, d, b, a);
  }

}
