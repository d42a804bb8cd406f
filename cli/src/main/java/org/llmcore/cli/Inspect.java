package org.llmcore.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.ParentCommand;

import org.llmcore.Devices;
import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.model.Form;
import org.llmcore.model.Precision;
import org.llmcore.text.HuggingFaceTokenizer;
import org.llmcore.text.Llama2cTokenizer;
import org.llmcore.text.SentencePieceBpe;
import org.llmcore.text.Tokenizer;
import org.llmcore.train.Embedded;
import org.llmcore.train.MemoryPlan;

/// `inspect`: what a file, a folder or this machine is.
@Command(
    name = "inspect",
    description = {
      "Says what a checkpoint is, without loading it: architecture, tensors, size, tokenizer, and whether this machine has "
          + "the memory to run or to train it.",
      "Reads Hugging Face folders, .safetensors, GGUF, llama2.c .bin, PEFT adapters, runs, their checkpoints, and "
          + "tokenizers. With --device it says what the engine found in this machine."
    },
    footer = {"Examples:", "  inspect models/llama", "  inspect runs/sql-lora-1 --tensors", "  inspect --device --json"})
final class Inspect implements Callable<Integer> {
  private static final Pattern LAYER = Pattern.compile("(.*\\.layers\\.)(\\d+)(\\..+)");
  private static final int SPECIALS = 16;
  // Weights that are this many times the memory are not worth eight dry runs, which take seconds for absurd shapes.
  private static final double HOPELESS = 64;

  @ParentCommand private Main main;

  @Parameters(arity = "0..1", paramLabel = "PATH", description = "file, folder, or embedded:sql-base")
  private Optional<String> path = Optional.empty();

  @Option(names = {"-t", "--tokenizer"}, paramLabel = "PATH",
      description = "tokenizer file or folder, if it is not with the model")
  private Optional<Path> tokenizer = Optional.empty();

  @Option(names = "--tensors", description = "every tensor on a line; without it, layers that are alike are shown once")
  private boolean every;

  @Option(names = "--device", description = "what the engine found in this machine")
  private boolean device;

  @Override
  public Integer call() {
    if (path.isEmpty() && !device) throw new InvalidInput("nothing to inspect is named", "give a PATH, or --device");
    var out = new LinkedHashMap<String, Object>();
    path.ifPresent(p -> inspect(p, out));
    if (device) machine(out);
    main.console().object(out);
    return 0;
  }

  private void inspect(String where, Map<String, Object> out) {
    var found = Inspection.of(Embedded.path(where), tokenizer);
    out.put("path", where);
    out.put("kind", found.kind());
    out.put("disk_bytes", found.bytes());
    line("path", where);
    line("kind", found.kind() + String.format(Locale.ROOT, ", %,d bytes on disk", found.bytes()));
    if (!found.facts().isEmpty()) out.put("facts", found.facts());
    found.facts().forEach((name, value) -> line("  " + name, String.valueOf(value)));
    found.config().ifPresent(c -> architecture(c, out));
    if (!found.tensors().isEmpty()) tensors(found, out);
    found.tokenizer().ifPresent(t -> words(t, out));
    found.config().ifPresent(c -> memory(c, found.forms(), out));
    out.put("notes", found.notes());
    found.notes().forEach(n -> line("note", n));
  }

  private void line(String name, String value) {
    if (!main.console().json()) main.console().print(String.format(Locale.ROOT, "%-12s %s%n", visible(name), visible(value)));
  }

  /// Names and pieces come from files: what would move the cursor or change its colour is spelled out.
  private static String visible(String text) {
    var out = new StringBuilder();
    text.codePoints().forEach(c -> {
      if (c == '\n') out.append("\\n");
      else if (Character.isISOControl(c)) out.append(String.format(Locale.ROOT, "\\u%04x", c));
      else out.appendCodePoint(c);
    });
    return out.toString();
  }

