package org.llmcore.model;

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
public record Tokens(Tensor ids, Tensor positions, Tensor starts) {
  /// Uploads a batch. Positions count from 0 in every sequence if they continue nothing.
  public static Tokens of(Pass p, int[] ids, int[] positions, int[] starts) {
    return new Tokens(upload(p, ids), upload(p, positions), upload(p, starts));
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
