package org.llmcore.bench;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;

import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

import org.llmcore.cpu.CpuDevice;
import org.llmcore.model.Decoder;
import org.llmcore.model.Initialisation;
import org.llmcore.model.KvCache;
import org.llmcore.model.Mixing;
import org.llmcore.model.Precision;
import org.llmcore.model.Tokens;
import org.llmcore.op.Device;
import org.llmcore.op.Pass;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Tensor;

/// Inference at batch 1: a prompt as long as the shape's training sequences, and a token after 128 others, logits included. `Main` adds
/// the rate and the share of what this machine could do (`Limit`).
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(1)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 2)
public class DecodeBenchmark {
  private static final int CONTEXT = 128;

  @Param({"15M", "110M", "1.1B"})
  public String shape;

  @Param({"f32", "bf16-weights", "bf16"})
  public String precision;

  private CpuDevice device;
  private final List<Region> regions = new ArrayList<>();
  private Decoder model;
  private Region step;
  private Region cacheRegion;
  private int length;

  @Setup
  public void setup() {
    var s = Shapes.of(shape);
    length = s.length();
    device = CpuDevice.open();
    var form = Precision.parse(precision).form();
    var region = device.reserve("weights", Decoder.bytes(s.config(), form));
    model = Decoder.carve(s.config(), region, form, false);
    Initialisation.initialise(model, 1);
    step = Region.growing("step");
    cacheRegion = Region.growing("cache");
    regions.addAll(List.of(region, step, cacheRegion));
  }

  /// Time per token.
  @Benchmark
  public Tensor token(Limit limit) {
    return limit.call(device, d -> logits(d, CONTEXT, 1));
  }

  /// Time per prompt; logits of its last token.
  @Benchmark
  public Tensor prompt(Limit limit) {
    return limit.call(device, d -> logits(d, 0, length));
  }

  /// Logits after `count` tokens that follow `before` others.
  private Tensor logits(Device on, int before, int count) {
    cacheRegion.reset();
    step.reset();
    var cache = new KvCache(cacheRegion, model.config(), model.activations(), 1, before + count);
    var p = Pass.inference(on, step);
    var sequence = cache.open();
    if (before > 0) cache.append(p, List.of(sequence), new int[] {before});
    var at = cache.append(p, List.of(sequence), new int[] {count});
    var ids = IntStream.range(0, count).map(i -> 7 + i).toArray();
    var positions = IntStream.range(0, count).map(i -> before + i).toArray();
    var tokens = new Tokens(Tokens.upload(p, ids), Tokens.upload(p, positions), at.starts());
    var hidden = model.hidden(p, tokens, new Mixing.Cached(cache, at), false, new ArrayList<>());
    return model.logits(p, hidden.slice(count - 1, count));
  }

  @TearDown
  public void tearDown() {
    regions.forEach(Region::close);
    device.close();
  }
}
