package org.llmcore.cpu;

import java.util.Optional;

import org.llmcore.cpu.code.GemmPacks;
import org.llmcore.tensor.DType;

/// Where a product packs rows of b from: where they lie, or, of a matrix in few bits, decoded into memory of the worker.
final class RightRows {
  private final Lanes lanes;
  private final Right b;
  private final int columns;
  private final DType decoded;
  private final Optional<RowDecoder> whole;

  /// @param decoded what few bits become: F32 or BF16
  RightRows(Lanes lanes, Gemm c, DType decoded) {
    this.lanes = lanes;
    this.decoded = decoded;
    b = c.b();
    columns = c.tb() ? c.k() : c.n();
    whole = decoded == DType.BF16 ? RowDecoder.of(lanes, b, columns) : Optional.empty();
  }

  /// Whether they are read where they lie.
  boolean inPlace() {
    return b instanceof Right.Dense;
  }

  /// For at most so many rows, a multiple of four, of at most so many elements at a time.
  Reader reader(int rows, int length, Scratch scratch) {
    return new Reader(rows, length, scratch);
  }

  /// Reads for one worker.
  final class Reader {
    private final long memory;
    private final long floats; // of one row before it is rounded
    private final long frame;

    private Reader(int rows, int length, Scratch scratch) {
      memory = inPlace() ? 0 : scratch.floats((long) rows * RowDecoder.pitch(length));
      floats = inPlace() ? 0 : scratch.floats(length);
      frame = whole.isPresent() ? scratch.floats(StreamCode.BYTES / 4) : 0;
    }

    /// Sets `FROM` and `FROM_PITCH` of a packing job to elements [from, from+length) of rows [row, row+count). What an earlier call
    /// decoded is overwritten.
    /// @return their dtype
    DType set(Job job, long row, int count, int from, int length) {
      if (b instanceof Right.Dense d) {
        set(job, RowCode.at(d.t(), row * columns + from), columns, d.t().dtype());
        return d.t().dtype();
      }
      int pitch = RowDecoder.pitch(length);
      if (whole.isPresent() && length == columns) whole.get().run(row, count, memory, frame);
      else for (int r = 0; r < count; r++) read((row + r) * columns + from, length, memory + (long) decoded.bytes() * pitch * r);
      set(job, memory, pitch, decoded);
      return decoded;
    }

    private void read(long first, int length, long to) {
      if (decoded == DType.F32) {
        b.read(lanes, first, length, to);
        return;
      }
      RowCode.convert(to, decoded, false, b.read(lanes, first, length, floats), DType.F32, length);
    }

    private static void set(Job job, long from, int pitch, DType dtype) {
      job.set(GemmPacks.FROM, from);
      job.set(GemmPacks.FROM_PITCH, (long) dtype.bytes() * pitch);
    }
  }
}
