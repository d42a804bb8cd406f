package org.llmcore.generate;

import java.lang.foreign.MemorySegment;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.List;

import org.llmcore.InvalidInput;
import org.llmcore.model.Decoder;
import org.llmcore.model.KvCache;
import org.llmcore.model.Mixing;
import org.llmcore.model.Tokens;
import org.llmcore.op.Counting;
import org.llmcore.op.Device;
import org.llmcore.op.Embedding;
import org.llmcore.op.Pass;
import org.llmcore.op.TopK;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Tensor;
import org.llmcore.text.Tokenizer;

/// Decodes requests with a key/value cache, several at a time: a request that ends makes room for the next at once
/// (continuous batching). A token depends on its own request only, bit for bit, whatever runs beside it.
///
/// A request ends at an end-of-sequence token, a stop string, its token budget, or where the context is full: the token that
/// follows a full context is the last. Ids that the tokenizer does not have (a padded vocabulary) are never chosen.
///
/// One thread drives a generator. Memory: one cache of `slots` contexts, one step region sized by a dry run.
public final class Generator implements AutoCloseable {
  /// One thing to generate.
  /// @param prompt ids including BOS where the model wants it; at least one
  /// @param stop strings that end the text, not shown
  /// @param listener receives text as it becomes final
  public record Request(int[] prompt, int maxNewTokens, Sampling sampling, List<String> stop, Listener listener) {
    public Request {
      if (prompt.length == 0) throw new InvalidInput("the prompt is empty", "give at least one token, for example BOS");
      if (maxNewTokens < 0) throw new InvalidInput("max new tokens is " + maxNewTokens, "expected 0 or more");
      stop = List.copyOf(stop);
      if (stop.contains("")) throw new InvalidInput("a stop string is empty", "give at least one character, or no stop string");
    }
  }

  /// Hears generated text on character boundaries.
  public interface Listener {
    /// Ignores the text.
    Listener NONE = _ -> {};

    void text(String text);
  }

  private static final int PREFILL = 512;
  private static final int PAGE = 64;

  private final Device device;
  private final Decoder model;
  private final Tokenizer tokenizer;
  private final int slots;
  private final int context;
  private final Region cacheRegion;
  private final Region step;
  private final KvCache cache;

  /// Reserves memory for `slots` requests at a time of at most `context` tokens each.
  public Generator(Device device, Decoder model, Tokenizer tokenizer, int slots, int context) {
    if (slots < 1) throw new IllegalArgumentException(slots + " slots");
    if (context < 1 || context > model.config().contextLength()) {
      throw new InvalidInput("a context of " + context + " tokens", "this model's is 1 … " + model.config().contextLength());
    }
    this.device = device;
    this.model = model;
    this.tokenizer = tokenizer;
    this.slots = slots;
    this.context = context;
    var plan = Plan.of(model, slots, context);
    this.cacheRegion = device.reserve("cache", plan.cache);
    this.cache = cache(cacheRegion, model, slots, context);
    this.step = device.reserve("generation step", plan.step);
  }

  private static KvCache cache(Region region, Decoder model, int slots, int context) {
    int page = Math.min(PAGE, context);
    return new KvCache(region, model.config(), model.activations(), slots * ((context + page - 1) / page), page);
  }

  /// Bytes of the regions, found by a dry run of the largest step.
  private record Plan(long cache, long step) {
    static Plan of(Decoder model, int slots, int context) {
      var cacheRegion = Region.measuring("cache");
      var step = Region.measuring("step");
      var cache = Generator.cache(cacheRegion, model, slots, context);
      var sequences = new ArrayList<KvCache.Sequence>();
      int rows = Math.max(Math.max(PREFILL, context), slots);
      var counts = new int[slots];
      for (int i = 0; i < slots; i++) {
        sequences.add(cache.open());
        counts[i] = Math.clamp(rows - (long) i * context, 1, context - model.virtualTokens());
      }
      var p = Pass.inference(new Counting(), step);
      var logits = forward(p, model, cache, sequences, counts, new int[Arrays.stream(counts).sum()]);
      likeliest(p, logits, model.config().vocabulary(), new float[slots], TopK.MOST);
      return new Plan(cacheRegion.high(), step.high());
    }
  }

