package org.llmcore.eval;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.function.IntConsumer;

import org.llmcore.InvalidInput;
import org.llmcore.model.Decoder;
import org.llmcore.model.Tokens;
import org.llmcore.op.Counting;
import org.llmcore.op.Device;
import org.llmcore.op.Pass;
import org.llmcore.tensor.Region;

/// Perplexity of a token sequence. Never compare figures of different protocols.
///
/// | protocol       | windows                         | scored                                                        |
/// |----------------|---------------------------------|---------------------------------------------------------------|
/// | windows (GPTQ) | 0…W, W…2W, …; what is left over is dropped | every token of a window but its first              |
/// | strided (S < W) | start every S tokens until one reaches the end, the last may be shorter | the tokens no earlier window has scored |
///
/// The first is the protocol of the GPTQ papers (window 2,048), except that they count W instead of W−1 tokens per window in
/// the mean, which changes nothing when all windows are equally long.
///
/// @param meanNll mean negative log-likelihood in nats per token
/// @param tokens tokens scored
public record Perplexity(double meanNll, long tokens) {
  /// exp(mean NLL).
  public double value() {
    return Math.exp(meanNll);
  }

  /// Scores `ids` in windows of `window` tokens that start every `stride` tokens; `stride` = `window` is the GPTQ protocol.
  /// A sequence shorter than a window is scored as one.
  /// @param progress hears how many tokens have been scored
  public static Perplexity of(Device device, Decoder model, int[] ids, int window, int stride, IntConsumer progress) {
    if (window < 2 || window > model.config().contextLength()) throw new InvalidInput("a window of " + window + " tokens", "expected 2 … " + model.config().contextLength() + ", the model's context");
    if (stride < 1 || stride > window) throw new InvalidInput("a stride of " + stride + " tokens", "expected 1 … the window of " + window);
    if (ids.length < 2) throw new InvalidInput("the text has " + ids.length + " tokens", "at least two are needed");
    int w = Math.min(window, ids.length);
    var counted = Region.measuring("step");
    run(new Counting(), counted, model, new int[w], w);
    double nll = 0;
    long scored = 0;
    try (var step = device.reserve("step", counted.high())) {
      int done = 1; // the first token is never predicted
      // Whole windows drop what is left over; strided ones go on until all is scored.
      for (int from = 0; stride == window ? from + w <= ids.length : done < ids.length; from += stride) {
        int to = Math.min(from + w, ids.length);
        var losses = run(device, step, model, Arrays.copyOfRange(ids, from, to), to - from);
        int first = stride == window ? from + 1 : Math.max(done, from + 1);
        for (int t = first; t < to; t++) nll += losses[t - 1 - from];
        scored += to - first;
        done = to;
        progress.accept(done);
      }
    }
    return new Perplexity(nll / scored, scored);
  }

  /// Loss of each next token of one window.
  private static float[] run(Device device, Region step, Decoder model, int[] ids, int window) {
    step.reset();
    var p = Pass.inference(device, step);
    var targets = Arrays.copyOfRange(ids, 1, window + 1);
    targets[window - 1] = -100;
    var losses = model.loss(p, model.tokens(p, ids), Tokens.upload(p, targets), 0, false);
    var host = new float[window];
    if (step.backed()) device.download(losses, MemorySegment.ofArray(host));
    return host;
  }
}
