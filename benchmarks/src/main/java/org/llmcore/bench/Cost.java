package org.llmcore.bench;

import java.util.Locale;
import java.util.Optional;

import org.llmcore.op.Attention;
import org.llmcore.op.Embedding;
import org.llmcore.op.Kernel;
import org.llmcore.op.MatMul;
import org.llmcore.op.QuantMatMul;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Tensor;
import org.llmcore.trace.TracedDevice;

/// What a kernel call cannot do without: operations, where arithmetic may be its limit, and bytes, every tensor of the call moved once.
///
/// | kernel                  | operations                                                          |
/// |-------------------------|---------------------------------------------------------------------|
/// | matrix product          | 2·M·N·K                                                             |
/// | attention, forward      | 4·D per query, head and key it sees, of bf16 in pairs               |
/// | attention, backward     | 10·D, likewise                                                      |
/// | everything else         | none that count beside its bytes                                    |
///
/// @param name of the operator; matrix products are told apart by direction, dtype, and whether a side is as thin as a LoRA's
/// @param pairs whether both operands are bf16, or one of few bits becomes it, which some processors multiply at a rate of its own
record Cost(String name, double flops, boolean pairs, double bytes) {
  private static final int THIN = 16;

  static Cost of(Kernel kernel) {
    double bytes = TracedDevice.bytes(kernel);
    return switch (kernel) {
      case MatMul.Product k -> product(k, bytes);
      case MatMul.LowRank k -> product(k.base(), bytes).withTerm(k.flops());
      case QuantMatMul.Product k -> product(k, bytes);
      case QuantMatMul.LowRank k -> product(k.base(), bytes).withTerm(k.flops());
      case QuantMatMul.Int8Product k -> new Cost("x·Wᵀ, few bits, int8", k.flops(), false, bytes);
      case Attention.Forward k ->
          new Cost("Attention.Forward", 4.0 * k.q().dim(1) * k.q().dim(2) * seen(k.starts(), k.causal()), k.q().dtype() == DType.BF16, bytes);
      case Attention.Backward k ->
          new Cost("Attention.Backward", 10.0 * k.q().dim(1) * k.q().dim(2) * seen(k.starts(), k.causal()), k.q().dtype() == DType.BF16, bytes);
      // Rows that are looked up, not the whole table.
      case Embedding.Forward k -> new Cost("Embedding.Forward", 0, false, 2.0 * k.y().bytes());
      case Embedding.Backward k -> new Cost("Embedding.Backward", 0, false, 3.0 * k.dy().bytes());
      default -> new Cost(name(kernel), 0, false, bytes);
    };
  }

  private static Cost product(MatMul.Product k, double bytes) {
    boolean pairs = k.a().dtype() == DType.BF16 && k.b().dtype() == DType.BF16;
    int least = Math.min(k.k(), Math.min(k.y().tensor().dim(-1), k.y().tensor().dim(-2)));
    var direction = k.ta() ? "dyᵀ·x" : k.tb() ? "x·Wᵀ" : "dy·W";
    var dtypes = word(k.a()) + (k.b().dtype() == k.a().dtype() ? "" : "·" + word(k.b()));
    return new Cost(direction + ", " + dtypes + (least <= THIN ? ", thin" : ""), k.flops(), pairs, bytes);
  }

  private static Cost product(QuantMatMul.Product k, double bytes) {
    return new Cost(k.transposed() ? "x·Wᵀ, few bits" : "dy·W, few bits", k.flops(), k.x().dtype() == DType.BF16, bytes);
  }

  /// The same with a low-rank term.
  private Cost withTerm(double flops) {
    return new Cost(name + " + u·v", flops, pairs, bytes);
  }

  private static String word(Tensor t) {
    return t.dtype().name().toLowerCase(Locale.ROOT);
  }

  /// Pairs of query and key.
  private static double seen(Tensor starts, boolean causal) {
    double pairs = 0;
    for (int i = 0; i + 1 < starts.elements(); i++) {
      double n = starts.get(i + 1) - starts.get(i);
      pairs += causal ? n * (n + 1) / 2 : n * n;
    }
    return pairs;
  }

  private static String name(Kernel kernel) {
    return Optional.ofNullable(kernel.getClass().getEnclosingClass()).map(c -> c.getSimpleName() + ".").orElse("") + kernel.getClass().getSimpleName();
  }
}
