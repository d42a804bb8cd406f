package org.llmcore.quantize;

import java.lang.foreign.MemorySegment;
import java.util.Comparator;
import java.util.Optional;
import java.util.stream.IntStream;

import org.llmcore.InvalidInput;
import org.llmcore.op.Device;
import org.llmcore.op.MatMul;
import org.llmcore.op.Sink;
import org.llmcore.quant.GroupedCodes;
import org.llmcore.quant.RoundToNearest;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Grouped;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// GPTQ (Frantar et al. 2022, arXiv:2210.17323, algorithm 1) for one linear layer y = x·Wᵀ, W (N,K).
///
///     H = XᵀX + λI        H⁻¹ = Uᵀ·U        columns i in order:
///     q = quantize(w_i)   e = (w_i − q)/U[i,i]   w_j ← w_j − e·U[i,j] for j > i
///
/// Columns of a block of 128 are updated at once, all later ones when the block is done, by one product. A group's grid is
/// found from the weights as they are when the walk enters it; with static groups, from the original ones. H needs no 2/n:
/// a factor cancels in e·U, and λ is relative to the mean diagonal. A column whose input is always 0 is set to 0.
///
/// W is kept transposed, (K,N): a column of W is contiguous and rows, which never meet, are the vector lanes and the split
/// among threads. ⅔K³ (factor) + K²N (updates) operations; bit-identical for every number of threads.
///
/// Where the factorisation fails, λ is raised tenfold until it succeeds.
public final class Gptq {
  static final int BLOCK = 128;
  private static final int ROWS = 128;
  private static final double LARGEST_DAMP = 10;

  private Gptq() {}

  /// A quantized layer.
  /// @param damp the damping that was needed, relative to the mean diagonal
  /// @param dead columns without input
  public record Result(GroupedCodes codes, double damp, int dead) {}

  /// Quantizes W (outputs, inputs), row-major.
  /// @param h XᵀX (inputs, inputs) over the calibration tokens, row-major
  /// @throws InvalidInput if weights or inputs are not finite
  public static Result quantize(Device device, Team team, Settings s, float[] w, int outputs, int inputs, float[] h) {
    return prepare(device, team, w, outputs, factor(team, s, inputs, h)).quantize(s);
  }

  /// What all layers on one input have in common, whatever their widths.
  /// @param order input columns in the order of the walk
  /// @param alive whether input i is ever other than 0
  /// @param u the factor, in that order
  /// @param damp the damping that was needed, relative to the mean diagonal
  record Factor(int inputs, int[] order, boolean[] alive, float[] u, double damp) {
    int dead() {
      int n = 0;
      for (boolean b : alive) if (!b) n++;
      return n;
    }
  }

  /// The factor of an input at the order and damping of `s`.
  /// @param h XᵀX (inputs, inputs), row-major; not kept
  /// @throws InvalidInput if inputs are not finite
  static Factor factor(Team team, Settings s, int inputs, float[] h) {
    int k = inputs;
    if (h.length != Math.multiplyExact(k, k)) throw new IllegalArgumentException(h.length + " elements of H for " + k + " inputs");
    var diagonal = new float[k];
    var alive = new boolean[k];
    double sum = 0;
    for (int i = 0; i < k; i++) {
      diagonal[i] = h[i * k + i];
      if (!Float.isFinite(diagonal[i])) throw new InvalidInput("input " + i + " of a layer overflows on the calibration text", "check the model, or use other text");
      alive[i] = diagonal[i] != 0;
      if (!alive[i]) diagonal[i] = 1;
      sum += diagonal[i];
    }
    int[] order = order(s, diagonal);
    double mean = sum / k;
    double damp = s.damp();
    var u = InverseFactor.of(h, diagonal, order, damp * mean, team);
    while (u.isEmpty()) {
      damp *= 10;
      if (damp > LARGEST_DAMP)
          throw new InvalidInput("the inputs of a layer on the calibration text are no numbers", "check the model");
      u = InverseFactor.of(h, diagonal, order, damp * mean, team);
    }
    return new Factor(k, order, alive, u.get(), damp);
  }

