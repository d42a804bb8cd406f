package org.llmcore.op;

import org.llmcore.tensor.Tensor;

/// Gated linear unit with SiLU (Shazeer 2020, arXiv:2002.05202, eq. 6).
///
///     h = silu(g)∘u        silu(g) = g·σ(g)        σ(g) = 1/(1+e^−g)
///     du = dh∘silu(g)        dg = dh∘u∘σ(g)·(1 + g·(1−σ(g)))
///
/// All tensors have one shape; g and u are read and saved, h written. Element by element: about 10 flops and 3 elements moved.
public sealed interface SwiGlu extends Kernel {
  record Forward(Tensor h, Tensor gate, Tensor up) implements SwiGlu {
    public Forward {
      Check.floating("SwiGlu argument", h, gate, up);
      Check.shape("SwiGlu h", h, gate.shape());
      Check.shape("SwiGlu up", up, gate.shape());
    }
  }

  record Backward(Sink dgate, Sink dup, Tensor dh, Tensor gate, Tensor up) implements SwiGlu {
    public Backward {
      Check.floating("SwiGlu gradient", dgate, dup);
      Check.floating("SwiGlu argument", dh, gate, up);
      Check.shape("SwiGlu dgate", dgate, gate.shape());
      Check.shape("SwiGlu dup", dup, gate.shape());
      Check.shape("SwiGlu dh", dh, gate.shape());
      Check.shape("SwiGlu up", up, gate.shape());
    }
  }

  static Tensor apply(Pass p, Tensor gate, Tensor up) {
    var h = p.like(gate, up);
    p.run(new Forward(h, gate, up));
    p.onBackward(h, dh -> p.run(new Backward(p.sink(gate), p.sink(up), dh, gate, up)));
    return h;
  }
}