  private void architecture(LlamaConfig c, Map<String, Object> out) {
    line("model", String.format(Locale.ROOT,
        "Llama, %,d parameters: %d layers, width %d, MLP %d, %d heads of %d, %d key/value heads, vocabulary %d%s",
        c.parameters(), c.layers(), c.hidden(), c.intermediate(), c.heads(), c.headDim(), c.kvHeads(), c.vocabulary(),
            c.tiedHead() ? ", tied head" : ""));
    line("context", String.format(Locale.ROOT, "%,d tokens; rotary base %s%s", c.contextLength(), c.ropeTheta(),
        c.ropeScale() == 1 ? "" : ", stretched by " + c.ropeScale()));
    var a = new LinkedHashMap<String, Object>();
    a.put("family", "llama");
    a.put("layers", c.layers());
    a.put("hidden", c.hidden());
    a.put("intermediate", c.intermediate());
    a.put("heads", c.heads());
    a.put("kv_heads", c.kvHeads());
    a.put("head_dim", c.headDim());
    a.put("vocabulary", c.vocabulary());
    a.put("tied_head", c.tiedHead());
    a.put("norm_eps", c.rmsEps());
    a.put("rope_theta", c.ropeTheta());
    a.put("rope_scale", c.ropeScale());
    a.put("eos", c.eos());
    out.put("architecture", a);
    out.put("context_length", c.contextLength());
    out.put("parameters", c.parameters());
  }

  private void tensors(Inspection found, Map<String, Object> out) {
    long bytes = found.tensors().stream().mapToLong(Inspection.Stored::bytes).sum();
    var dtypes = found.tensors().stream().map(Inspection.Stored::dtype).distinct().sorted().collect(Collectors.joining(", "));
    line("tensors", String.format(Locale.ROOT, "%,d of %s, %,d elements, %,d bytes", found.tensors().size(), dtypes,
        found.parameters(), bytes));
    if (!main.console().json()) main.console().print(every ? rows(found.tensors(), "") : grouped(found.tensors()));
    out.putIfAbsent("parameters", found.parameters());
    out.put("tensor_bytes", bytes);
    out.put("tensors", found.tensors());
  }

  private static String rows(List<Inspection.Stored> tensors, String indent) {
    var text = new StringBuilder();
    for (var t : tensors) {
      var shape = t.shape().toString().replace('[', '(').replace(']', ')');
      text.append(String.format(Locale.ROOT, "  %-56s %-5s %-16s %,14d bytes%n", indent + visible(t.name()), t.dtype(), shape,
          t.bytes()));
    }
    return text.toString();
  }

  /// Tensors outside layers as they come; of neighbouring layers with the same tensors, one.
  private static String grouped(List<Inspection.Stored> tensors) {
    var layers = new java.util.TreeMap<Integer, List<Inspection.Stored>>();
    var others = new ArrayList<Inspection.Stored>();
    var prefix = "";
    for (var t : tensors) {
      var m = LAYER.matcher(t.name());
      if (!m.matches() || m.group(2).length() > 6) {
        others.add(t);
        continue;
      }
      prefix = m.group(1);
      layers.computeIfAbsent(Integer.valueOf(m.group(2)), _ -> new ArrayList<>())
          .add(new Inspection.Stored(m.group(3), t.dtype(), t.shape(), t.bytes()));
    }
    layers.values().forEach(l -> l.sort(java.util.Comparator.comparing(Inspection.Stored::name)));
    var text = new StringBuilder(rows(others, ""));
    var numbers = List.copyOf(layers.keySet());
    for (int from = 0; from < numbers.size(); ) {
      int to = from + 1;
      while (to < numbers.size() && layers.get(numbers.get(to)).equals(layers.get(numbers.get(from)))) to++;
      var range = numbers.get(from) + (to == from + 1 ? "" : " … " + numbers.get(to - 1) + ", alike");
      text.append("  ").append(visible(prefix)).append(range).append(System.lineSeparator())
          .append(rows(layers.get(numbers.get(from)), "  "));
      from = to;
    }
    return text.toString();
  }

