package org.llmcore.cpu;

import org.llmcore.flags.Flags;
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

/// The CPU, through machine code of our own, the Vector API or plain Java (`Tier`). Results in f32 are the same bits for every vector width, for the scalar twin and for
/// every number of workers (the rules of `Kernel`).
public final class CpuDevice implements HostDevice {
  private final Lanes lanes;
  private final Workers workers;
  private final Scratch shared = new Scratch();
  private final Scratch rounded = new Scratch();

  /// @param tier the loops to run
  /// @param workers threads, the caller included
  public CpuDevice(Tier tier, int workers) {
    this.lanes = new Lanes(tier);
    this.workers = new Workers(workers);
  }

  /// The device the environment asks for, or the scalar twin.
  public CpuDevice(boolean vector, int workers) {
    this(vector ? Tier.open() : Tier.SCALAR, workers);
  }

  /// The device the environment asks for: LLM_CPU_TIER, LLM_THREADS.
  public static CpuDevice open() {
    return open(Flags.threads());
  }

  /// The device the environment asks for, with this many workers.
  public static CpuDevice open(int workers) {
    return new CpuDevice(Tier.open(), workers);
  }

  @Override
  public String name() {
    var tier =
        switch (lanes.tier()) {
          case SCALAR -> "scalar";
          case VECTOR -> "vector " + 32 * Lanes.N + " bit";
          case AVX512 -> "avx512";
          case AVX512BF16 -> "avx512 + bf16";
          case AMX -> "avx512 + amx";
        };
    return "cpu " + tier + ", " + workers.count() + (workers.count() == 1 ? " worker" : " workers");
  }

  @Override
  public void run(Kernel kernel) {
    switch (kernel) {
      case AdamW.Step k -> AdamWCpu.run(lanes, workers, k);
      case Attention k -> AttentionCpu.run(lanes, workers, k);
      case Binary k -> BinaryCpu.run(lanes, workers, k);
      case CrossEntropy k -> CrossEntropyCpu.run(lanes, workers, k);
      case Custom k -> k.run();
      case Dropout.Mask k -> DropoutCpu.run(lanes, workers, k);
      case Embedding k -> EmbeddingCpu.run(lanes, workers, k);
      case GradientNorm k -> GradientNormCpu.run(lanes, workers, k);
      case MatMul.Product k -> MatMulCpu.run(lanes, workers, Gemm.of(k), shared);
      case MatMul.LowRank k -> MatMulCpu.run(lanes, workers, Gemm.of(k), shared);
      case Move k -> MoveCpu.run(lanes, workers, k);
      case QuantMatMul k -> QuantMatMulCpu.run(lanes, workers, k, shared, rounded);
      case Reduce k -> ReduceCpu.run(lanes, workers, k);
      case RmsNorm k -> RmsNormCpu.run(lanes, workers, k);
      case Rope.Rotate k -> RopeCpu.run(lanes, workers, k);
      case Softmax k -> SoftmaxCpu.run(lanes, workers, k);
      case SwiGlu k -> SwiGluCpu.run(lanes, workers, k);
      case TopK.Forward k -> TopKCpu.run(lanes, workers, k);
      case Unary k -> UnaryCpu.run(lanes, workers, k);
    }
  }

  @Override
  public void close() {
    workers.close();
    shared.close();
    rounded.close();
  }
}