  /// Bytes a generator for this model reserves.
  public static long bytes(Decoder model, int slots, int context) {
    var plan = Plan.of(model, slots, context);
    return plan.cache + plan.step;
  }

  /// Bytes this generator held at most.
  public long bytes() {
    return cacheRegion.high() + step.high();
  }

  /// Generates one request.
  public Generation generate(Request request) {
    return generate(List.of(request)).getFirst();
  }

  /// Generates all requests; results in their order.
  /// @throws InvalidInput if a prompt is longer than the context or holds an id that the tokenizer does not have
  public List<Generation> generate(List<Request> requests) {
    requests.forEach(this::check);
    var results = new Generation[requests.size()];
    var waiting = new ArrayDeque<Running>();
    for (int i = 0; i < requests.size(); i++) waiting.add(new Running(i, requests.get(i)));
    var running = new ArrayList<Running>();
    try {
      while (!waiting.isEmpty() || !running.isEmpty()) {
        admit(waiting, running);
        step(running);
        for (var r : List.copyOf(running)) {
          if (!r.done()) continue;
          results[r.index] = r.result();
          r.sequence.close();
          running.remove(r);
        }
      }
    } finally {
      // A listener or the device failed: the pages go back, and the next requests find the cache as it was.
      running.forEach(r -> r.sequence.close());
    }
    return List.of(results);
  }

  private void check(Request request) {
    int prompt = request.prompt().length;
    int room = context - model.virtualTokens();
    if (prompt > room) {
      throw new InvalidInput("the prompt has " + prompt + " tokens, the context is " + context + (room < context ? ", with room for " + room + " after the soft prompt" : ""), "shorten the prompt");
    }
    for (int id : request.prompt()) {
      if (id < 0 || id >= known()) throw new InvalidInput("the prompt holds the id " + id, "expected 0 … " + (known() - 1));
    }
  }

  /// Ids that both the model and the tokenizer have.
  private int known() {
    return Math.min(model.config().vocabulary(), tokenizer.size());
  }

  private void admit(Deque<Running> waiting, List<Running> running) {
    int rows = running.size();
    while (!waiting.isEmpty() && running.size() < slots) {
      int prompt = waiting.peek().request.prompt().length + model.virtualTokens();
      if (rows > 0 && rows + prompt > PREFILL) return;
      rows += prompt;
      running.add(waiting.poll());
    }
  }

  private void step(List<Running> running) {
    step.reset();
    var p = Pass.inference(device, step);
    var counts = running.stream().mapToInt(r -> r.pending().length).toArray();
    var ids = running.stream().flatMapToInt(r -> Arrays.stream(r.pending())).toArray();
    var sequences = running.stream().map(r -> r.sequence).toList();
    var samplings = running.stream().map(r -> r.request.sampling()).toList();
    var scales = new float[samplings.size()];
    for (int i = 0; i < scales.length; i++) scales[i] = samplings.get(i).scale();
    int most = samplings.stream().mapToInt(Sampling::candidates).max().orElseThrow();
    boolean penalised = samplings.stream().anyMatch(Sampling::penalises);
    var logits = new Tensor[1];
    var top = new TopK.Forward[1];
    Runnable work = () -> {
      logits[0] = forward(p, model, cache, sequences, counts, ids);
      if (!penalised) top[0] = likeliest(p, logits[0], known(), scales, most);
    };
    if (ids.length == sequences.size()) device.together(work);
    else work.run(); // reads a prompt: no other step is like it
    if (penalised) {
      for (int i = 0; i < running.size(); i++) running.get(i).penalise(logits[0].slice(i, i + 1));
      top[0] = likeliest(p, logits[0], known(), scales, most);
    }
    choose(running, logits[0], top[0]);
  }

  private void choose(List<Running> running, Tensor logits, TopK.Forward top) {
    var values = new float[running.size() * top.k()];
    var ids = new int[values.length];
    var totals = new float[running.size()];
    device.download(top.values(), MemorySegment.ofArray(values));
    device.download(top.ids(), MemorySegment.ofArray(ids));
    device.download(top.total(), MemorySegment.ofArray(totals));
    for (int i = 0; i < running.size(); i++) {
      int from = i * top.k();
      int to = from + top.k();
      running.get(i).accept(new Sampling.Likeliest(Arrays.copyOfRange(values, from, to), Arrays.copyOfRange(ids, from, to), totals[i], top.n()), logits.slice(i, i + 1));
    }
  }

