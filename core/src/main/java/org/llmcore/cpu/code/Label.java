package org.llmcore.cpu.code;

import java.util.ArrayList;
import java.util.List;

/// A place in the code that jumps can name before or after it is known.
public final class Label {
  /// Where it is, −1 until `Assembler.bind`.
  int place = -1;

  /// Ends of the 32-bit distances that wait for it.
  final List<Integer> waiting = new ArrayList<>();
}
