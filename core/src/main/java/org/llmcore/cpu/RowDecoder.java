package org.llmcore.cpu;

import java.lang.invoke.MethodHandle;
import java.util.Optional;

import org.llmcore.cpu.StreamCode.Use;
import org.llmcore.tensor.DType;

/// Whole rows of a matrix in few bits as bf16 in memory, by the code that decodes them in products of few rows (`StreamCode`): what
/// `Right.read` gives, rounded once, denormals to 0.
final class RowDecoder {
  private final Right b;
  private final int columns;
  private final StreamForm form;
  private final MethodHandle function;

  private RowDecoder(Right b, int columns, StreamForm form) {
    this.b = b;
    this.columns = columns;
    this.form = form;
    function = StreamGemm.function(form, Use.STORE);
  }

  /// The code for rows of so many columns, if there is some.
  static Optional<RowDecoder> of(Lanes lanes, Right b, int columns) {
    if (!lanes.emitted() || b instanceof Right.Dense) return Optional.empty();
    return StreamGemm.form(b).map(form -> new RowDecoder(b, columns, form));
  }

  /// Elements from row to row where rows go: each may overwrite what follows it.
  static int pitch(int columns) {
    return columns + Rows.PARTIALS - 1 & -Rows.PARTIALS;
  }

  /// Rows [row, row+count), `pitch` elements apart. Where count is no multiple of four, up to three rows after them are overwritten.
  /// @param at room for the frame of `StreamCode`
  void run(long row, int count, long address, long at) {
    long pitch = (long) DType.BF16.bytes() * pitch(columns);
    int strips = count / 4;
    if (strips > 0) call(at, row, 4, strips, address, pitch);
    if (count % 4 > 0) call(at, row + 4L * strips, count % 4, 1, address + 4 * strips * pitch, pitch);
  }

  private void call(long at, long row, int width, int strips, long address, long pitch) {
    var frame = Job.ofBytes(StreamCode.VECTORS);
    frame.set(StreamCode.X, address);
    frame.set(StreamCode.X_PITCH, strips * pitch);
    frame.set(StreamCode.Y_PITCH, pitch);
    frame.set(StreamCode.STRIPS, strips);
    StreamGemm.columns(frame, form, columns);
    form.bind(frame, b, row, width, strips);
    GemmCode.call(function, frame.at(at));
  }
}
