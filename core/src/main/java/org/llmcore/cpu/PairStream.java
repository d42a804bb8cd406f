package org.llmcore.cpu;

/// Dense rows of W in bf16 for rows of x in bf16, 64 pairs of columns a round.
record PairStream() implements StreamForm {
  private static final int BYTES = 4; // of a pair

  @Override
  public int unit() {
    return 64;
  }

  @Override
  public int bytes() {
    return unit() * BYTES;
  }

  @Override
  public boolean ragged() {
    return true;
  }

  @Override
  public void row(StreamCode s, int r) {
    for (int v = 0; v < 4; v++) {
      s.vector(v);
      var to = StreamForm.z(24 + v);
      s.a.vmovups(s.masked(to), s.w(r, 64 * v));
      s.usePairs(r, v, to);
    }
  }

  @Override
  public void bind(Job frame, Right b, long row, int width, int apart) {
    StreamGemm.rows(frame, b, row, width, apart);
  }
}
