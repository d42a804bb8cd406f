package org.llmcore.reference;

import org.llmcore.op.AdamW;
import org.llmcore.op.Attention;
import org.llmcore.op.Binary;
import org.llmcore.op.CrossEntropy;
import org.llmcore.op.Custom;
import org.llmcore.op.Dropout;
import org.llmcore.op.Embedding;
import org.llmcore.op.GradientNorm;
import org.llmcore.op.HostDevice;
import org.llmcore.op.Kernel;
import org.llmcore.op.MatMul;
import org.llmcore.op.Move;
import org.llmcore.op.QuantMatMul;
import org.llmcore.op.Reduce;
import org.llmcore.op.RmsNorm;
import org.llmcore.op.Rope;
import org.llmcore.op.Softmax;
import org.llmcore.op.SwiGlu;
import org.llmcore.op.TopK;
import org.llmcore.op.Unary;
import org.llmcore.tensor.Tensor;

/// Every kernel as naive loops in double precision: the living definition and the judge of all other devices.
public final class ReferenceDevice implements HostDevice {
  private final Cells cells;

  private ReferenceDevice(boolean exact) {
    cells = new Cells(exact);
  }

  /// Computes in f64 and stores in the tensors' dtypes.
  public ReferenceDevice() {
    this(false);
  }

  /// Computes in f64 and remembers f64 between kernels. For gradient checks on small tensors that live as long as the device.
  public static ReferenceDevice exact() {
    return new ReferenceDevice(true);
  }

  /// Element i as this device knows it.
  public double get(Tensor t, long i) {
    return cells.get(t, i);
  }

  /// Sets element i, in exact mode to all its digits.
  public void set(Tensor t, long i, double value) {
    cells.set(t, i, value);
  }

  @Override
  public String name() {
    return "reference f64";
  }

  @Override
  public void run(Kernel kernel) {
    switch (kernel) {
      case AdamW.Step k -> AdamWReference.run(cells, k);
      case Attention k -> AttentionReference.run(cells, k);
      case Binary k -> BinaryReference.run(cells, k);
      case CrossEntropy k -> CrossEntropyReference.run(cells, k);
      case Custom k -> k.run();
      case Dropout.Mask k -> DropoutReference.run(cells, k);
      case Embedding k -> EmbeddingReference.run(cells, k);
      case GradientNorm k -> GradientNormReference.run(cells, k);
      case MatMul.Product k -> MatMulReference.run(cells, k);
      case MatMul.LowRank k -> MatMulReference.run(cells, k);
      case Move k -> MoveReference.run(cells, k);
      case QuantMatMul k -> QuantMatMulReference.run(cells, k);
      case Reduce k -> ReduceReference.run(cells, k);
      case RmsNorm k -> RmsNormReference.run(cells, k);
      case Rope.Rotate k -> RopeReference.run(cells, k);
      case Softmax k -> SoftmaxReference.run(cells, k);
      case SwiGlu k -> SwiGluReference.run(cells, k);
      case TopK.Forward k -> TopKReference.run(cells, k);
      case Unary k -> UnaryReference.run(cells, k);
    }
  }
}