  /// What the widths of a layer have in common: its weights in the order of the walk, and the factor of its input.
  /// @throws InvalidInput if weights are not finite
  static Prepared prepare(Device device, Team team, float[] w, int outputs, Factor f) {
    if (w.length != Math.multiplyExact(outputs, f.inputs)) {
      throw new IllegalArgumentException(w.length + " weights for (" + outputs + ", " + f.inputs + ")");
    }
    for (float x : w) if (!Float.isFinite(x))
        throw new InvalidInput("a weight is " + x, "the model is damaged; download it again");
    return new Prepared(device, team, w, outputs, f, transposed(team, w, outputs, f));
  }

  /// A layer before the walk.
  record Prepared(Device device, Team team, float[] w, int outputs, Factor factor, float[] wt) {
    /// Walks at the bits of `s`, which must ask for the order and damping of the factor.
    Result quantize(Settings s) {
      var originals = s.staticGroups() ? Optional.of(originals(team, s, w, outputs, factor.inputs)) : Optional.<RoundToNearest.Grid[]>empty();
      var walk = new Walk(s, outputs, factor.inputs, factor.order, originals);
      walk.run(device, team, wt, factor.u);
      return new Result(walk.codes(), factor.damp, factor.dead());
    }
  }

  /// Each weight to the nearest point of its group's grid.
  public static GroupedCodes roundToNearest(Team team, Settings s, float[] w, int outputs, int inputs) {
    int size = s.size(inputs);
    int groups = Grouped.groups(inputs, size);
    var grids = originals(team, s, w, outputs, inputs);
    var q = new byte[w.length];
    team.split(outputs, ROWS, (from, to) -> {
      for (int r = from; r < to; r++) {
        for (int i = 0; i < inputs; i++) q[r * inputs + i] = (byte) grids[r * groups + i / size].code(w[r * inputs + i]);
      }
    });
    return codes(s.bits(), outputs, inputs, size, q, grids, Optional.empty());
  }

  /// Input columns in the order of the walk; equal ones keep their order.
  private static int[] order(Settings s, float[] diagonal) {
    var columns = IntStream.range(0, diagonal.length);
    if (!s.actOrder()) return columns.toArray();
    return columns.boxed().sorted(Comparator.comparingDouble((Integer i) -> -diagonal[i])).mapToInt(i -> i).toArray();
  }

  private static float[] transposed(Team team, float[] w, int n, Factor f) {
    var wt = new float[w.length];
    int k = f.inputs;
    team.split(k, 16, (from, to) -> {
      for (int i = from; i < to; i++) {
        int column = f.order[i];
        if (!f.alive[column]) continue;
        for (int r = 0; r < n; r++) wt[i * n + r] = w[r * k + column];
      }
    });
    return wt;
  }

  /// Grids (outputs, groups) of the weights as they are given.
  private static RoundToNearest.Grid[] originals(Team team, Settings s, float[] w, int n, int k) {
    int size = s.size(k);
    int groups = Grouped.groups(k, size);
    var grids = new RoundToNearest.Grid[Math.multiplyExact(n, groups)];
    team.split(n, ROWS, (from, to) -> {
      for (int r = from; r < to; r++) {
        for (int g = 0; g < groups; g++) grids[r * groups + g] = s.grids()
            .of(w, r * k + g * size, Math.min(size, k - g * size), 1);
      }
    });
    return grids;
  }

  private static GroupedCodes codes(int bits, int n, int k, int size, byte[] q, RoundToNearest.Grid[] grids,
      Optional<int[]> groupOf) {
    var scales = new float[grids.length];
    var zeros = new int[grids.length];
    for (int i = 0; i < grids.length; i++) {
      scales[i] = grids[i].scale();
      zeros[i] = grids[i].zero();
    }
    return new GroupedCodes(bits, n, k, size, q, scales, zeros, groupOf);
  }

  /// The walk over the columns of one layer.
  private static final class Walk {
    private final Settings s;
    private final int n;
    private final int k;
    private final int[] order;
    private final boolean fixed;
    private final int size;
    private final int groups;
    private final RoundToNearest.Grid[] grids;
    private final byte[] q;

    Walk(Settings s, int n, int k, int[] order, Optional<RoundToNearest.Grid[]> originals) {
      this.s = s;
      this.n = n;
      this.k = k;
      this.order = order;
      this.size = s.size(k);
      this.groups = Grouped.groups(k, size);
      this.fixed = originals.isPresent();
      this.grids = originals.orElseGet(() -> new RoundToNearest.Grid[Math.multiplyExact(n, groups)]);
      this.q = new byte[Math.multiplyExact(n, k)];
    }

