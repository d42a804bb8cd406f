package org.llmcore.generate;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import java.util.stream.LongStream;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

import org.llmcore.InvalidInput;
import org.llmcore.model.KvCache;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Mixing;
import org.llmcore.model.Precision;
import org.llmcore.model.Tokens;
import org.llmcore.op.Pass;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

class GeneratorTest {
  private static final Sampling WARM = new Sampling(0.9, 50, 0.95, 0.01, 1.1, 7);

  private static Generator generator(LanguageModel model, int slots, int context) {
    return new Generator(TinyModel.DEVICE, model.decoder(), model.tokenizer(), slots, context);
  }

  private static Generator.Request request(int[] prompt, int tokens, Sampling sampling, String... stop) {
    return new Generator.Request(prompt, tokens, sampling, List.of(stop), Generator.Listener.NONE);
  }

  private static float[] full(LanguageModel model, int... ids) {
    try (var region = Region.growing("full pass")) {
      var p = Pass.inference(TinyModel.DEVICE, region);
      var tokens = Tokens.of(p, ids);
      var hidden = model.decoder().hidden(p, tokens, new Mixing.Within(tokens.starts()), false, new ArrayList<>());
      return model.decoder().logits(p, hidden).toFloats();
    }
  }

  /// What a request must give, with a full pass for every token and no cache.
  private static int[] byFullPasses(LanguageModel model, Generator.Request r, int context) {
    var seen = r.prompt();
    while (seen.length - r.prompt().length < r.maxNewTokens() && seen.length <= context) {
      var all = full(model, seen);
      int from = (seen.length - 1) * TinyModel.VOCABULARY;
      int id = r.sampling().choose(Arrays.copyOfRange(all, from, from + model.tokenizer().size()), seen);
      seen = Arrays.copyOf(seen, seen.length + 1);
      seen[seen.length - 1] = id;
      if (id == 1 || id == 2) break;
    }
    return Arrays.copyOfRange(seen, r.prompt().length, seen.length);
  }

  private static List<Generator.Request> many(Random random, int n, int context) {
    var requests = new ArrayList<Generator.Request>();
    for (int i = 0; i < n; i++) {
      var sampling = i % 3 == 0 ? Sampling.GREEDY : new Sampling(1.2, i % 2 == 0 ? 0 : 20, 0.9, 0, 1.2, i);
      requests.add(request(TinyModel.prompt(random, 1 + random.nextInt(context)), random.nextInt(25), sampling));
    }
    return requests;
  }

  @ParameterizedTest
  @EnumSource(Precision.class)
  void everyRequestGivesWhatFullPassesGiveWhateverRunsBesideIt(Precision precision) {
    try (var model = TinyModel.open(precision, 5);
        var three = generator(model, 3, TinyModel.CONTEXT);
        var alone = generator(model, 1, TinyModel.CONTEXT)) {
      var requests = many(new Random(3), 14, TinyModel.CONTEXT);
      var together = three.generate(requests);
      for (int i = 0; i < requests.size(); i++) {
        var expected = byFullPasses(model, requests.get(i), TinyModel.CONTEXT);
        assertThat(together.get(i).ids()).as("request " + i + " beside others").isEqualTo(expected);
        var single = alone.generate(requests.get(i));
        assertThat(single.ids()).as("request " + i + " alone").isEqualTo(expected);
        assertThat(single.text()).isEqualTo(together.get(i).text());
        assertThat(single.finish()).isEqualTo(together.get(i).finish());
      }
    }
  }

