package org.llmcore.convert;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.FileOutput;
import org.llmcore.gguf.GgufType;
import org.llmcore.gguf.LlamaNames;
import org.llmcore.quant.BlockCodes;

/// Moves the tensors of a source into a file, some rows at a time.
final class Writing {
  /// Hears how many bytes of how many are written; may throw to stop.
  interface Listener {
    Listener NONE = (_, _) -> {};

    void written(long bytes, long all);
  }

  private final Source source;
  private final boolean neighbours;
  private final Listener listener;
  private final long all;
  private long done;

  /// @param neighbours whether rows of q and k go into the order of neighbours
  /// @param all bytes there will be
  Writing(Source source, boolean neighbours, long all, Listener listener) {
    this.source = source;
    this.neighbours = neighbours;
    this.all = all;
    this.listener = listener;
  }

  /// Appends a tensor. What is stored in the type already is copied, bytes as they are.
  void write(Part part, GgufType type, FileOutput out) {
    int heads = neighbours ? LlamaNames.heads(part.name(), source.config()) : 0;
    boolean kept = source.type(part).filter(type::equals).isPresent();
    var values = kept ? new float[0] : new float[part.stretch() * part.columns()];
    for (int r = 0; r < part.rows(); r += part.stretch()) {
      int to = Math.min(part.rows(), r + part.stretch());
      if (kept) for (int i = r; i < to; i++) out.bytes(source.row(part, from(part, i, heads)));
      else make(part, type, r, to, heads, values, out);
      done += (to - r) * type.bytes(part.columns());
      listener.written(done, all);
    }
  }

  private static int from(Part part, int r, int heads) {
    return heads == 0 ? r : LlamaNames.halves(r, part.rows() / heads);
  }

  private void make(Part part, GgufType type, int r, int to, int heads, float[] values, FileOutput out) {
    if (heads == 0) source.read(part, r, to, values);
    else gather(part, r, to, heads, values);
    int n = (to - r) * part.columns();
    try {
      if (type.dtype().isPresent()) out.floats(type.dtype().get(), values, n);
      else out.bytes(BlockCodes.encode(type.blocks().orElseThrow(), values, n));
    } catch (ArithmeticException | InvalidInput e) {
      throw new InvalidInput("tensor " + part.name() + " cannot be stored as " + type + ": " + e.getMessage()
          .replaceAll("\n.*", ""), "choose bf16 or f32");
    }
  }

  private void gather(Part part, int r, int to, int heads, float[] values) {
    var row = new float[part.columns()];
    for (int i = r; i < to; i++) {
      int h = from(part, i, heads);
      source.read(part, h, h + 1, row);
      System.arraycopy(row, 0, values, (i - r) * part.columns(), part.columns());
    }
  }
}
