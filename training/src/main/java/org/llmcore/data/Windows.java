package org.llmcore.data;

import java.util.function.Consumer;

/// Cuts a stream of documents, laid end to end, into examples of the context's length.
///
/// Neighbouring windows share one token: it is the last target of one and the first input of the next, so that each learned
/// token of the stream is learned exactly once. Windows of C tokens advance by C − 1. A window in which nothing is learned (one
/// that holds only the border between two documents) is left out.
final class Windows {
  private final int context;
  private final Consumer<Example> out;
  private final int[] ids;
  private final boolean[] learn;
  private int length;
  private boolean fresh;
  private String origin = "";

  Windows(int context, Consumer<Example> out) {
    if (context < 2) throw new IllegalArgumentException("a window of " + context + " tokens predicts nothing");
    this.context = context;
    this.out = out;
    ids = new int[context];
    learn = new boolean[context];
  }

  void add(Example document) {
    if (length == 0) origin = document.origin();
    for (int i = 0; i < document.length(); i++) {
      ids[length] = document.ids()[i];
      learn[length++] = document.learn()[i];
      fresh = true;
      if (length == context) {
        emit();
        ids[0] = ids[context - 1];
        length = 1;
        fresh = false;
        origin = document.origin();
      }
    }
  }

  /// Gives out what is left.
  void finish() {
    if (fresh && length > 1) emit();
    length = 0;
    fresh = false;
  }

  private void emit() {
    var b = new Example.Builder();
    b.given(ids[0]);
    for (int i = 1; i < length; i++) b.add(learn[i], ids[i]);
    var window = b.build(origin);
    if (window.learned() > 0) out.accept(window);
  }
}
