package org.llmcore.op;

import java.util.ArrayList;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;

import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// One trip through a model: where results are carved and, when training, the tape.
///
/// The tape is a stack of closures; what a closure captures is what is saved for backward. `backward` runs them last to
/// first. A closure runs only if a gradient has reached its result, and writes through `sink`, which hands out "overwrite" to
/// the first contributor and "add" to later ones. Gradients of parameters live in `Gradients`, those of activations in the
/// step's region. Reverse-mode, first order: a second derivative is out of scope.
public final class Pass {
  private final Device device;
  private final Region region;
  private final Gradients parameters;
  private final List<Runnable> tape;
  private final Map<Object, Tensor> grads;
  private final Map<Object, Boolean> written;

  private final boolean training;
  private final boolean taped;
  private int blocks;

  private Pass(Device device, Region region, Gradients parameters, boolean training, boolean taped) {
    this.device = device;
    this.region = region;
    this.parameters = parameters;
    this.tape = taped ? new ArrayList<>() : List.of();
    this.grads = taped ? new IdentityHashMap<>() : Map.of();
    this.written = taped ? new IdentityHashMap<>() : Map.of();
    this.training = training;
    this.taped = taped;
  }

  /// A pass without a tape: nothing is saved, no result is tracked.
  public static Pass inference(Device device, Region region) {
    return new Pass(device, region, new Gradients(region, List.of()), false, false);
  }

  /// A pass with a tape. Parameters not in `parameters` but tracked get a gradient in `region`, read with `grad`.
  public static Pass training(Device device, Region region, Gradients parameters) {
    return new Pass(device, region, parameters, true, true);
  }

  /// A pass with a tape whose gradients all live in `region`: for experiments and tests.
  public static Pass training(Device device, Region region) {
    return new Pass(device, region, new Gradients(region, List.of()), true, true);
  }

  public Device device() {
    return device;
  }

  /// The region results are carved from.
  public Region region() {
    return region;
  }

  /// Whether this is training: dropout applies. The first trip through a recomputed block trains without a tape.
  public boolean training() {
    return training;
  }

  /// Whether this pass keeps a tape.
  public boolean taped() {
    return taped;
  }

  /// An untracked tensor of undefined content.
  public Tensor empty(DType dtype, Shape shape) {
    return region.carve(dtype, shape);
  }

  /// An untracked tensor of undefined content.
  public Tensor empty(DType dtype, int... dims) {
    return region.carve(dtype, Shape.of(dims));
  }

  /// The result of an operator on `inputs`: tracked if this pass trains and any input is.
  public Tensor result(DType dtype, Shape shape, Tensor... inputs) {
    boolean tracked = false;
    for (var t : inputs) tracked |= t.tracked();
    return region.carve(dtype, shape).tracked(tracked && taped);
  }

  /// A result of the dtype and shape of the first input.
  public Tensor like(Tensor first, Tensor... others) {
    var y = result(first.dtype(), first.shape(), others);
    return y.tracked(y.tracked() || first.tracked() && taped);
  }

  /// Runs one kernel now.
  public void run(Kernel kernel) {
    device.run(kernel);
  }

  /// Remembers how the gradient of `y` reaches the inputs; `back` receives dy, and is skipped when nothing used `y`.
  public void onBackward(Tensor y, Consumer<Tensor> back) {
    if (!taped || !y.tracked()) return;
    var node = y.node();
    tape.add(
        () -> {
          var dy = grads.get(node);
          if (dy != null && written.containsKey(node)) back.accept(dy.reshape(y.shape().dims()));
        });
  }

  /// Where a contribution to the gradient of `x` goes: nowhere if it is not tracked, overwriting if it is the first.
  /// Activation gradients have the dtype of the activation, parameters' F32.
  public Sink sink(Tensor x) {
    if (!taped || !x.tracked()) return Sink.NONE;
    var node = x.node();
    if (parameters.holds(node)) return parameters.sink(node).reshape(x.shape().dims());
    if (blocks > 0 && x.region() != region) throw new IllegalStateException(x + " receives a gradient inside a block but is no parameter of this pass");
    var dx = grads.computeIfAbsent(node, _ -> region.carve(x.dtype(), x.shape())).reshape(x.shape().dims());
    return written.put(node, true) == null ? Sink.write(dx) : Sink.add(dx);
  }

  /// The gradient that has reached `x` so far.
  /// @throws IllegalStateException if none has
  public Tensor grad(Tensor x) {
    var node = x.node();
    if (parameters.holds(node)) return parameters.of(x, device);
    var dx = grads.get(node);
    if (dx == null || !written.containsKey(node)) throw new IllegalStateException("no gradient has reached " + x);
    return dx.reshape(x.shape().dims());
  }

  /// Runs the tape from `loss`, a tracked scalar or tensor whose upstream gradient is all ones.
  public void backward(Tensor loss) {
    var seed = sink(loss);
    if (!seed.wanted()) throw new IllegalArgumentException(loss + " is not tracked: nothing to differentiate");
    run(new Move.Fill(seed.tensor(), 1));
    backward();
  }

  /// Runs the tape; gradients already seeded (a fused loss does that in forward) flow back.
  public void backward() {
    for (int i = tape.size() - 1; i >= 0; i--) tape.get(i).run();
    tape.clear();
  }

  /// The body of a block: a function of the pass it runs in (another one when it is recomputed) and its input.
  public interface Body {
    Tensor apply(Pass p, Tensor x);
  }

  /// A stretch of the model between two activations of equal shape and dtype, usually one decoder block. Gradients carved
  /// inside are released as soon as they have been used. With `recompute`, activations inside are not kept either: backward
  /// runs `body` a second time (gradient checkpointing, Chen et al. 2016, arXiv:1604.06174); the kernels are the same in the
  /// same order, so all gradients are bit-equal. Inside a block only `x` and the parameters of `Gradients` may receive
  /// gradients. Without a tape nothing inside is kept.
  public Tensor block(Tensor x, boolean recompute, Body body) {
    if (taped && !recompute) return kept(x, body);
    var y = region.carve(x.dtype(), x.shape()).tracked(taped);
    long inside = region.mark();
    var once = new Pass(device, region, new Gradients(region, List.of()), training, false);
    run(new Move.Copy(Sink.write(y), body.apply(once, x.detached())));
    region.release(inside);
    onBackward(y, dy -> recomputed(x, dy, body));
    return y;
  }

  private Tensor kept(Tensor x, Body body) {
    long[] mark = new long[1];
    tape.add(
        () -> {
          region.release(mark[0]);
          blocks--;
        });
    var y = body.apply(this, x);
    tape.add(
        () -> {
          if (x.tracked() && !parameters.holds(x.node())) grads.computeIfAbsent(x.node(), _ -> region.carve(x.dtype(), x.shape()));
          mark[0] = region.mark();
          blocks++;
        });
    return y;
  }

  private void recomputed(Tensor x, Tensor dy, Body body) {
    var again = new Pass(device, region, parameters, true, true);
    again.blocks = 1;
    var dx = sink(x); // carved below the mark, so that it outlives the block
    var input = x.tracked() ? x.detached().trainable() : x;
    if (dx.wanted()) again.grads.put(input.node(), dx.tensor());
    if (dx.add()) again.written.put(input.node(), true);
    long mark = region.mark();
    var output = body.apply(again, input);
    again.grads.put(output.node(), dy);
    again.written.put(output.node(), true);
    again.backward();
    if (dx.wanted() && !again.written.containsKey(input.node())) run(new Move.Fill(dx.tensor(), 0));
    region.release(mark);
  }
}
