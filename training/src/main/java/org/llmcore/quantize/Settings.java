package org.llmcore.quantize;

import java.util.Set;

import org.llmcore.InvalidInput;

/// How a model is quantized.
///
/// @param bits 2, 3, 4 or 8
/// @param group input columns that share a scale and a zero: 32, 64 or 128, or −1 for whole rows
/// @param symmetric a fixed zero in the middle of the grid instead of one per group
/// @param actOrder columns with large inputs first (Frantar's `--act-order`); their groups are then scattered, unless static
/// @param staticGroups grids are found on the original weights, groups stay neighbours in the file
/// @param mse grids by least error instead of by range (`GridSearch`)
/// @param damp share of the mean diagonal of H that is added to the diagonal; raised by itself where the factorisation fails
public record Settings(Method method, int bits, int group, boolean symmetric, boolean actOrder, boolean staticGroups, boolean mse,
    double damp) {
  /// How codes are chosen.
  public enum Method {
    /// Each weight for itself.
    RTN,
    /// Columns in order, later ones making up for earlier ones (Frantar et al. 2022).
    GPTQ
  }

  /// What the paper's authors use: damping of 1 %.
  public static final double DAMP = 0.01;

  public Settings {
    if (!Set.of(2, 3, 4, 8).contains(bits)) throw new InvalidInput(bits + " bits", "expected 2, 3, 4 or 8");
    if (!Set.of(-1, 32, 64, 128).contains(group)) {
      throw new InvalidInput("groups of " + group + " columns", "expected 32, 64, 128, or -1 for whole rows");
    }
    if (!(damp > 0 && damp <= 1))
        throw new InvalidInput("a damping of " + damp, "expected a number above 0, at most 1; usual is 0.01");
    if (method == Method.RTN && (actOrder || staticGroups)) {
      throw new InvalidInput("round to nearest knows no order of columns",
          "leave --act-order and --static-groups out, or use gptq");
    }
  }

  /// Asymmetric GPTQ without options.
  public static Settings gptq(int bits, int group) {
    return new Settings(Method.GPTQ, bits, group, false, false, false, false, DAMP);
  }

  /// The same at another width.
  public Settings withBits(int bits) {
    return new Settings(method, bits, group, symmetric, actOrder, staticGroups, mse, damp);
  }

  /// Rounding to nearest with the same grids.
  public Settings nearest() {
    return new Settings(Method.RTN, bits, group, symmetric, false, false, mse, damp);
  }

  /// Columns of a group among `inputs`.
  int size(int inputs) {
    return group < 0 ? inputs : Math.min(group, inputs);
  }

  GridSearch grids() {
    return new GridSearch(bits, symmetric, mse);
  }
}
