package org.llmcore.bench;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

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
import org.llmcore.model.Tokens;
import org.llmcore.op.Pass;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Tensor;

/// One decode step at batch 1 with 128 tokens in the cache, logits included. Time per token; `Main` adds GB/s of weights and the
/// share of what memory gives.
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(1)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 2)
public class DecodeBenchmark {
  @Param({"small", "15M", "110M"})
  public String shape;

  @Param({"F32", "BF16"})
  public DType weights;

  private CpuDevice device;
  private final List<Region> regions = new ArrayList<>();
  private Decoder model;
  private Region step;
  private Region cacheRegion;

  @Setup
  public void setup() {
    var s = Shapes.of(shape);
    device = CpuDevice.open();
    var region = device.reserve("weights", Decoder.bytes(s.config(), weights));
    model = Decoder.carve(s.config(), region, weights, DType.F32, false);
    Initialisation.initialise(model, 1);
    step = Region.growing("step");
    cacheRegion = Region.growing("cache");
    regions.addAll(List.of(region, step, cacheRegion));
  }

  @Benchmark
  public Tensor token() {
    cacheRegion.reset();
    step.reset();
    var cache = new KvCache(cacheRegion, model.config(), DType.F32, 1, 256);
    var p = Pass.inference(device, step);
    var sequence = cache.open();
    cache.append(p, List.of(sequence), new int[] {128});
    var at = cache.append(p, List.of(sequence), new int[] {1});
    var tokens = new Tokens(Tokens.upload(p, 7), Tokens.upload(p, 128), at.starts());
    return model.logits(p, model.hidden(p, tokens, new Mixing.Cached(cache, at), false, new ArrayList<>()));
  }

  /// Bytes of weights that a token reads: all but the embedding's other rows.
  static double bytes(String shape, DType weights) {
    var c = Shapes.of(shape).config();
    double attention = 2.0 * c.hidden() * c.headDim() * (c.heads() + c.kvHeads());
    double block = attention + 3.0 * c.hidden() * c.intermediate() + 2 * c.hidden();
    return weights.bytes() * (c.layers() * block + c.hidden() + (double) c.vocabulary() * c.hidden());
  }

  @TearDown
  public void tearDown() {
    regions.forEach(Region::close);
    device.close();
  }
}
