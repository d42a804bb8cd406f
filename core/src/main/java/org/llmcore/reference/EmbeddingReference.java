package org.llmcore.reference;

import org.llmcore.op.Embedding;
import org.llmcore.op.Sink;

/// Rows of a table, and their gradients added where they came from.
final class EmbeddingReference {
  private EmbeddingReference() {}

  static void run(Cells c, Embedding kernel) {
    switch (kernel) {
      case Embedding.Forward k -> {
        int width = k.table().columns();
        int rows = k.table().dim(0);
        for (int t = 0; t < k.ids().elements(); t++) {
          for (int i = 0; i < width; i++) c.set(k.y(), (long) t * width + i, c.get(k.table(), (long) c.index(k.ids(), t, rows) * width + i));
        }
      }
      case Embedding.Backward k -> {
        if (!k.dtable().wanted()) return;
        var table = k.dtable().tensor();
        int width = table.columns();
        int rows = table.dim(0);
        if (!k.dtable().add()) for (long i = 0; i < table.elements(); i++) c.set(table, i, 0);
        for (int t = 0; t < k.ids().elements(); t++) {
          for (int i = 0; i < width; i++) c.put(Sink.add(table), (long) c.index(k.ids(), t, rows) * width + i, c.get(k.dy(), (long) t * width + i));
        }
      }
    }
  }
}
