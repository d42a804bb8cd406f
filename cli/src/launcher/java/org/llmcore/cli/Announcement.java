package org.llmcore.cli;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;

/**
 * The one line by which the virtual machine announces incubator modules, taken out of what a child writes to standard error;
 * every other byte passes as soon as it comes, so that progress bars move.
 */
final class Announcement extends Thread {
  private static final byte[] LINE = "WARNING: Using incubator modules: jdk.incubator.vector".getBytes(StandardCharsets.US_ASCII);

  private final InputStream in;
  private final OutputStream out;

  Announcement(InputStream in, OutputStream out) {
    this.in = in;
    this.out = out;
    setDaemon(true);
  }

  @Override
  public void run() {
    try {
      copy(in, out);
    } catch (IOException closed) {
      // The child or the reader is gone: there is nobody left to tell.
    }
  }

  /** Copies `in` to `out`, leaving the line out where a line begins with it; flushes whenever nothing more is waiting. */
  static void copy(InputStream in, OutputStream out) throws IOException {
    int matched = 0; // bytes of LINE seen since the line began, -1 in the rest of a line that is another one
    boolean skipping = false;
    for (int b = in.read(); b >= 0; b = in.read()) {
      if (skipping) {
        if (b == '\n') {
          skipping = false;
          matched = 0;
        }
      } else if (matched >= 0 && b == LINE[matched]) {
        if (++matched == LINE.length) skipping = true;
      } else {
        if (matched > 0) out.write(LINE, 0, matched);
        out.write(b);
        matched = b == '\n' || b == '\r' ? 0 : -1;
      }
      if (in.available() == 0) out.flush();
    }
    if (!skipping && matched > 0) out.write(LINE, 0, matched);
    out.flush();
  }
}
