package org.llmcore.model;

import java.util.function.UnaryOperator;

import org.llmcore.op.Binary;
import org.llmcore.op.Pass;
import org.llmcore.op.RmsNorm;
import org.llmcore.tensor.Tensor;

/// One decoder layer, pre-normalised: h = x + attention(norm(x)), y = h + mlp(norm(h)); all (T,C).
public record Block(Tensor attentionNorm, SelfAttention attention, Tensor mlpNorm, Mlp mlp, float eps) {
  Tensor apply(Pass p, Tensor x, Tensor positions, Mixing mixing) {
    var h = RmsNorm.added(p, x, attention.apply(p, RmsNorm.apply(p, x, attentionNorm, eps), positions, mixing), mlpNorm, eps);
    return Binary.apply(p, h.sum(), mlp.apply(p, h.norm()), Binary.Function.ADD);
  }

  /// The same block with each of its seven linear layers replaced.
  Block mapped(UnaryOperator<Linear> f) {
    var a = attention;
    return new Block(
        attentionNorm,
        new SelfAttention(
            a.layer(), a.heads(), a.kvHeads(), a.headDim(), f.apply(a.q()), f.apply(a.k()), f.apply(a.v()), f.apply(a.o()), a.rope()),
        mlpNorm,
        new Mlp(f.apply(mlp.gate()), f.apply(mlp.up()), f.apply(mlp.down())),
        eps);
  }
}