    GroupedCodes codes() {
      boolean scattered = s.actOrder() && !fixed && groups > 1;
      var groupOf = new int[k];
      for (int i = 0; i < k; i++) groupOf[order[i]] = i / size;
      return Gptq.codes(s.bits(), n, k, size, q, grids, scattered ? Optional.of(groupOf) : Optional.empty());
    }

    void run(Device device, Team team, float[] wt, float[] u) {
      // A group of whole rows does not end within a block; its grid is that of the weights before the walk.
      if (!fixed && size > BLOCK) enter(team, wt, 0, k);
      try (var region = Region.growing("gptq")) {
        var w = region.carve(DType.F32, Shape.of(k, n));
        device.upload(MemorySegment.ofArray(wt), w);
        for (int from = 0; from < k; from += BLOCK) {
          int to = Math.min(k, from + BLOCK);
          var block = download(device, w.slice(from, to));
          var errors = new float[block.length];
          int first = from;
          team.split(n, ROWS, (r0, r1) -> block(block, errors, u, first, to, r0, r1));
          if (to < k) update(device, region, w.slice(to, k), errors, u, from, to);
        }
      }
    }

    private void enter(Team team, float[] wt, int from, int to) {
      team.split(n, ROWS, (r0, r1) -> {
        for (int r = r0; r < r1; r++) grids[r * groups + from / size] = s.grids().of(wt, from * n + r, to - from, n);
      });
    }

    /// Columns from … to−1 of rows r0 … r1−1. `w` and `errors` (to − from, n) begin at column `from`.
    private void block(float[] w, float[] errors, float[] u, int from, int to, int r0, int r1) {
      int rows = r1 - r0;
      var scale = new float[rows];
      var zero = new float[rows];
      float top = (1 << s.bits()) - 1;
      for (int i = from; i < to; i++) {
        int at = (i - from) * n + r0;
        int g = (fixed ? order[i] : i) / size;
        for (int r = 0; r < rows; r++) {
          if (!fixed && size <= BLOCK && i % size == 0) grids[(r0 + r) * groups + g] = s.grids()
              .of(w, at + r, Math.min(size, k - i), n);
          var grid = grids[(r0 + r) * groups + g];
          scale[r] = grid.scale();
          zero[r] = grid.zero();
        }
        float d = u[i * k + i];
        for (int r = 0; r < rows; r++) {
          float x = w[at + r];
          // Adding and taking away 1.5·2²³ rounds to the nearest even integer; what is larger is clamped anyway.
          float code = Math.max(0, Math.min(top, x / scale[r] + 0x1.8p23f - 0x1.8p23f + zero[r]));
          w[at + r] = code;
          errors[at + r] = (x - scale[r] * (code - zero[r])) / d;
        }
        for (int r = 0; r < rows; r++) q[(r0 + r) * k + order[i]] = (byte) (int) w[at + r];
        for (int j = i + 1; j < to; j++) {
          float f = u[i * k + j];
          int later = (j - from) * n + r0;
          for (int r = 0; r < rows; r++) w[later + r] -= errors[at + r] * f;
        }
      }
    }

    /// Wᵀ[to …] −= U[from … to, to …]ᵀ · errors.
    private void update(Device device, Region region, Tensor later, float[] errors, float[] u, int from, int to) {
      long mark = region.mark();
      var part = new float[(to - from) * (k - to)];
      for (int i = from; i < to; i++) System.arraycopy(u, i * k + to, part, (i - from) * (k - to), k - to);
      var a = region.carve(DType.F32, Shape.of(to - from, k - to));
      var e = region.carve(DType.F32, Shape.of(to - from, n));
      device.upload(MemorySegment.ofArray(part), a);
      device.upload(MemorySegment.ofArray(errors), e);
      device.run(new MatMul.Product(Sink.add(later), a, e, true, false, -1));
      region.release(mark);
    }
  }

  static float[] download(Device device, Tensor t) {
    var out = new float[Math.toIntExact(t.elements())];
    device.download(t, MemorySegment.ofArray(out));
    return out;
  }
}
