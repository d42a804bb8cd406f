package org.llmcore.cpu;

import org.llmcore.cpu.code.Assembler;
import org.llmcore.cpu.code.Condition;
import org.llmcore.cpu.code.Label;
import org.llmcore.cpu.code.Loop;
import org.llmcore.cpu.code.Routines;
import org.llmcore.op.Embedding;

import static org.llmcore.cpu.RowCode.bit;
import static org.llmcore.cpu.RowCode.dtype;
import static org.llmcore.cpu.code.Gpr.*;
import static org.llmcore.cpu.code.Vec.zmm;

/// `Embedding` as machine code: all rows of a task in one call.
final class EmbeddingCode {
  private static final Routines FORWARD = new Routines(4, EmbeddingCode::forward);
  private static final Routines BACKWARD = new Routines(4, EmbeddingCode::backward);

  private EmbeddingCode() {}

  static void forward(Embedding.Forward k, long from, long to) {
    int n = k.table().columns();
    FORWARD.get(bit(k.y().dtype()) | bit(k.table().dtype()) << 1)
        .run(RowCode.at(k.y(), from * n), k.table().address(), RowCode.at(k.ids(), from), to - from, n);
  }

  /// Adds the rows of dy whose id is `residue` modulo `EmbeddingCpu.CLASSES`, a power of two.
  static void backward(Embedding.Backward k, int residue) {
    var table = k.dtable().tensor();
    if (k.ids().elements() == 0) return;
    BACKWARD.get(bit(table.dtype()) | bit(k.dy().dtype()) << 1)
        .run(table.address(), k.dy().address(), k.ids().address(), k.ids().elements(), table.columns(), residue);
  }

  private static Assembler forward(int variant) {
    var c = new Loop();
    var a = c.a;
    var y = dtype(variant);
    var table = dtype(variant >> 1);
    c.narrows(y);
    var token = a.here();
    a.mov32(R9, RDX.at(0));
    a.imul(R9, R8);
    a.lea(R9, RSI.at(R9, table.bytes(), 0)); // the row of the table
    c.begin(R8);
    do {
      c.load(zmm(0), R9, table);
      c.store(RDI, y, false, zmm(0), zmm(1));
    } while (c.again());
    a.lea(RDI, RDI.at(R8, y.bytes(), 0));
    a.add(RDX, 4);
    a.dec(RCX);
    a.j(Condition.NOT_EQUAL, token);
    return c.end();
  }

  private static Assembler backward(int variant) {
    var c = new Loop();
    var a = c.a;
    var table = dtype(variant);
    var dy = dtype(variant >> 1);
    var next = new Label();
    c.narrows(table);
    a.push(RBX);
    var token = a.here();
    a.mov32(RBX, RDX.at(0));
    a.mov(RAX, RBX);
    a.and(RAX, EmbeddingCpu.CLASSES - 1);
    a.cmp(RAX, R9);
    a.j(Condition.NOT_EQUAL, next);
    a.imul(RBX, R8);
    a.lea(RBX, RDI.at(RBX, table.bytes(), 0)); // the row of the table
    c.begin(R8);
    do {
      c.load(zmm(0), RSI, dy);
      c.store(RBX, table, true, zmm(0), zmm(1));
    } while (c.again());
    a.bind(next);
    a.lea(RSI, RSI.at(R8, dy.bytes(), 0));
    a.add(RDX, 4);
    a.dec(RCX);
    a.j(Condition.NOT_EQUAL, token);
    a.pop(RBX);
    return c.end();
  }
}
