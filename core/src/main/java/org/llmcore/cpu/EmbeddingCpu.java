package org.llmcore.cpu;

import org.llmcore.op.Embedding;
import org.llmcore.tensor.Memory;
import org.llmcore.tensor.Tensor;

/// `Embedding` on the CPU. y is split by tokens. dtable is split by table rows, in classes of row numbers modulo `CLASSES`,
/// because frequent ids are small and neighbours; each task walks all ids and adds those of its class.
final class EmbeddingCpu {
  static final int CLASSES = 16;

  private EmbeddingCpu() {}

  static void run(Lanes lanes, Workers workers, Embedding kernel) {
    switch (kernel) {
      case Embedding.Forward k -> {
        check(k.ids(), k.table().dim(0));
        int n = k.table().columns();
        Rows.split(
            lanes, workers, k.ids().elements(), n,
            (from, to, s) -> {
              if (lanes.emitted() && RowCode.reads(k.y(), k.table())) {
                EmbeddingCode.forward(k, from, to);
                return;
              }
              long staged = s.floats(n);
              long ids = k.ids().address();
              for (long t = from; t < to; t++) {
                Rows.write(lanes, k.y(), t * n, n, Rows.read(lanes, k.table(), (long) Memory.i32(ids + 4 * t) * n, n, staged));
              }
            });
      }
      case Embedding.Backward k -> {
        if (!k.dtable().wanted()) return;
        check(k.ids(), k.dtable().tensor().dim(0));
        if (!k.dtable().add()) MoveCpu.fill(lanes, workers, k.dtable().tensor(), 0);
        workers.run(CLASSES, (task, s) -> backward(lanes, k, task, s));
      }
    }
  }

  private static void backward(Lanes lanes, Embedding.Backward k, int residue, Scratch scratch) {
    var table = k.dtable().tensor();
    if (lanes.emitted() && RowCode.reads(table, k.dy())) {
      EmbeddingCode.backward(k, residue);
      return;
    }
    int n = table.columns();
    long stagedDy = scratch.floats(n);
    long stagedRow = scratch.floats(n);
    long ids = k.ids().address();
    for (long t = 0; t < k.ids().elements(); t++) {
      int id = Memory.i32(ids + 4 * t);
      if (id % CLASSES != residue) continue;
      long sum = Rows.read(lanes, table, (long) id * n, n, stagedRow);
      Rows.add(lanes, sum, Rows.read(lanes, k.dy(), t * n, n, stagedDy), n);
      Rows.write(lanes, table, (long) id * n, n, sum);
    }
  }

  private static void check(Tensor ids, int rows) {
    long a = ids.address();
    for (long i = 0; i < ids.elements(); i++) {
      int id = Memory.i32(a + 4 * i);
      if (id < 0 || id >= rows) {
        throw new IllegalArgumentException("id %d at index %d is outside the table of %d rows".formatted(id, i, rows));
      }
    }
  }
}
