package org.llmcore.op;

import java.util.ArrayList;
import java.util.List;

/// What a case gave on a device: its results, and the gradients that reached its leaves.
record Outcome(List<float[]> results, List<float[]> gradients) {
  /// Applies the case `uses` times to the same leaves in one pass, with a non-constant gradient into every differentiable
  /// result, so that the first use overwrites and later ones add.
  /// @param only the leaf to differentiate, or −1 for all
  static Outcome of(Device device, OperatorCase c, int uses, int only) {
    try (var region = device.growing("case")) {
      var results = new ArrayList<float[]>();
      var gradients = new ArrayList<float[]>();
      var in = new Inputs(region, only);
      var pass = Pass.training(device, region);
      for (int use = 0; use < uses; use++) {
        int n = 0;
        for (var y : c.body().apply(pass, use == 0 ? in : in.again())) {
          var seed = pass.sink(y);
          if (seed.wanted()) Inputs.fill(seed.tensor(), -1, 1, 55 + n++);
          results.add(y.toFloats());
        }
      }
      pass.backward();
      for (var leaf : in.leaves()) {
        if (!leaf.tracked()) continue;
        try {
          gradients.add(pass.grad(leaf).toFloats());
        } catch (IllegalStateException _) {
          gradients.add(new float[0]); // nothing reaches this leaf: the operator has no gradient
        }
      }
      return new Outcome(results, gradients);
    }
  }
}
