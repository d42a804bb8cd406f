package org.llmcore.op;

import org.llmcore.tensor.DType;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// Softmax attention with grouped-query heads (Vaswani et al. 2017, eq. 1; Ainslie et al. 2023, arXiv:2305.13245).
///
///     s[t,u] = scale · q[t]·k[u]        p = exp(s − lse)        o[t] = Σ_u p[t,u]·v[u]        lse[t] = log Σ_u exp s[t,u]
///     dv[u] = Σ_t p·do[t]        ds = p∘(do[t]·v[u] − do[t]·o[t])        dq = scale·Σ_u ds·k[u]        dk = scale·Σ_t ds·q[t]
///
/// Query head h reads key/value head h / (H/G). Sequences lie one after another: sequence i is rows [starts[i], starts[i+1]),
/// and rows of different sequences never see each other (packing with isolation, no padding). `causal` hides u > t.
///
/// | tensor     | shape   | dtype        | role                                        |
/// |------------|---------|--------------|---------------------------------------------|
/// | o, q       | (T,H,D) | f32 bf16 f16 | written; read, saved                        |
/// | k, v       | (T,G,D) | f32 bf16 f16 | read, saved                                 |
/// | lse        | (T,H)   | f32          | written, saved                              |
/// | starts     | (S+1)   | i32          | read, saved; ascending, starts[0]=0, last=T |
///
/// Sums over keys in ascending order; a row's result depends on its own sequence only. 4·D flops per visible pair and head
/// forward, 10·D backward (P is recomputed from lse; Dao 2023, arXiv:2307.08691).
///
/// `Decode` reads keys and values from pages through a block table (Kwon et al. 2023, arXiv:2309.06180); one contiguous cache
/// is the special case of one page. Its sequences may bring any number of new queries each: prefill and decode are one kernel.
public sealed interface Attention extends Kernel {
  record Forward(Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v, Tensor starts, float scale, boolean causal) implements Attention {
    public Forward {
      check(q, k, v, starts);
      Check.floating("Attention o", o);
      Check.shape("Attention o", o, q.shape());
      checkLse(lse, q);
    }
  }

  record Backward(
      Sink dq, Sink dk, Sink dv, Tensor dout, Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v, Tensor starts, float scale, boolean causal)
      implements Attention {
    public Backward {
      check(q, k, v, starts);
      Check.floating("Attention gradient", dq, dk, dv);
      Check.floating("Attention argument", dout, o);
      Check.shape("Attention dq", dq, q.shape());
      Check.shape("Attention dk", dk, k.shape());
      Check.shape("Attention dv", dv, v.shape());
      Check.shape("Attention do", dout, q.shape());
      Check.shape("Attention o", o, q.shape());
      checkLse(lse, q);
    }
  }

  /// Writes new keys or values (R,G,D) into their slots of the pages (P,L,G,D): row r goes to slot `slots[r]`, counted over
  /// pages of L slots each.
  record Store(Tensor pages, Tensor x, Tensor slots) implements Attention {
    public Store {
      Check.floating("Attention page", pages, x);
      Check.that(
          pages.shape().rank() == 4 && x.shape().rank() == 3 && pages.dim(2) == x.dim(1) && pages.dim(3) == x.dim(2),
          "Attention.Store puts %s into pages %s, expected (R, G, D) into (P, L, G, D)", x.shape(), pages.shape());
      Check.dtype("Attention slots", slots, DType.I32);
      Check.shape("Attention slots", slots, Shape.of(x.dim(0)));
    }
  }

  /// Attention of new queries over cached keys. Sequence s brings query rows [starts[s], starts[s+1]); the last of them is
  /// at position lengths[s]−1 and sees keys 0 … lengths[s]−1, the one before sees one key fewer, and so on. Key u of
  /// sequence s lies in slot u mod L of page blocks[s, u / L].
  ///
  /// | tensor       | shape     | dtype        |
  /// |--------------|-----------|--------------|
  /// | o, q         | (R,H,D)   | f32 bf16 f16 |
  /// | keys, values | (P,L,G,D) | f32 bf16 f16 |
  /// | blocks       | (S,B)     | i32          |
  /// | starts       | (S+1)     | i32          |
  /// | lengths      | (S)       | i32          |
  record Decode(Tensor o, Tensor q, Tensor keys, Tensor values, Tensor blocks, Tensor starts, Tensor lengths, float scale)
      implements Attention {
    public Decode {
      Check.floating("Attention argument", o, q, keys, values);
      Check.that(q.shape().rank() == 3 && keys.shape().rank() == 4, "Attention.Decode q %s with pages %s", q.shape(), keys.shape());
      Check.shape("Attention o", o, q.shape());
      Check.shape("Attention values", values, keys.shape());
      Check.that(
          keys.dim(3) == q.dim(2) && q.dim(1) % keys.dim(2) == 0, "Attention.Decode q %s does not fit pages %s", q.shape(), keys.shape());
      Check.dtype("Attention blocks", blocks, DType.I32);
      Check.dtype("Attention starts", starts, DType.I32);
      Check.dtype("Attention lengths", lengths, DType.I32);
      Check.that(blocks.shape().rank() == 2, "Attention blocks have shape %s, expected (S, B)", blocks.shape());
      Check.shape("Attention starts", starts, Shape.of(blocks.dim(0) + 1));
      Check.shape("Attention lengths", lengths, Shape.of(blocks.dim(0)));
    }
  }

  private static void check(Tensor q, Tensor k, Tensor v, Tensor starts) {
    Check.floating("Attention argument", q, k, v);
    boolean fits = q.shape().rank() == 3 && k.shape().rank() == 3 && k.dim(0) == q.dim(0) && k.dim(2) == q.dim(2);
    Check.that(fits && q.dim(1) % k.dim(1) == 0, "Attention q %s does not fit k %s: expected (T, H, D) and (T, G, D), H a multiple of G", q.shape(), k.shape());
    Check.shape("Attention v", v, k.shape());
    Check.dtype("Attention starts", starts, DType.I32);
    Check.that(starts.shape().rank() == 1 && starts.elements() >= 2, "Attention starts have shape %s, expected (S+1)", starts.shape());
  }

  private static void checkLse(Tensor lse, Tensor q) {
    Check.dtype("Attention lse", lse, DType.F32);
    Check.shape("Attention lse", lse, Shape.of(q.dim(0), q.dim(1)));
  }

  /// Attention of q (T,H,D) over k, v (T,G,D) within the sequences given by `starts`.
  static Tensor apply(Pass p, Tensor q, Tensor k, Tensor v, Tensor starts, float scale, boolean causal) {
    var o = p.like(q, k, v); // (T,H,D)
    var lse = p.empty(DType.F32, q.dim(0), q.dim(1));
    p.run(new Forward(o, lse, q, k, v, starts, scale, causal));
    p.onBackward(o, dout -> p.run(new Backward(p.sink(q), p.sink(k), p.sink(v), dout, o, lse, q, k, v, starts, scale, causal)));
    return o;
  }
}
