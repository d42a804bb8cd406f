package org.llmcore.cli;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;
import java.util.Locale;

import org.llmcore.InvalidInput;

/// How an exception ends the program: what the user can mend gives a message and code 2, what we broke gives a sentence and code 1.
///
/// | exception                                        | code | said                                              |
/// |--------------------------------------------------|------|---------------------------------------------------|
/// | `InvalidInput`                                   | 2    | its message and hint                              |
/// | no such file, no permission, a full disk         | 2    | the path and what is wrong with it                |
/// | `OutOfMemoryError`                               | 2    | that memory was short, and what needs less        |
/// | `Console.Closed`                                 | 141  | nothing: 128 + SIGPIPE, as a shell would report   |
/// | all else                                         | 1    | type and message; the stack trace with LLM_DEBUG  |
record Failure(int code, String message) {
  static final int OURS = 1;
  static final int USAGE = 2;
  private static final int HUNG_UP = 141;

  static Failure of(Throwable thrown) {
    for (Throwable t = thrown; t != null; t = t.getCause()) {
      if (t instanceof InvalidInput input) return new Failure(USAGE, input.getMessage());
    }
    Throwable cause = thrown instanceof UncheckedIOException io ? io.getCause() : thrown;
    return switch (cause) {
      case Console.Closed _ -> new Failure(HUNG_UP, "");
      case NoSuchFileException e -> new Failure(USAGE, "there is no file " + e.getFile() + hint("check the path; it is read from the current folder"));
      case AccessDeniedException e -> new Failure(USAGE, "no permission for " + e.getFile() + hint("check the owner and mode of the file and its folder"));
      case FileAlreadyExistsException e -> new Failure(USAGE, e.getFile() + " exists already" + hint("name another place, or move it away"));
      case FileSystemException e when full(e) -> new Failure(USAGE, "no space left for " + e.getFile() + hint("free some space; what was saved before is intact"));
      case IOException e when full(e) -> new Failure(USAGE, "no space left on the disk" + hint("free some space; what was saved before is intact"));
      case OutOfMemoryError e -> new Failure(USAGE, "out of memory: " + e.getMessage() + hint("a smaller microBatch or context needs less; LLM_JAVA_OPTIONS=-Xmx4g gives more"));
      default -> new Failure(OURS, "internal error: " + cause + hint("set LLM_DEBUG=1 for the stack trace, and please report it"));
    };
  }

  private static boolean full(IOException e) {
    String reason = e instanceof FileSystemException f && f.getReason() != null ? f.getReason() : String.valueOf(e.getMessage());
    String lower = reason.toLowerCase(Locale.ROOT);
    return lower.contains("no space left") || lower.contains("not enough space") || lower.contains("quota exceeded");
  }

  private static String hint(String text) {
    return "\n  ---> " + text;
  }
}