  /// What tokens are chosen from: the likeliest of logits (S,V).
  /// @param known tokens that may be chosen
  /// @param scales of each sequence
  /// @param most of each sequence
  private static TopK.Forward likeliest(Pass p, Tensor logits, int known, float[] scales, int most) {
    var scale = p.empty(DType.F32, scales.length);
    if (p.region().backed()) p.device().upload(MemorySegment.ofArray(scales), scale);
    return TopK.apply(p, logits, scale, known, Math.min(most, known));
  }

  /// Logits (S,V) after the last new token of each sequence.
  private static Tensor forward(Pass p, Decoder model, KvCache cache, List<KvCache.Sequence> sequences, int[] counts, int[] ids) {
    int n = model.virtualTokens();
    var starts = new int[counts.length + 1];
    var last = new int[counts.length];
    var lengths = new int[counts.length];
    var rows = new int[counts.length];
    for (int s = 0; s < counts.length; s++) {
      starts[s + 1] = starts[s] + counts[s];
      last[s] = starts[s + 1] - 1;
      lengths[s] = sequences.get(s).length();
      rows[s] = counts[s] + (lengths[s] == 0 ? n : 0);
    }
    var tokens = Tokens.after(p, n, ids, starts, lengths);
    var at = cache.append(p, sequences, rows);
    var hidden = model.hidden(p, tokens, new Mixing.Cached(cache, at), false, new ArrayList<>());
    return model.logits(p, Embedding.apply(p, Tokens.upload(p, last), hidden, hidden.dtype()));
  }

  @Override
  public void close() {
    step.close();
    cacheRegion.close();
  }

  /// A request on its way.
  private final class Running {
    final int index;
    final Request request;
    final KvCache.Sequence sequence = cache.open();
    final Tokenizer.TextStream stream = tokenizer.stream();
    final StopText stop;
    final StringBuilder text = new StringBuilder();
    int[] seen;
    boolean ended;

    Running(int index, Request request) {
      this.index = index;
      this.request = request;
      this.stop = new StopText(request.stop());
      this.seen = request.prompt().clone();
      // The tokenizer's stream follows the prompt, so that the first generated word keeps its leading space.
      for (int id : seen) stream.next(id);
    }

    int[] pending() {
      return sequence.length() == 0 ? seen : new int[] {seen[seen.length - 1]};
    }

    int generated() {
      return seen.length - request.prompt().length;
    }

    boolean done() {
      return ended || generated() >= request.maxNewTokens() || seen.length + model.virtualTokens() > context;
    }

    /// Changes logits (1,V) as the request wants it.
    void penalise(Tensor logits) {
      if (!request.sampling().penalises()) return;
      var values = logits.toFloats();
      request.sampling().penalise(values, seen);
      logits.set(values);
    }

    /// @param top of what `penalise` left
    /// @param logits (1,V), for the few draws that `top` does not settle
    void accept(Sampling.Likeliest top, Tensor logits) {
      if (generated() >= request.maxNewTokens()) return;
      int id = request.sampling().choose(top, seen.length).orElseGet(() -> request.sampling().choose(Arrays.copyOf(logits.toFloats(), known()), seen.length));
      // A model that writes BOS has begun another document: llama2.c's models end that way.
      ended = model.config().eos().contains(id) || tokenizer.bos().orElse(-1) == id;
      seen = Arrays.copyOf(seen, seen.length + 1);
      seen[seen.length - 1] = id;
      if (ended) return;
      show(stop.next(stream.next(id)));
      ended = stop.stopped();
    }

    void show(String s) {
      text.append(s);
      if (!s.isEmpty()) request.listener().text(s);
    }

    Generation result() {
      show(stop.next(stream.finish()));
      show(stop.finish());
      var ids = Arrays.copyOfRange(seen, request.prompt().length, seen.length);
      var finish = ended || stop.stopped() ? Generation.Finish.STOP : Generation.Finish.LENGTH;
      return new Generation(request.prompt(), ids, text.toString(), finish);
    }
  }
}