  private void words(Tokenizer t, Map<String, Object> out) {
    var kind =
        switch (t) {
          case SentencePieceBpe _ -> "SentencePiece BPE (tokenizer.model)";
          case HuggingFaceTokenizer _ -> "Hugging Face BPE (tokenizer.json)";
          case Llama2cTokenizer _ -> "llama2.c BPE (tokenizer.bin)";
          default -> t.getClass().getSimpleName();
        };
    var special = new LinkedHashMap<String, Integer>();
    for (int id = 0; id < t.size(); id++) if (t.control(id)) special.put(t.piece(id), id);
    var shown = special.entrySet().stream().limit(SPECIALS).map(e -> e.getKey() + " " + e.getValue())
        .collect(Collectors.joining(", "));
    line("tokenizer", String.format(Locale.ROOT, "%s, %,d ids%s%s; special: %s%s", kind, t.size(),
        t.addsBos() ? ", begins with BOS" : "", t.addsEos() ? ", ends with EOS" : "",
        shown.isEmpty() ? "none" : shown, special.size() > SPECIALS ? ", and " + (special.size() - SPECIALS) + " more" : ""));
    var o = new LinkedHashMap<String, Object>();
    o.put("kind", kind);
    o.put("size", t.size());
    t.bos().ifPresent(id -> o.put("bos", id));
    t.eos().ifPresent(id -> o.put("eos", id));
    o.put("adds_bos", t.addsBos());
    o.put("adds_eos", t.addsEos());
    o.put("special", special);
    out.put("tokenizer", o);
  }

  private void memory(LlamaConfig config, Map<Precision, Form> forms, Map<String, Object> out) {
    var machine = Machine.here();
    line("memory", "needed at most, of " + MemoryPlan.megabytes(machine.available()).strip() + " available ("
        + MemoryPlan.megabytes(machine.memory()).strip() + " in this machine)");
    var uses = new ArrayList<Map<String, Object>>();
    boolean hopeless = 2.0 * config.parameters() > HOPELESS * machine.memory();
    if (hopeless) line("", "the weights alone need " + MemoryPlan.megabytes(2 * config.parameters()).strip()
        + " in bf16: no use fits");
    for (var fit : hopeless ? List.<Fit>of() : forms.isEmpty() ? Fit.of(config) : Fit.of(config, forms, false)) {
      var verdict = fit.verdict(machine);
      line("", String.format(Locale.ROOT, "%-10s %-56s %s  %s", fit.precision(), fit.use(), MemoryPlan.megabytes(fit.bytes()),
          verdict));
      var o = new LinkedHashMap<String, Object>();
      o.put("use", fit.use());
      o.put("precision", fit.precision().toString());
      o.put("bytes", fit.bytes());
      o.put("verdict", verdict);
      uses.add(o);
    }
    out.put("memory", Map.of("available_bytes", machine.available(), "machine_bytes", machine.memory(), "uses", uses));
  }

  private void machine(Map<String, Object> out) {
    var m = Machine.here();
    line("cpu", m.cpu() + ", " + m.cores() + (m.cores() == 1 ? " core" : " cores"));
    line("features", m.features().isEmpty() ? "not told by this system" : String.join(" ", m.features()));
    line("device", m.device());
    line("memory", MemoryPlan.megabytes(m.memory()).strip() + ", " + MemoryPlan.megabytes(m.available()).strip()
        + " available; Java's heap at most " + MemoryPlan.megabytes(m.heap()).strip()
        + ", tensors lie outside it");
    line("java", m.java());
    line("system", m.system());
    Machine.flags().forEach(this::line);
    var o = new LinkedHashMap<String, Object>();
    o.put("cpu", m.cpu());
    o.put("cores", m.cores());
    o.put("features", m.features());
    o.put("device", m.device());
    o.put("memory_bytes", m.memory());
    o.put("available_bytes", m.available());
    o.put("heap_bytes", m.heap());
    o.put("java", m.java());
    o.put("system", m.system());
    o.put("flags", Machine.flags());
    var others = new LinkedHashMap<String, Object>();
    for (var provider : Devices.providers()) {
      var found = provider.describe();
      found.forEach(this::line);
      others.put(provider.name(), found);
    }
    o.put("devices", others);
    out.put("machine", o);
  }
}
