package org.llmcore.model;

import java.util.Arrays;
import java.util.Optional;

import org.llmcore.op.Device;
import org.llmcore.op.Pass;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Tensor;

/// Token ids of one or more sequences laid one after another, without padding.
///
/// | tensor    | shape | meaning                                                            |
/// |-----------|-------|--------------------------------------------------------------------|
/// | ids       | (T)   | token ids                                                          |
/// | positions | (T)   | position of each token in its sequence                             |
/// | starts    | (S+1) | row of each sequence's first token, and T                          |
///
/// With a soft prompt of n virtual tokens before some sequences, positions and starts count those rows too: R = T + n·(such
/// sequences).
public record Tokens(Tensor ids, Tensor positions, Tensor starts, Optional<Prefix> prefix) {
  /// Where the rows of a soft prompt stand.
  ///
  /// | tensor  | shape  | meaning                                                              |
  /// |---------|--------|----------------------------------------------------------------------|
  /// | virtual | (R−T)  | row of the prompt                                                    |
  /// | order   | (R)    | for each row: its token, or T + its place in `virtual`               |
  /// | rows    | (T)    | the row of each token                                                |
  public record Prefix(Tensor virtual, Tensor order, Tensor rows) {}

  /// Tokens without a soft prompt.
  public Tokens(Tensor ids, Tensor positions, Tensor starts) {
    this(ids, positions, starts, Optional.empty());
  }

  /// Uploads a batch. Positions count from 0 in every sequence if they continue nothing.
  public static Tokens of(Pass p, int[] ids, int[] positions, int[] starts) {
    return new Tokens(upload(p, ids), upload(p, positions), upload(p, starts));
  }

  /// Uploads new tokens of sequences of which `lengths[s]` rows are known already; a soft prompt of n virtual tokens goes
  /// before those of which none is.
  /// @param starts (S+1) index of each sequence's first id, and T
  public static Tokens after(Pass p, int n, int[] ids, int[] starts, int[] lengths) {
    int fresh = n == 0 ? 0 : (int) Arrays.stream(lengths).filter(l -> l == 0).count();
    var positions = new int[ids.length + n * fresh];
    var order = new int[positions.length];
    var virtual = new int[n * fresh];
    var rows = new int[ids.length];
    var at = new int[starts.length];
    int row = 0;
    int v = 0;
    for (int s = 0; s < lengths.length; s++) {
      int position = lengths[s];
      for (int i = 0; i < n && lengths[s] == 0; i++) {
        virtual[v] = i;
        order[row] = ids.length + v++;
        positions[row++] = position++;
      }
      for (int t = starts[s]; t < starts[s + 1]; t++) {
        rows[t] = row;
        order[row] = t;
        positions[row++] = position++;
      }
      at[s + 1] = row;
    }
    var plain = of(p, ids, positions, at);
    if (fresh == 0) return plain;
    var prefix = new Prefix(upload(p, virtual), upload(p, order), upload(p, rows));
    return new Tokens(plain.ids, plain.positions, plain.starts, Optional.of(prefix));
  }

  /// One sequence from position 0.
  public static Tokens of(Pass p, int... ids) {
    var positions = new int[ids.length];
    for (int i = 0; i < ids.length; i++) positions[i] = i;
    return of(p, ids, positions, new int[] {0, ids.length});
  }

  /// Puts integers into a pass's region; on a measuring region only their place is counted.
  public static Tensor upload(Pass p, int... values) {
    return upload(p.device(), p.region(), values);
  }

  private static Tensor upload(Device device, Region region, int[] values) {
    var t = region.carve(DType.I32, org.llmcore.tensor.Shape.of(values.length));
    if (region.backed()) device.upload(java.lang.foreign.MemorySegment.ofArray(values), t);
    return t;
  }
}
