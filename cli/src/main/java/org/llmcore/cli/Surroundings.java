package org.llmcore.cli;

import java.io.BufferedOutputStream;
import java.io.File;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

/// The streams the program talks to and what is known about them.
///
/// @param outTerminal whether a person watches `out`
/// @param errTerminal whether a person watches `err`
/// @param columns width of the terminal in characters
/// @param plain whether the user asked every program for colourless output (https://no-color.org)
public record Surroundings(PrintStream out, boolean outTerminal, PrintStream err, boolean errTerminal, int columns, boolean plain) {
  private static final int USUAL_COLUMNS = 100;

  /// This process, as the launcher found it: `llm.terminals` lists the descriptors that are terminals, `llm.columns` the width,
  /// and `llm.stderr` is the true standard error, which from here on is `System.err` again. Text is UTF-8, but for Windows'
  /// console, which has a code page of its own.
  public static Surroundings ofProcess() {
    String terminals = System.getProperty("llm.terminals", "");
    var charset = File.separatorChar == '\\' ? System.out.charset() : StandardCharsets.UTF_8;
    var out = new PrintStream(new BufferedOutputStream(new FileOutputStream(FileDescriptor.out), 1 << 13), false, charset);
    var error = new FileOutputStream(FileDescriptor.err);
    String path = System.getProperty("llm.stderr", "");
    if (!path.isEmpty()) {
      try {
        error = new FileOutputStream(path, true);
      } catch (IOException closed) {
        // The descriptor lent by the launcher stays in use: it shows what was written there when we end.
        error = new FileOutputStream(FileDescriptor.err);
      }
    }
    var err = new PrintStream(error, true, charset);
    System.setErr(err);
    int columns = Integer.getInteger("llm.columns", 0);
    String noColor = System.getenv("NO_COLOR");
    return new Surroundings(
        out, terminals.contains("1"), err, terminals.contains("2"), columns > 0 ? columns : USUAL_COLUMNS, noColor != null && !noColor.isEmpty());
  }
}