  @ParameterizedTest
  @EnumSource(Precision.class)
  void logitsOfTheCacheEqualTheFullPassBitForBit(Precision precision) {
    try (var model = TinyModel.open(precision, 9);
        var region = Region.growing("cache")) {
      var random = new Random(1);
      var first = TinyModel.prompt(random, 40);
      var second = TinyModel.prompt(random, 29);
      float[] a = full(model, first);
      float[] b = full(model, second);
      var p = Pass.inference(TinyModel.DEVICE, region);
      DType activations = model.decoder().activations();
      for (int page : new int[] {1, 3, 16, 64}) {
        var cache = new KvCache(region, model.config(), activations, 2 * (48 + page - 1) / page + 2, page);
        var sequences = List.of(cache.open(), cache.open());
        while (sequences.get(0).length() < 40) {
          int[] done = {sequences.get(0).length(), sequences.get(1).length()};
          int[] counts = {Math.min(1 + random.nextInt(9), 40 - done[0]), Math.min(1 + random.nextInt(6), 29 - done[1])};
          var running = counts[1] == 0 ? sequences.subList(0, 1) : sequences;
          if (counts[1] == 0) counts = new int[] {counts[0]};
          var ids = IntStream.concat(Arrays.stream(first, done[0], done[0] + counts[0]), counts.length == 1 ? IntStream.empty()
              : Arrays.stream(second, done[1], done[1] + counts[1])).toArray();
          var positions = IntStream.concat(IntStream.range(done[0], done[0] + counts[0]), counts.length == 1 ? IntStream.empty()
              : IntStream.range(done[1], done[1] + counts[1])).toArray();
          var at = cache.append(p, running, counts);
          Tensor hidden = model.decoder().hidden(p, new Tokens(Tokens.upload(p, ids), Tokens.upload(p, positions), at.starts()),
              new Mixing.Cached(cache, at), false, new ArrayList<>());
          var found = model.decoder().logits(p, hidden).toFloats();
          int v = TinyModel.VOCABULARY;
          assertThat(Arrays.copyOf(found, counts[0] * v))
              .isEqualTo(Arrays.copyOfRange(a, done[0] * v, (done[0] + counts[0]) * v));
          if (counts.length == 2) assertThat(Arrays.copyOfRange(found, counts[0] * v, found.length))
              .isEqualTo(Arrays.copyOfRange(b, done[1] * v, (done[1] + counts[1]) * v));
        }
        sequences.forEach(KvCache.Sequence::close);
        assertThat(cache.freePages()).isEqualTo(2 * (48 + page - 1) / page + 2);
      }
    }
  }

  @Test
  void theSameSeedGivesTheSameTokensAndAnotherSeedOthers() {
    try (var model = TinyModel.open(Precision.F32, 5);
        var generator = generator(model, 2, TinyModel.CONTEXT)) {
      int[] prompt = {1, 20, 30};
      var seeds = LongStream.range(0, 20)
          .mapToObj(s -> Arrays.toString(generator.generate(request(prompt, 20, new Sampling(1.5, 0, 1, 0, 1, s))).ids()))
          .toList();
      var again = LongStream.range(0, 20)
          .mapToObj(s -> Arrays.toString(generator.generate(request(prompt, 20, new Sampling(1.5, 0, 1, 0, 1, s))).ids()))
          .toList();
      assertThat(again).isEqualTo(seeds);
      assertThat(seeds).doesNotHaveDuplicates();
    }
  }

  @Test
  void oneCandidateIsGreedyDecoding() {
    try (var model = TinyModel.open(Precision.F32, 6);
        var generator = generator(model, 2, TinyModel.CONTEXT)) {
      for (int i = 0; i < 10; i++) {
        var prompt = TinyModel.prompt(new Random(i), 4);
        var greedy = generator.generate(request(prompt, 15, Sampling.GREEDY)).ids();
        assertThat(generator.generate(request(prompt, 15, new Sampling(3, 1, 1, 0, 1, i))).ids()).isEqualTo(greedy);
        assertThat(generator.generate(request(prompt, 15, new Sampling(3, 0, 1e-9, 0, 1, i))).ids()).isEqualTo(greedy);
        assertThat(generator.generate(request(prompt, 15, new Sampling(3, 0, 1, 1, 1, i))).ids()).isEqualTo(greedy);
      }
    }
  }

  /// A seed whose greedy continuation does not end by itself, and that continuation's text.
  private static Generation longStory(Generator generator, int tokens) {
    for (int i = 0; i < 50; i++) {
      var g = generator.generate(request(TinyModel.prompt(new Random(i), 3), tokens, WARM));
      if (g.finish() == Generation.Finish.LENGTH && g.text().length() > tokens) return g;
    }
    throw new AssertionError("all continuations are short");
  }

  @Test
  void theTokenBudgetIsKept() {
    try (var model = TinyModel.open(Precision.F32, 5);
        var generator = generator(model, 2, TinyModel.CONTEXT)) {
      var story = longStory(generator, 30);
      for (int n = 0; n <= 30; n++) {
        var g = generator.generate(request(story.prompt(), n, WARM));
        assertThat(g.ids()).isEqualTo(Arrays.copyOf(story.ids(), n));
        assertThat(g.finish()).isEqualTo(Generation.Finish.LENGTH);
      }
      assertThatThrownBy(() -> request(new int[] {1}, -1, WARM)).isInstanceOf(InvalidInput.class).hasMessageContaining("-1");
      assertThatThrownBy(() -> request(new int[0], 1, WARM)).isInstanceOf(InvalidInput.class).hasMessageContaining("empty");
    }
  }

