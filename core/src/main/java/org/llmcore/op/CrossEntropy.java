package org.llmcore.op;

import org.llmcore.tensor.DType;
import org.llmcore.tensor.QuantMatrix;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// Negative log-likelihood of the target under a softmax, in nats, token by token.
///
///     loss[t] = lse[t] − z[t, target]        lse[t] = log Σ_v exp z[t,v]        0 where target = −100 (ignored)
///     dz[t,v] = dloss[t] · (exp(z − lse) − [v = target])                        0 where ignored
///
/// | tensor  | shape | dtype        | role           |
/// |---------|-------|--------------|----------------|
/// | loss    | (T)   | f32          | written        |
/// | lse     | (T)   | f32          | written, saved |
/// | z       | (T,V) | f32 bf16 f16 | read, saved    |
/// | targets | (T)   | i32          | read, saved    |
///
/// Sums over v by rule 3. `linear` is the fused form used for training: the vocabulary projection and the loss in chunks of
/// tokens, so that logits of the whole batch never exist; gradients are computed while the chunk's logits are at hand
/// (Hsu et al. 2024, arXiv:2410.10989, §3.2).
public sealed interface CrossEntropy extends Kernel {
  /// Targets with this value carry no loss.
  int IGNORE = -100;

  record Forward(Tensor loss, Tensor lse, Tensor z, Tensor targets) implements CrossEntropy {
    public Forward {
      check(z, targets);
      token("loss", loss, z);
      token("lse", lse, z);
    }
  }

  record Backward(Sink dz, Tensor dloss, Tensor z, Tensor lse, Tensor targets) implements CrossEntropy {
    public Backward {
      check(z, targets);
      Check.floating("CrossEntropy dz", dz);
      Check.shape("CrossEntropy dz", dz, z.shape());
      token("dloss", dloss, z);
      token("lse", lse, z);
    }
  }

  /// Loss, and the gradient dz (T,V) of the logits for an upstream gradient of `scale` at every token; dz may be z itself.
  record Fused(Tensor loss, Tensor dz, Tensor z, Tensor targets, float scale) implements CrossEntropy {
    public Fused {
      check(z, targets);
      Check.floating("CrossEntropy dz", dz);
      Check.shape("CrossEntropy dz", dz, z.shape());
      token("loss", loss, z);
    }

    /// Whether the gradient takes the place of the logits.
    public boolean inPlace() {
      return dz.address() == z.address();
    }
  }

  private static void check(Tensor z, Tensor targets) {
    Check.floating("CrossEntropy z", z);
    Check.that(z.shape().rank() == 2, "CrossEntropy z has shape %s, expected (T, V)", z.shape());
    Check.dtype("CrossEntropy targets", targets, DType.I32);
    Check.shape("CrossEntropy targets", targets, Shape.of(z.dim(0)));
  }

  private static void token(String what, Tensor t, Tensor z) {
    Check.dtype("CrossEntropy " + what, t, DType.F32);
    Check.shape("CrossEntropy " + what, t, Shape.of(z.dim(0)));
  }

  /// Loss per token (T) of logits z (T,V).
  static Tensor apply(Pass p, Tensor z, Tensor targets) {
    var loss = p.result(DType.F32, Shape.of(z.dim(0)), z);
    var lse = p.empty(DType.F32, z.dim(0));
    p.run(new Forward(loss, lse, z, targets));
    p.onBackward(
        loss,
        dloss -> {
          var dz = p.sink(z);
          if (dz.wanted()) p.run(new Backward(dz, dloss, z, lse, targets));
        });
    return loss;
  }

  /// Loss per token (T) of x (T,C) projected by w (V,C). In a training pass the gradients of Σ_t scale·loss[t] are written
  /// at once, so that `Pass.backward()` needs no seed. `chunk` is the number of tokens whose logits exist together. Logits are f32; their
  /// gradient has the dtype of x, as all gradients of activations: in f32 it takes the place of the logits.
  static Tensor linear(Pass p, Tensor x, Tensor w, Tensor targets, float scale, int chunk) {
    var dw = p.sink(w); // asked for once, below the mark: a gradient carved inside a chunk would not outlive it
    return linear(
        p, x, w.dim(0), targets, scale, chunk,
        new Projection() {
          private Sink sum = dw;

          @Override
          public void forward(Sink z, Tensor xs) {
            p.run(new MatMul.Product(z, xs, w, false, true, 1));
          }

          @Override
          public void backward(Sink dx, Tensor dz, Tensor xs) {
            if (dx.wanted()) p.run(new MatMul.Product(dx, dz, w, false, false, 1));
            if (!sum.wanted()) return;
            p.run(new MatMul.Product(sum, dz, xs, true, false, 1));
            sum = Sink.add(sum.tensor());
          }
        });
  }

  /// The same with frozen w (V,C) in few bits; with x in eight if `int8`, which excludes training.
  static Tensor linear(Pass p, Tensor x, QuantMatrix w, boolean int8, Tensor targets, float scale, int chunk) {
    return linear(
        p, x, w.outputs(), targets, scale, chunk,
        new Projection() {
          @Override
          public void forward(Sink z, Tensor xs) {
            QuantMatMul.product(p, z, xs, w, int8);
          }

          @Override
          public void backward(Sink dx, Tensor dz, Tensor xs) {
            if (dx.wanted()) p.run(new QuantMatMul.Product(dx, dz, w, false));
          }
        });
  }

  /// z = xs·wᵀ of a chunk, and what its gradient becomes.
  interface Projection {
    void forward(Sink z, Tensor xs);

    void backward(Sink dx, Tensor dz, Tensor xs);
  }

  private static Tensor linear(Pass p, Tensor x, int vocabulary, Tensor targets, float scale, int chunk, Projection projection) {
    int tokens = x.dim(0);
    var loss = p.empty(DType.F32, tokens);
    var dx = p.sink(x);
    boolean train = p.taped();
    long mark = p.region().mark();
    for (int from = 0; from < tokens; from += chunk) {
      int to = Math.min(tokens, from + chunk);
      var xs = x.slice(from, to);
      var z = p.empty(DType.F32, to - from, vocabulary); // (chunk,V)
      projection.forward(Sink.write(z), xs);
      if (train) {
        var dz = x.dtype() == DType.F32 ? z : p.empty(x.dtype(), to - from, vocabulary); // (chunk,V)
        p.run(new Fused(loss.slice(from, to), dz, z, targets.slice(from, to), scale));
        projection.backward(dx.wanted() ? dx.slice(from, to) : dx, dz, xs);
      } else {
        p.run(new Forward(loss.slice(from, to), p.empty(DType.F32, to - from), z, targets.slice(from, to)));
      }
      p.region().release(mark);
    }
    return loss;
  }
}
