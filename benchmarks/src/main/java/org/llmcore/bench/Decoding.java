package org.llmcore.bench;

import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

import org.llmcore.cpu.CpuDevice;
import org.llmcore.flags.Flags;
import org.llmcore.generate.Sampling;
import org.llmcore.model.Decoder;
import org.llmcore.model.Form;
import org.llmcore.model.Initialisation;
import org.llmcore.model.KvCache;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Mixing;
import org.llmcore.model.Precision;
import org.llmcore.model.QuantLinear;
import org.llmcore.model.Tokens;
import org.llmcore.op.Device;
import org.llmcore.op.Pass;
import org.llmcore.quant.RoundToNearest;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Grouped;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Tensor;
import org.llmcore.trace.TracedDevice;

/// Tokens per second of a whole model at batch 1: reading a prompt (the median of three), then writing greedily; and the bytes of weights
/// per second of that beside what memory gives right afterwards.
///
///     java … -cp benchmarks.jar org.llmcore.bench.Decoding <file.gguf | F32 | BF16 | GPTQ4> [prompt] [tokens] [int8] [trace]
///
/// F32, BF16 and GPTQ4 (4 bits, groups of 128) are the 1.1B shape with random weights. Prints a line of JSON; with `trace` also
/// what each kernel took, with `int8` activations are in eight bits. With LLM_THREADS=1 the clock is the thread's own.
final class Decoding {
  private static final int THREADS = Flags.threads();
  private static final int PREFILLS = 3;

  private Decoding() {}

  public static void main(String[] args) {
    int prompt = args.length > 1 ? Integer.parseInt(args[1]) : 32;
    int tokens = args.length > 2 ? Integer.parseInt(args[2]) : 48;
    var words = List.of(args);
    boolean trace = words.contains("trace");
    boolean int8 = words.contains("int8");
    try (var cpu = CpuDevice.open()) {
      var device = trace ? new TracedDevice(cpu, System.out::println, false) : cpu;
      if (args[0].endsWith(".gguf")) {
        try (var model = LanguageModel.open(cpu, Path.of(args[0]), Optional.empty(), Precision.BF16_WEIGHTS, false)) {
          run(args[0], device, int8 ? model.decoder().withInt8() : model.decoder(), prompt, tokens);
        }
      } else {
        try (var region = Region.growing("weights")) {
          var model = random(cpu, region, args[0]);
          run("1.1B " + args[0], device, int8 ? model.withInt8() : model, prompt, tokens);
        }
      }
      if (device instanceof TracedDevice t) t.close();
    }
  }

  private static Decoder random(Device device, Region region, String form) {
    var config = Shapes.of("1.1B").config();
    if (!form.equals("GPTQ4")) {
      var model = Decoder.carve(config, region, DType.valueOf(form), DType.F32, false);
      Initialisation.initialise(model, 1);
      return model;
    }
    var linears = new Form(DType.BF16, DType.F32, (to, name, n, k) -> new QuantLinear(name, Grouped.carve(to, n, k, 4, 128, DType.F16, false)));
    var model = Decoder.carve(config, region, linears, false);
    Initialisation.initialise(Decoder.carve(config, Region.growing("same shapes"), linears, false), 1);
    return model;
  }

  private static void run(String name, Device device, Decoder model, int prompt, int tokens) {
    try (var cacheRegion = device.growing("cache");
        var step = device.growing("step")) {
      var cache = new KvCache(cacheRegion, model.config(), model.activations(), (prompt + tokens) / 64 + 1, 64);
      var ids = new int[prompt];
      for (int i = 0; i < prompt; i++) ids[i] = 1 + i * 37 % 30_000;
      var prefill = new double[PREFILLS];
      var sequence = cache.open();
      int next = 0;
      for (int i = 0; i < PREFILLS; i++) {
        sequence.close();
        sequence = cache.open();
        long begun = Bandwidth.now(THREADS);
        next = next(device, step, model, cache, sequence, ids);
        prefill[i] = (Bandwidth.now(THREADS) - begun) / 1e9;
      }
      Arrays.sort(prefill);
      var times = new double[tokens];
      for (int i = 0; i < tokens; i++) {
        long begun = Bandwidth.now(THREADS);
        next = next(device, step, model, cache, sequence, next);
        times[i] = (Bandwidth.now(THREADS) - begun) / 1e6;
      }
      Arrays.sort(times);
      double rate = bytes(model) / times[tokens / 2] / 1e6;
      double memory = Bandwidth.median(THREADS);
      System.out.printf(
          "{\"model\":\"%s\",\"prompt_tok_s\":%.1f,\"decode_tok_s\":%.2f,\"ms_median\":%.2f,\"ms_p20\":%.2f,\"ms_best\":%.2f,\"weights_mb\":%d,\"gb_s\":%.1f,\"memory_gb_s\":%.1f,\"share\":%.2f}%n",
          name, prompt / prefill[PREFILLS / 2], 1000 / times[tokens / 2], times[tokens / 2], times[tokens / 5], times[0], bytes(model) >> 20, rate, memory,
          rate / memory);
    }
  }

  /// Bytes of weights that one token reads.
  private static long bytes(Decoder model) {
    long bytes = model.head().bytes();
    for (var l : model.linears()) {
      if (l instanceof QuantLinear q) bytes += q.w().bytes();
    }
    for (var t : model.parameters().map().values()) if (t != model.head() && t != model.embedding()) bytes += t.bytes();
    return bytes;
  }

  private static int next(Device device, Region step, Decoder model, KvCache cache, KvCache.Sequence sequence, int... ids) {
    step.reset();
    var p = Pass.inference(device, step);
    var positions = new int[ids.length];
    for (int i = 0; i < ids.length; i++) positions[i] = sequence.length() + i;
    var at = cache.append(p, List.of(sequence), new int[] {ids.length});
    var tokens = new Tokens(Tokens.upload(p, ids), Tokens.upload(p, positions), at.starts());
    var hidden = model.hidden(p, tokens, new Mixing.Cached(cache, at), false, new ArrayList<>());
    Tensor logits = model.logits(p, hidden.slice(ids.length - 1, ids.length));
    var host = new float[model.config().vocabulary()];
    device.download(logits, MemorySegment.ofArray(host));
    return Sampling.GREEDY.choose(host, ids);
  }
}
