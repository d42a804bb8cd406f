package org.llmcore.cli;

import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;

import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParentCommand;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.Safetensors;
import org.llmcore.eval.Task;
import org.llmcore.model.Mixing;
import org.llmcore.model.Tokens;
import org.llmcore.op.CrossEntropy;
import org.llmcore.op.Move;
import org.llmcore.op.Pass;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Tensor;

/// `logits`: what a model computes for a sequence, as tensors in a file.
@Command(
    name = "logits",
    description = {
      "Runs a model over a sequence and writes what it computes to a safetensors file.",
      "It holds logits (n, vocabulary), nll (n-1): the negative log-likelihood of each next token in nats, input_ids (n), and with "
          + "--hidden the hidden states hidden.0 … (n, hidden) as Hugging Face lists them."
    },
    footer = {"Example:", "  logits --model DIR --ids 1,403,407,261 --hidden --out logits.safetensors"})
final class Logits implements Callable<Integer> {
  @ParentCommand private Main main;
  @Mixin private Opening opening;

  @Option(names = "--ids", split = ",", paramLabel = "1,2,3", description = "token ids, BOS included")
  private List<Integer> ids = new ArrayList<>();

  @Option(names = "--text", paramLabel = "TEXT", description = "a text instead; BOS is put in front where the tokenizer asks for it")
  private Optional<String> text = Optional.empty();

  @Option(names = "--hidden", description = "write the hidden states too")
  private boolean hidden;

  @Option(names = {"-o", "--out"}, required = true, paramLabel = "FILE", description = "the safetensors file to write")
  private Path out;

  @Override
  public Integer call() {
    try (var m = opening.open(main.console());
        var region = m.device().growing("logits")) {
      var input = sequence(m);
      var p = Pass.inference(m.device(), region);
      var tokens = m.decoder().tokens(p, input);
      var states = new ArrayList<Tensor>();
      var last = m.decoder().hidden(p, tokens, new Mixing.Within(tokens.starts()), false, states);
      var logits = m.decoder().logits(p, last);
      var items = new ArrayList<Safetensors.Item>();
      items.add(item(m, p, "logits", logits));
      items.add(Safetensors.Item.of("input_ids", DType.I32, new int[] {input.length}, bytes(m, tokens.ids())));
      if (input.length > 1) items.add(item(m, p, "nll", nll(p, logits, input)));
      if (hidden) for (int i = 0; i < states.size(); i++) items.add(item(m, p, "hidden." + i, states.get(i)));
      Safetensors.write(out, items);
      var result = new LinkedHashMap<String, Object>();
      result.put("out", out.toString());
      result.put("tokens", input.length);
      result.put("tensors", items.stream().map(Safetensors.Item::name).toList());
      if (!main.console().json()) main.console().print(out + ": " + result.get("tensors") + " of " + input.length + " tokens\n");
      main.console().object(result);
    }
    return 0;
  }

  private int[] sequence(Opening.Opened m) {
    if (ids.isEmpty() == text.isEmpty()) throw new InvalidInput("give either --ids or --text", "logits --model DIR --ids 1,2,3 --out F");
    var input = text.map(t -> Task.withBos(m.model().tokenizer(), t)).orElseGet(() -> ids.stream().mapToInt(i -> i).toArray());
    var c = m.model().config();
    for (int id : input) if (id < 0 || id >= c.vocabulary()) throw new InvalidInput("token id " + id, "the vocabulary is 0 … " + (c.vocabulary() - 1));
    if (input.length > c.contextLength()) throw new InvalidInput("the sequence has " + input.length + " tokens, the model's context is " + c.contextLength(), "shorten it");
    return input;
  }

  private static Tensor nll(Pass p, Tensor logits, int[] input) {
    int n = input.length - 1;
    var loss = p.empty(DType.F32, n);
    var targets = Tokens.upload(p, java.util.Arrays.copyOfRange(input, 1, input.length));
    p.run(new CrossEntropy.Forward(loss, p.empty(DType.F32, n), logits.slice(0, n), targets));
    return loss;
  }

  private static Safetensors.Item item(Opening.Opened m, Pass p, String name, Tensor t) {
    var f32 = t;
    if (t.dtype() != DType.F32) {
      f32 = p.empty(DType.F32, t.shape());
      p.run(new Move.Copy(Sink.write(f32), t));
    }
    return Safetensors.Item.of(name, DType.F32, t.shape().dims(), bytes(m, f32));
  }

  private static MemorySegment bytes(Opening.Opened m, Tensor t) {
    var host = MemorySegment.ofArray(new byte[Math.toIntExact(t.bytes())]);
    m.device().download(t, host);
    return host;
  }
}