  @Test
  void stopStringsAreCutExactlyWhereverTokensEnd() {
    try (var model = TinyModel.open(Precision.F32, 5);
        var generator = generator(model, 2, TinyModel.CONTEXT)) {
      var story = longStory(generator, 30);
      var text = story.text();
      var random = new Random(2);
      for (int i = 0; i < 60; i++) {
        int from = random.nextInt(text.length());
        var stop = text.substring(from, Math.min(text.length(), from + 1 + random.nextInt(6)));
        var heard = new StringBuilder();
        var g = generator.generate(new Generator.Request(story.prompt(), 30, WARM, List.of("never said", stop), heard::append));
        assertThat(g.text()).as("up to '" + stop + "'").isEqualTo(text.substring(0, text.indexOf(stop)));
        assertThat(heard.toString()).isEqualTo(g.text());
        assertThat(g.finish()).isEqualTo(Generation.Finish.STOP);
        assertThat(g.ids()).isEqualTo(Arrays.copyOf(story.ids(), g.ids().length));
      }
      assertThat(generator.generate(request(story.prompt(), 30, WARM, "never said", text + "!")).text()).isEqualTo(text);
      assertThatThrownBy(() -> request(new int[] {1}, 3, WARM, "a", "")).isInstanceOf(InvalidInput.class)
          .hasMessageContaining("empty");
    }
  }

  @Test
  void generationEndsWhereTheContextIsFull() {
    try (var model = TinyModel.open(Precision.F32, 5)) {
      for (int context : new int[] {1, 7, 16, TinyModel.CONTEXT}) {
        try (var generator = generator(model, 2, context)) {
          for (int length : new int[] {1, context - 1, context}) {
            if (length < 1) continue;
            var requests = List.of(request(TinyModel.prompt(new Random(1), length), 100, WARM),
                request(TinyModel.prompt(new Random(2), context), 100, WARM));
            var found = generator.generate(requests);
            for (int i = 0; i < 2; i++) assertThat(found.get(i).ids()).isEqualTo(byFullPasses(model, requests.get(i), context));
            assertThat(found.get(1).ids()).hasSize(1);
          }
          assertThatThrownBy(() -> generator.generate(request(TinyModel.prompt(new Random(1), context + 1), 1, WARM)))
              .isInstanceOf(InvalidInput.class).hasMessageContainingAll("prompt has " + (context + 1) + " tokens", "context is "
                  + context);
        }
      }
      assertThatThrownBy(() -> generator(model, 1, TinyModel.CONTEXT + 1)).isInstanceOf(InvalidInput.class)
          .hasMessageContaining("context of 49");
      assertThatThrownBy(() -> generator(model, 1, 0)).isInstanceOf(InvalidInput.class);
      assertThatThrownBy(() -> generator(model, 0, 1)).isInstanceOf(IllegalArgumentException.class);
    }
  }

  @Test
  void idsThatTheTokenizerDoesNotHaveAreNeitherTakenNorChosen() {
    try (var model = TinyModel.open(Precision.F32, 5);
        var generator = generator(model, 2, TinyModel.CONTEXT)) {
      int known = model.tokenizer().size();
      assertThat(known).isEqualTo(TinyModel.VOCABULARY - 4);
      for (int id : new int[] {-1, known, TinyModel.VOCABULARY, Integer.MAX_VALUE}) {
        assertThatThrownBy(() -> generator.generate(request(new int[] {1, id}, 1, WARM))).isInstanceOf(InvalidInput.class)
            .hasMessageContaining("id " + id);
      }
      for (int seed = 0; seed < 20; seed++) {
        var ids = generator.generate(request(new int[] {1, 5}, 30, new Sampling(100, 0, 1, 0, 1, seed))).ids();
        assertThat(IntStream.of(ids).max().orElseThrow()).isLessThan(known);
      }
    }
  }

  @Test
  void aFailureLeavesTheCacheFree() {
    try (var model = TinyModel.open(Precision.F32, 5);
        var generator = generator(model, 2, TinyModel.CONTEXT)) {
      var story = longStory(generator, 30);
      for (int i = 0; i < 5; i++) {
        var failing = new Generator.Request(story.prompt(), 30, WARM, List.of(), _ -> {
          throw new IllegalStateException("the reader has gone");
        });
        assertThatThrownBy(() -> generator.generate(List.of(failing, failing))).hasMessageContaining("the reader has gone");
      }
      assertThat(generator.generate(request(story.prompt(), 30, WARM)).ids()).isEqualTo(story.ids());
    }
  }

  @Test
  void theReservedMemoryIsEnoughAndKnownBeforehand() {
    try (var model = TinyModel.open(Precision.F32, 5)) {
      for (int slots : new int[] {1, 5}) {
        try (var generator = generator(model, slots, TinyModel.CONTEXT)) {
          generator.generate(many(new Random(slots), 20, TinyModel.CONTEXT));
          assertThat(generator.bytes()).isLessThanOrEqualTo(Generator.bytes(model.decoder(), slots, TinyModel.CONTEXT));
        }
      }
    }
  }
}
