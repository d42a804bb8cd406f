package org.llmcore.train;

import java.util.ArrayList;
import java.util.List;

import org.llmcore.checkpoint.LoraConfig;
import org.llmcore.model.Decoder;
import org.llmcore.model.Mixing;
import org.llmcore.model.Tokens;
import org.llmcore.op.Device;
import org.llmcore.op.Gradients;
import org.llmcore.op.Pass;
import org.llmcore.peft.Lora;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Tensor;

/// What tests of adapters do with a model: eight tokens in, logits, a loss, a gradient or its central difference out.
final class Adapted {
  static final int[] IDS = {5, 200, 17, 33, 42, 250, 99, 7};
  static final int[] TARGETS = {200, 17, -100, 42, 250, 99, 7, 3};

  private Adapted() {}

  /// An adapter whose values are not as they start.
  static Lora moved(Device device, Decoder model, LoraConfig config, Region region) {
    var lora = Lora.attach(model, config, region).checked();
    lora.initialise(device, 3);
    int n = 0;
    for (var t : lora.parameters().map().values()) {
      var values = t.toFloats();
      for (int i = 0; i < values.length; i++) values[i] += 0.05f * (float) Math.sin(1.7 * i + n);
      t.set(values);
      n++;
    }
    return lora;
  }

  static float[] logits(Device device, Decoder model) {
    try (var region = device.growing("test")) {
      var p = Pass.inference(device, region);
      var tokens = Tokens.of(p, IDS);
      return model.logits(p, model.hidden(p, tokens, new Mixing.Within(tokens.starts()), false, new ArrayList<>())).toFloats();
    }
  }

  private static Tensor losses(Pass p, Lora lora) {
    lora.masks().at(1, 1, 0);
    return lora.decoder().loss(p, Tokens.of(p, IDS), Tokens.upload(p, TARGETS), 1, false);
  }

  static float[] gradient(Device device, Lora lora, Tensor parameter) {
    try (var step = Region.growing("step")) {
      var gradients = new Gradients(step, lora.parameters().trainable());
      gradients.begin();
      var p = Pass.training(device, step, gradients);
      losses(p, lora);
      p.backward();
      return p.grad(parameter).toFloats();
    }
  }

  /// The loss' slope along value i of a parameter, from 1/64 on either side.
  static double slope(Device device, Lora lora, Tensor parameter, int i) {
    double h = 1.0 / 64;
    return (loss(device, lora, parameter, i, h) - loss(device, lora, parameter, i, -h)) / (2 * h);
  }

  private static double loss(Device device, Lora lora, Tensor parameter, int i, double h) {
    var values = parameter.toFloats();
    var there = values.clone();
    there[i] += (float) h;
    parameter.set(there);
    try (var region = device.growing("test")) {
      double sum = 0;
      for (float l : losses(Pass.training(device, region, new Gradients(region, List.of())), lora).toFloats()) sum += l;
      return sum;
    } finally {
      parameter.set(values);
    }
  }
}
