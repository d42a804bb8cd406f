package org.llmcore.docs;

import java.io.IOException;
import java.nio.file.Path;

import org.junit.jupiter.api.Test;

import org.llmcore.cpu.CpuDevice;
import org.llmcore.op.Algebra;
import org.llmcore.op.Custom;
import org.llmcore.op.Pass;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Memory;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

/// The code of docs/adding-an-operator.md: its values and gradients are those of the definition.
class CubeTest {
  // page: composed
  /// x³ from what there is; the gradient follows.
  static Tensor cube(Algebra t, Tensor x) {
    return t.mul(t.square(x), x);
  }
  // page: end

  // page: custom
  /// y = x³, dx (+)= dy · 3x². x, y and their gradients have one shape and are f32.
  interface Cube {
    record Forward(Tensor y, Tensor x) implements Custom {
      public Forward {
        if (y.dtype() != DType.F32 || x.dtype() != DType.F32 || !y.shape().equals(x.shape())) {
          throw new IllegalArgumentException("Cube of " + x + " to " + y + ", expected one shape of F32");
        }
      }

      @Override
      public void run() {
        for (long i = 0; i < x.elements(); i++) {
          float v = Memory.load(DType.F32, x.address(), i);
          Memory.store(DType.F32, y.address(), i, v * v * v);
        }
      }
    }

    record Backward(Sink dx, Tensor dy, Tensor x) implements Custom {
      @Override
      public void run() {
        for (long i = 0; i < x.elements(); i++) {
          float v = Memory.load(DType.F32, x.address(), i);
          float d = Memory.load(DType.F32, dy.address(), i) * 3 * v * v;
          float before = dx.add() ? Memory.load(DType.F32, dx.tensor().address(), i) : 0;
          Memory.store(DType.F32, dx.tensor().address(), i, before + d);
        }
      }
    }

    static Tensor apply(Pass p, Tensor x) {
      var y = p.like(x);
      p.run(new Forward(y, x));
      p.onBackward(
          y,
          dy -> {
            var dx = p.sink(x);
            if (dx.wanted()) p.run(new Backward(dx, dy, x));
          });
      return y;
    }
  }
  // page: end

  @Test
  void composedAndCustomAgreeInValuesAndGradients() {
    try (var device = CpuDevice.open(1); var region = Region.growing("cube")) {
      var p = Pass.training(device, region);
      var t = new Algebra(p);
      var a = region.parameter(DType.F32, Shape.of(3)).set(-2f, 0.5f, 3f);
      var b = region.parameter(DType.F32, Shape.of(3)).set(-2f, 0.5f, 3f);
      var composed = cube(t, a);
      var custom = Cube.apply(p, b);
      assertThat(composed.toFloats()).containsExactly(-8, 0.125f, 27);
      assertThat(custom.toFloats()).containsExactly(-8, 0.125f, 27);
      p.backward(t.sum(t.add(t.add(composed, custom), b))); // b is used twice: its gradients add
      assertThat(p.grad(a).toFloats()).containsExactly(12, 0.75f, 27);
      assertThat(p.grad(b).toFloats()).containsExactly(13, 1.75f, 28);
    }
  }

  @Test
  void shapesThatDifferAreRefused() {
    try (var region = Region.growing("cube")) {
      var x = region.carve(DType.F32, Shape.of(3));
      assertThatThrownBy(() -> new Cube.Forward(region.carve(DType.F32, Shape.of(4)), x)).hasMessageContainingAll("(3)", "(4)");
    }
  }

  @Test
  void thePageShowsThisCode() throws IOException {
    CodeInPages.check(Path.of("../docs/adding-an-operator.md"), Path.of("src/test/java/org/llmcore/docs/CubeTest.java"));
  }
}
