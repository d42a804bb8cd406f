package org.llmcore.convert;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.AtomicFile;
import org.llmcore.gguf.GgufType;
import org.llmcore.gguf.LlamaKeys;
import org.llmcore.model.Decoder;
import org.llmcore.model.Precision;
import org.llmcore.op.Device;
import org.llmcore.tensor.DType;
import org.llmcore.text.Wordless;

/// A model from one format into another, streamed tensor by tensor, checked before it appears under its name.
///
/// @param tokenizer where the tokenizer is, if not with the model
/// @param dtype what weights become; empty: as they are, nothing is lost
/// @param adapter a LoRA to add to the weights, which are then held in memory in f32
public record Conversion(Path from, Path to, Format format, Optional<GgufType> dtype, Optional<Path> tokenizer,
    Optional<Path> adapter, Check check) {
  private static final long SHARD = 5_000_000_000L;
  private static final int PROBE = 16;

  /// What is compared in the end.
  ///
  /// @param weights whether every weight is read back
  /// @param logits whether both models are run, and in which precision
  /// @param text what they are run on; else 16 ids from all over the vocabulary
  public record Check(boolean weights, Optional<Precision> logits, Optional<String> text) {
    /// Nothing at all.
    public static final Check NONE = new Check(false, Optional.empty(), Optional.empty());
    /// Weights and logits.
    public static final Check ALL = new Check(true, Optional.of(Precision.F32), Optional.empty());
  }

  /// Hears how far it has come; may throw to stop, nothing is then left.
  public interface Listener {
    Listener NONE = (_, _, _) -> {};

    /// @param what `writing` or `checking`
    void at(String what, long done, long all);
  }

  /// What became of it.
  ///
  /// @param source what the source is, in words
  /// @param types how tensors are stored, most numerous bits first
  /// @param lossless whether nothing may have been lost
  /// @param lost ‖W − Ŵ‖ / ‖W‖ of the matrix that lost most; empty without a check
  /// @param merge how far logits of the merged model are from base and adapter
  /// @param tokenizer the tokenizer file beside a llama2.c checkpoint
  public record Report(
      String source, String types, int tensors, long bytes, boolean lossless, Optional<Double> lost, Optional<Agreement> logits,
      Optional<Double> merge, Optional<Path> tokenizer, List<String> notes) {}

  /// A conversion in which nothing is lost and everything is checked.
  public static Conversion of(Path from, Path to) {
    return new Conversion(from, to, Format.of(to), Optional.empty(), Optional.empty(), Optional.empty(), Check.ALL);
  }

  /// The same with another check.
  public Conversion with(Check check) {
    return new Conversion(from, to, format, dtype, tokenizer, adapter, check);
  }

  /// `f32`, `bf16`, `f16`, `q8_0`, `q4_0` or `q4_k`.
  public static GgufType dtype(String text) {
    return Plan.parse(text);
  }

  /// Writes the target.
  /// @throws InvalidInput if the source cannot be read, the target exists or its format has no place for the model
  /// @throws Disagreement if what was written does not agree with the source; nothing is left of it
  public Report run(Device device, Listener listener) {
    if (Files.exists(to)) throw new InvalidInput(to + " exists", "choose another name; nothing is overwritten");
    try (var source = source(device)) {
      if (format == Format.LLAMA2C) Targets.checkLlama2c(source);
      if (check.text.isPresent()) ids(source); // a text that cannot be encoded is refused before anything is written
      var plan = Plan.of(source, format, dtype);
      room(plan.bytes());
      return new Running(device, source, plan, listener).run();
    }
  }

  private Source source(Device device) {
    var base = Source.open(from, tokenizer);
    try {
      return adapter.isEmpty() ? base : MergedSource.of(device, base, adapter.get(), ids(base));
    } catch (RuntimeException e) {
      base.close();
      throw e;
    }
  }

  /// A sequence to run: the text, or ids from all over the vocabulary.
  private int[] ids(Source source) {
    var c = source.config();
    if (check.text.isPresent()) {
      var t = source.tokenizer();
      var all = new ArrayList<Integer>();
      if (t.addsBos()) t.bos().ifPresent(all::add);
      for (int id : t.encode(check.text.get())) all.add(id);
      if (all.isEmpty()) throw new InvalidInput("the text to check with has no token", "give a longer one");
      return all.stream().limit(c.contextLength()).mapToInt(i -> i).toArray();
    }
    var ids = new int[Math.min(PROBE, c.contextLength())];
    for (int i = 0; i < ids.length; i++) ids[i] = (int) ((long) i * 7919 % c.vocabulary());
    return ids;
  }

  private void room(long bytes) {
    var folder = to.toAbsolutePath().getParent();
    while (folder != null && !Files.exists(folder)) folder = folder.getParent();
    try {
      long free = folder == null ? Long.MAX_VALUE : Files.getFileStore(folder).getUsableSpace();
      if (bytes > free) throw new InvalidInput("%s takes %,d bytes, the disk has %,d".formatted(to, bytes, free),
          "free some space or choose another disk");
    } catch (IOException _) {
      // a disk that does not say is found full when it is
    }
  }

  /// Bytes of memory that running the model takes, for its weights.
  public long memory(DType weights) {
    try (var source = Source.open(from, tokenizer)) {
      return Decoder.bytes(source.config(), weights);
    }
  }

  /// One run.
  private final class Running {
    private final Device device;
    private final Source source;
    private final Plan plan;
    private final Listener listener;
    private Optional<Double> lost = Optional.empty();
    private Optional<Agreement> logits = Optional.empty();
    private long bytes;

    Running(Device device, Source source, Plan plan, Listener listener) {
      this.device = device;
      this.source = source;
      this.plan = plan;
      this.listener = listener;
    }

    Report run() {
      Writing.Listener written = (done, all) -> listener.at("writing", done, all);
      Optional<Path> words = Optional.empty();
      switch (format) {
        case HF -> AtomicFile.folder(to, temp -> {
          Targets.folder(temp, source, plan, SHARD, written);
          check(temp, Optional.empty());
        });
        case GGUF -> AtomicFile.write(to, temp -> {
          Targets.gguf(temp, name(), source, plan, written);
          check(temp, Optional.empty());
        });
        case LLAMA2C -> words = llama2c(written);
      }
      var notes = new ArrayList<>(source.notes());
      notes.addAll(plan.notes());
      if (source.tokenizer() instanceof Wordless w) notes.add(w.missing() + "; none was written");
      if (format == Format.GGUF) notes.addAll(LlamaKeys.lost(source.config()));
      var merge = source instanceof MergedSource m ? Optional.of(distance(m)) : Optional.<Double>empty();
      return new Report(source.describe(), plan.describe(), plan.types().size(), bytes, plan.lossless(), lost, logits, merge,
          words, notes);
    }

    private Optional<Path> llama2c(Writing.Listener written) {
      if (source.tokenizer() instanceof Wordless) {
        checkpoint(written, Optional.empty());
        return Optional.empty();
      }
      var words = to.resolveSibling(to.getFileName().toString().replaceFirst("\\.bin$", "") + "-tokenizer.bin");
      if (Files.exists(words)) throw new InvalidInput(words + " exists", "choose another name; nothing is overwritten");
      boolean done = false;
      try {
        AtomicFile.write(words, temp -> Files.write(temp, Targets.llama2cWords(source)));
        checkpoint(written, Optional.of(words));
        done = true;
      } finally {
        if (!done) forget(words);
      }
      return Optional.of(words);
    }

    private void checkpoint(Writing.Listener written, Optional<Path> words) {
      AtomicFile.write(to, temp -> {
        Targets.llama2c(temp, source, plan, written);
        check(temp, words);
      });
    }

    private void forget(Path file) {
      try {
        Files.deleteIfExists(file);
      } catch (IOException _) {
        // the failure that matters is already on its way
      }
    }

    private String name() {
      var n = String.valueOf(from.toAbsolutePath().normalize().getFileName());
      return n.replaceFirst("\\.(gguf|bin)$", "");
    }

    private double distance(MergedSource m) {
      return Agreement.distance(m.before(), Agreement.logits(device, m.decoder(), ids(source)));
    }

    private void check(Path temp, Optional<Path> words) throws IOException {
      try (var files = Files.walk(temp)) {
        for (var f : files.filter(Files::isRegularFile).toList()) bytes += Files.size(f);
      }
      if (!check.weights) return;
      long all = plan.types().keySet().stream().mapToLong(Part::elements).sum();
      try (var after = Source.open(temp, words)) {
        lost = Optional.of(Agreement.lost(source, after, plan, (done, _) -> listener.at("checking", done, all)));
        Agreement.words(source, after, check.text, format == Format.LLAMA2C);
      }
      if (check.logits.isEmpty()) return;
      var precision = source instanceof MergedSource ? Precision.F32 : check.logits.get(); // as what is merged is held
      var ids = ids(source);
      var before = source instanceof MergedSource m ? Agreement.logits(device, m.decoder(), ids) : Agreement.logits(device, from,
          tokenizer, precision, ids);
      var after = Agreement.logits(device, temp, words, precision, ids);
      logits = Optional.of(Agreement.of(before, after, ids.length, exact(temp, words, precision, ids, before, after)));
    }

    /// Asks for equal bits where there is something that must have them.
    private boolean exact(Path temp, Optional<Path> words, Precision precision, int[] ids, float[] before, float[] after) {
      // In bf16 a matrix that was in few bits, or becomes it, is not rounded as its dense twin is.
      if (lost.orElseThrow() == 0 && (precision == Precision.F32 || plan.types().keySet().stream().allMatch(p -> dense(source.type(p))))) {
        Agreement.exact(before, after, "no weight changed");
        return true;
      }
      if (precision != Precision.F32) return false;
      try (var written = Source.open(temp, words); var region = device.reserve("weights", Decoder.bytes(written.config(), DType.F32))) {
        Agreement.exact(Agreement.logits(device, written.decoder(device, region), ids), after, "those of its own weights, read back");
      }
      return true;
    }

    private static boolean dense(Optional<GgufType> type) {
      return type.isPresent() && type.get().blocks().isEmpty();
    }
  }
}
