package org.llmcore.docs;

import java.io.IOException;
import java.nio.file.Path;

import org.junit.jupiter.api.Test;

import org.llmcore.cpu.CpuDevice;
import org.llmcore.op.Algebra;
import org.llmcore.op.Dropout;
import org.llmcore.op.Pass;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

import static org.assertj.core.api.Assertions.assertThat;

/// The code of docs/autograd-from-scratch.md: it learns.
class AutogradFromScratchTest {
  // page: mlp
  static Tensor mlp(Algebra t, Tensor x, Tensor w1, Tensor b1, Tensor w2, Tensor b2) {
    var h = t.tanh(t.add(t.matmul(x, w1), b1)); // (N,2)·(2,8) + (8) → (N,8)
    return t.add(t.matmul(h, w2), b2); // (N,8)·(8,1) + (1) → (N,1)
  }
  // page: end

  // page: attention
  static Tensor attention(Algebra t, Tensor x, Tensor wq, Tensor wk, Tensor wv, Tensor wo, Tensor mask, int heads) {
    int n = x.dim(0);
    int width = x.dim(1) / heads;
    var q = t.permute(t.reshape(t.matmul(x, wq), n, heads, width), 1, 0, 2); // (n,C) → (H,n,D)
    var k = t.permute(t.reshape(t.matmul(x, wk), n, heads, width), 1, 0, 2);
    var v = t.permute(t.reshape(t.matmul(x, wv), n, heads, width), 1, 0, 2);
    var scores = t.div(t.matmul(q, k, false, true), (float) Math.sqrt(width)); // (H,n,n)
    var weights = t.softmax(t.add(scores, mask)); // mask (n,n): 0 where j ≤ i, −1e9 where the future is
    var heard = t.reshape(t.permute(t.matmul(weights, v), 1, 0, 2), n, heads * width); // (H,n,D) → (n,C)
    return t.add(x, t.matmul(heard, wo));
  }
  // page: end

  // page: step
  static float step(CpuDevice device, Region step, Loss loss, float rate, Tensor... parameters) {
    step.reset(); // everything of the step before is gone
    var p = Pass.training(device, step);
    var l = loss.of(new Algebra(p)); // a scalar
    p.backward(l);
    var t = new Algebra(Pass.inference(device, step)); // no tape: the update is not differentiated
    for (var w : parameters) w.set(t.sub(w, t.mul(p.grad(w), rate)).toFloats());
    return l.get(0);
  }

  interface Loss {
    Tensor of(Algebra t);
  }
  // page: end

  @Test
  void aSmallNetworkLearnsXor() {
    // page: xor
    try (var device = CpuDevice.open(1); var weights = Region.growing("weights"); var step = Region.growing("step")) {
      var x = weights.carve(DType.F32, Shape.of(4, 2)).set(0f, 0f, 0f, 1f, 1f, 0f, 1f, 1f);
      var wanted = weights.carve(DType.F32, Shape.of(4, 1)).set(0f, 1f, 1f, 0f);
      var w1 = random(weights, 1, 2, 8);
      var b1 = random(weights, 2, 8);
      var w2 = random(weights, 3, 8, 1);
      var b2 = random(weights, 4, 1);
      float last = 1;
      for (int i = 0; i < 2000; i++) {
        last = step(device, step, t -> t.mean(t.square(t.sub(mlp(t, x, w1, b1, w2, b2), wanted))), 0.2f, w1, b1, w2, b2);
      }
      assertThat(last).isLessThan(1e-3f);
    }
    // page: end
  }

  /// Each position must say the token before it: only attention can fetch it.
  @Test
  void aBlockOfSelfAttentionLearnsToLookBack() {
    try (var device = CpuDevice.open(1); var weights = Region.growing("weights"); var step = Region.growing("step")) {
      int n = 8;
      int width = 16;
      var mask = new float[n * n];
      for (int i = 0; i < mask.length; i++) mask[i] = i % n <= i / n ? 0 : -1e9f;
      var causal = weights.carve(DType.F32, Shape.of(n, n)).set(mask);
      var ids = weights.carve(DType.I32, Shape.of(n)).set(3, 1, 2, 0, 2, 3, 1, 0);
      var targets = weights.carve(DType.I32, Shape.of(n)).set(-100, 3, 1, 2, 0, 2, 3, 1);
      var tokens = random(weights, 1, 4, width);
      var places = random(weights, 2, n, width);
      var wq = random(weights, 3, width, width);
      var wk = random(weights, 4, width, width);
      var wv = random(weights, 5, width, width);
      var wo = random(weights, 6, width, width);
      var head = random(weights, 7, width, 4);
      Loss loss = t -> {
        var x = t.add(t.gather(tokens, ids), places);
        return t.mean(t.crossEntropy(t.matmul(attention(t, x, wq, wk, wv, wo, causal, 2), head), targets));
      };
      float first = step(device, step, loss, 0, tokens);
      float last = first;
      for (int i = 0; i < 400; i++) last = step(device, step, loss, 0.3f, wq, wk, wv, wo, head);
      assertThat(first).isGreaterThan(1);
      assertThat(last).isLessThan(0.05f);
    }
  }

  @Test
  void thePageShowsThisCode() throws IOException {
    CodeInPages.check(Path.of("../docs/autograd-from-scratch.md"), Path.of("src/test/java/org/llmcore/docs/AutogradFromScratchTest.java"));
  }

  // page: random
  static Tensor random(Region region, long key, int... dims) {
    var w = region.parameter(DType.F32, Shape.of(dims));
    var values = new float[(int) w.elements()];
    for (int i = 0; i < values.length; i++) values[i] = Dropout.uniform(key, i) - 0.5f; // a function of its place, no state
    return w.set(values);
  }
  // page: end
}
