package org.llmcore.cpu;

import org.llmcore.cpu.code.Condition;
import org.llmcore.cpu.code.Label;

import static org.llmcore.cpu.code.Gpr.R12;
import static org.llmcore.cpu.code.Gpr.R8;
import static org.llmcore.cpu.code.Gpr.RDI;
import static org.llmcore.cpu.code.Gpr.RSI;

/// Dense rows of W in bf16 for rows of x in bf16, by pairs of terms; a multiple of four pairs a row. A register holds four pairs of each of
/// four rows of W, and the sums of four rows are one register.
record PairStream() implements StreamForm {
  private static final int QUARTER = 16; // bytes of four pairs

  @Override
  public int unit() {
    return 32;
  }

  @Override
  public int bytes() {
    return 128;
  }

  @Override
  public boolean shared() {
    return true;
  }

  @Override
  public void strip(StreamCode s) {
    for (int at = 0; at < bytes(); at += QUARTER) pairs(s, at);
  }

  private static void pairs(StreamCode s, int at) {
    StreamPairs.multiply(s, at, r -> s.w(r, at));
  }

  @Override
  public void row(StreamCode s, int r) {
    throw new IllegalStateException("rows are taken together");
  }

  @Override
  public void rest(StreamCode s) {
    var done = new Label();
    s.a.mov(R12, RDI.at(StreamCode.TAIL));
    s.a.test(R12, R12);
    s.a.j(Condition.EQUAL, done);
    var again = s.a.here();
    pairs(s, 0);
    s.a.add(R8, QUARTER);
    s.a.add(RSI, QUARTER);
    s.a.sub(R12, 4);
    s.a.j(Condition.NOT_EQUAL, again);
    s.a.bind(done);
  }

  @Override
  public void bind(Job frame, Right b, long row, int width, int apart) {
    StreamGemm.rows(frame, b, row, width, apart);
  }
}
