package org.llmcore.op;

import java.util.stream.IntStream;

import org.llmcore.tensor.DType;
import org.llmcore.tensor.Tensor;

/// Rotary position embedding (Su et al. 2021, arXiv:2104.09864, eq. 34): pairs (u, v) of each head turn by an angle that
/// grows with the position.
///
///     u' = u·cos θ − v·sin θ        v' = u·sin θ + v·cos θ        θ[t,i] = position[t] / scale · base^(−2i/D)
///     backward is the turn by −θ
///
/// | tensor    | shape   | dtype        | role                                          |
/// |-----------|---------|--------------|-----------------------------------------------|
/// | y         | (T,H,D) | f32 bf16 f16 | written, added; may be x itself               |
/// | x         | (T,H,D) | f32 bf16 f16 | read                                          |
/// | positions | (T)     | i32          | read, saved; each in [0, P)                   |
/// | table     | (P,D)   | f32          | read; cos in columns [0, D/2), sin in [D/2, D) |
///
/// The table is made once by `table`, in double precision, so no device computes a sine of its own.
public sealed interface Rope extends Kernel {
  /// Which elements of a head form pair i: (i, i + D/2) as Hugging Face stores Llama, or (2i, 2i+1) as Meta does.
  enum Pairing {
    HALVES,
    NEIGHBOURS
  }

  record Rotate(Sink y, Tensor x, Tensor positions, Tensor table, Pairing pairing, boolean inverse) implements Rope {
    public Rotate {
      Check.that(y.wanted(), "Rope needs a destination");
      Check.floating("Rope y", y);
      Check.floating("Rope x", x);
      Check.that(x.shape().rank() == 3 && x.columns() % 2 == 0, "Rope x has shape %s, expected (T, H, D) with even D", x.shape());
      Check.shape("Rope y", y, x.shape());
      Check.dtype("Rope positions", positions, DType.I32);
      Check.that(positions.elements() == x.dim(0), "Rope positions have shape %s for x %s", positions.shape(), x.shape());
      Check.dtype("Rope table", table, DType.F32);
      Check.that(
          table.shape().rank() == 2 && table.columns() == x.columns(), "Rope table has shape %s for x %s", table.shape(), x.shape());
    }
  }

  /// Turns `x` in place and returns it: neither forward nor backward needs the values before.
  static Tensor apply(Pass p, Tensor x, Tensor positions, Tensor table, Pairing pairing) {
    p.run(new Rotate(Sink.write(x), x, positions, table, pairing, false));
    p.onBackward(x, dx -> p.run(new Rotate(Sink.write(dx), dx, positions, table, pairing, true)));
    return x;
  }

  /// Fills a table (P,D) with cos and sin of all angles; `scale` is linear position interpolation (Chen et al. 2023,
  /// arXiv:2306.15595), 1 for none.
  static void table(Tensor table, double base, double scale) {
    int half = table.columns() / 2;
    var frequencies = IntStream.range(0, half).mapToDouble(i -> StrictMath.pow(base, -2.0 * i / (2 * half))).toArray();
    var values = new float[table.rows() * 2 * half];
    IntStream.range(0, table.rows()).parallel().forEach(t -> {
      for (int i = 0; i < half; i++) {
        double angle = t / scale * frequencies[i];
        values[t * 2 * half + i] = (float) StrictMath.cos(angle);
        values[t * 2 * half + half + i] = (float) StrictMath.sin(angle);
      }
    });
    table.set(values);
  }
}
