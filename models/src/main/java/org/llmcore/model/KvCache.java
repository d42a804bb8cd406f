package org.llmcore.model;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;

import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.op.Pass;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// Keys and values of all layers in pages of a fixed number of tokens (Kwon et al. 2023, arXiv:2309.06180). A sequence owns
/// a list of pages, in the same order in every layer; pages go back to the pool when it ends.
///
/// | tensor          | shape     |
/// |-----------------|-----------|
/// | keys(l), values(l) | (P,L,G,D) |
///
/// Bytes: 2 · layers · P · L · G · D · dtype.
public final class KvCache {
  private final int pageLength;
  private final List<Tensor> keys = new ArrayList<>();
  private final List<Tensor> values = new ArrayList<>();
  private final Deque<Integer> free = new ArrayDeque<>();

  /// Carves `pages` pages of `pageLength` tokens for every layer.
  public KvCache(Region region, LlamaConfig config, DType dtype, int pages, int pageLength) {
    this.pageLength = pageLength;
    var shape = Shape.of(pages, pageLength, config.kvHeads(), config.headDim());
    for (int i = 0; i < config.layers(); i++) {
      keys.add(region.carve(dtype, shape));
      values.add(region.carve(dtype, shape));
    }
    for (int i = 0; i < pages; i++) free.add(i);
  }

  Tensor keys(int layer) {
    return keys.get(layer);
  }

  Tensor values(int layer) {
    return values.get(layer);
  }

  /// Pages nobody owns.
  public int freePages() {
    return free.size();
  }

  /// Tokens per page.
  public int pageLength() {
    return pageLength;
  }

  /// A sequence and the pages it owns.
  public final class Sequence implements AutoCloseable {
    private final List<Integer> pages = new ArrayList<>();
    private int length;

    private Sequence() {}

    /// Tokens stored.
    public int length() {
      return length;
    }

    private void grow(int tokens) {
      while (pages.size() * pageLength < length + tokens) {
        var page = free.poll();
        if (page == null) throw new IllegalStateException("the key/value cache is full: " + keys.getFirst().dim(0) + " pages of " + pageLength + " tokens");
        pages.add(page);
      }
      length += tokens;
    }

    /// Gives its pages back.
    @Override
    public void close() {
      free.addAll(pages);
      pages.clear();
      length = 0;
    }
  }

  /// A new, empty sequence.
  public Sequence open() {
    return new Sequence();
  }

  /// Where the tokens of one forward pass go and what they see, as `Attention.Store` and `Attention.Decode` read it.
  public record Step(Tensor slots, Tensor blocks, Tensor starts, Tensor lengths) {}

  /// Appends `counts[i]` tokens to `sequences[i]` and describes the step.
  public Step append(Pass p, List<Sequence> sequences, int[] counts) {
    int rows = 0;
    int width = 1;
    for (int s = 0; s < counts.length; s++) {
      sequences.get(s).grow(counts[s]);
      rows += counts[s];
      width = Math.max(width, sequences.get(s).pages.size());
    }
    var slots = new int[rows];
    var blocks = new int[counts.length * width];
    var starts = new int[counts.length + 1];
    var lengths = new int[counts.length];
    for (int s = 0; s < counts.length; s++) {
      var sequence = sequences.get(s);
      starts[s + 1] = starts[s] + counts[s];
      lengths[s] = sequence.length;
      for (int b = 0; b < sequence.pages.size(); b++) blocks[s * width + b] = sequence.pages.get(b);
      for (int i = 0; i < counts[s]; i++) {
        int at = sequence.length - counts[s] + i;
        slots[starts[s] + i] = sequence.pages.get(at / pageLength) * pageLength + at % pageLength;
      }
    }
    return new Step(
        Tokens.upload(p, slots), Tokens.upload(p, blocks).reshape(counts.length, width), Tokens.upload(p, starts), Tokens.upload(p, lengths));
  }
}
