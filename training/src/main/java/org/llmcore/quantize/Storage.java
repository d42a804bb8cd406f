package org.llmcore.quantize;

import java.util.Arrays;
import java.util.OptionalInt;
import java.util.stream.IntStream;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.quant.GroupedCodes;
import org.llmcore.tensor.Grouped;

/// Brings codes into a form that GPTQ files can hold without changing what they are worth.
final class Storage {
  private static final int WHOLE = 32;

  private Storage() {}

  /// The config of the model as files hold it: words are filled along inputs and outputs, so the inner width of the MLP grows to
  /// a multiple of 32 by channels of weight 0, which compute silu(0)·0 = 0.
  /// @throws InvalidInput if another width would have to grow
  static LlamaConfig padded(LlamaConfig c, int bits) {
    narrow(c, bits).ifPresent(width -> {
      throw new InvalidInput("the model has layers of width " + width + ", whose " + bits
          + "-bit codes fill no whole 32-bit words",
          "GPTQ files cannot hold it; multiples of 32 always fit");
    });
    return c.widened(wide(c));
  }

  private static int wide(LlamaConfig c) {
    return (c.intermediate() + WHOLE - 1) / WHOLE * WHOLE;
  }

  /// Outputs of a layer as files hold it.
  static int outputs(LlamaConfig c, String name, int outputs) {
    return name.endsWith("gate_proj") || name.endsWith("up_proj") ? wide(c) : outputs;
  }

  /// Inputs of a layer as files hold it.
  static int inputs(LlamaConfig c, String name, int inputs) {
    return name.endsWith("down_proj") ? wide(c) : inputs;
  }

  /// Bits that a layer takes in files: codes, scales and zeros.
  static long bits(LlamaConfig c, Settings s, String name, int outputs, int inputs) {
    long n = outputs(c, name, outputs);
    int groups = Grouped.groups(inputs, s.size(inputs)); // as many of the wider layer
    return s.bits() * n * inputs(c, name, inputs) + (16L + s.bits()) * n * groups;
  }

  /// A width of the model that codes of so many bits do not fill, if there is one.
  static OptionalInt narrow(LlamaConfig c, int bits) {
    return IntStream.of(c.hidden(), c.heads() * c.headDim(), c.kvHeads() * c.headDim()).filter(w ->
        (long) w * bits % 32 != 0).findFirst();
  }

  /// The same layer with more outputs and inputs of weight 0. Groups keep their size; as they are multiples of 32, so does their
  /// number.
  static GroupedCodes padded(GroupedCodes c, int outputs, int inputs) {
    if (outputs == c.outputs() && inputs == c.inputs()) return c;
    int groups = c.scales().length / c.outputs();
    int size = groups == 1 ? inputs : c.groupSize();
    var q = new byte[Math.multiplyExact(outputs, inputs)];
    var scales = Arrays.copyOf(c.scales(), outputs * groups);
    var zeros = Arrays.copyOf(c.zeros(), outputs * groups);
    Arrays.fill(scales, c.scales().length, scales.length, 1);
    Arrays.fill(zeros, c.zeros().length, zeros.length, 1 << c.bits() - 1);
    var groupOf = c.groupOf().map(g -> {
      var wider = Arrays.copyOf(g, inputs);
      Arrays.fill(wider, c.inputs(), inputs, groups - 1);
      return wider;
    });
    for (int o = 0; o < outputs; o++) {
      for (int i = 0; i < inputs; i++) {
        int zero = zeros[o * groups + (groupOf.isPresent() ? groupOf.get()[i] : i / size)];
        q[o * inputs + i] = o < c.outputs() && i < c.inputs() ? c.q()[o * c.inputs() + i] : (byte) zero;
      }
    }
    return new GroupedCodes(c.bits(), outputs, inputs, size, q, scales, zeros, groupOf);
  }

  /// The same weights with as few zeros of 0 as can be: v1 has no form for them. Where a group leaves the highest code unused,
  /// codes and zero move up by one together.
  static GroupedCodes lifted(GroupedCodes c) {
    int groups = c.scales().length / c.outputs();
    int top = (1 << c.bits()) - 1;
    var q = c.q().clone();
    var zeros = c.zeros().clone();
    for (int o = 0; o < c.outputs(); o++) {
      for (int g = 0; g < groups; g++) {
        if (zeros[o * groups + g] == 0 && highest(c, o, g) < top) {
          zeros[o * groups + g] = 1;
          for (int i = 0; i < c.inputs(); i++) if (group(c, i) == g) q[o * c.inputs() + i]++;
        }
      }
    }
    return new GroupedCodes(c.bits(), c.outputs(), c.inputs(), c.groupSize(), q, c.scales(), zeros, c.groupOf());
  }

  private static int group(GroupedCodes c, int input) {
    return c.groupOf().isPresent() ? c.groupOf().get()[input] : input / c.groupSize();
  }

  private static int highest(GroupedCodes c, int o, int g) {
    int highest = 0;
    for (int i = 0; i < c.inputs(); i++) if (group(c, i) == g) highest = Math.max(highest, c.q()[o * c.inputs() + i] & 0xff);
    return highest;
  }
}
