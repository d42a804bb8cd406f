package org.llmcore.cpu;

import org.llmcore.cpu.code.Loads;
import org.llmcore.tensor.DType;

/// Dense rows of W in f32, bf16 (the upper half of an f32) or f16, 64 columns a round.
record DenseStream(DType dtype) implements StreamForm {
  @Override
  public int unit() {
    return 64;
  }

  @Override
  public int bytes() {
    return 64 * dtype.bytes();
  }

  @Override
  public void rest(StreamCode s) {
    s.tails();
  }

  @Override
  public void row(StreamCode s, int r) {
    for (int v = 0; v < 4; v++) {
      s.vector(v);
      var to = StreamForm.z(24 + v);
      Loads.load(s.a, s.masked(to), s.w(r, 16 * dtype.bytes() * v), dtype);
      s.use(r, v, to);
    }
  }

  @Override
  public void bind(Job frame, Right b, long row, int width, int apart) {
    StreamGemm.rows(frame, b, row, width, apart);
  }
}
