package org.llmcore.op;

import java.util.ArrayList;
import java.util.stream.IntStream;

import org.llmcore.tensor.DType;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// The plain tensor algebra, bound to a pass: what one writes on paper, each line with its gradient.
///
///     var t = new Algebra(p);
///     var h = t.tanh(t.add(t.matmul(x, w1), b1));
///
/// | family     | functions                                                                      | kernels      |
/// |------------|--------------------------------------------------------------------------------|--------------|
/// | arithmetic | add sub mul div, tensors or scalars on either side, NumPy broadcasting          | Binary       |
/// | functions  | neg exp log sqrt square tanh sigmoid relu silu gelu geluTanh                    | Unary        |
/// | reductions | sum mean max, along an axis (it stays with size 1) or over all (a scalar)       | Reduce       |
/// | rows       | softmax logSoftmax layerNorm over the last axis, crossEntropy                   | composed     |
/// | products   | matmul, batched, either side transposed                                         | MatMul       |
/// | shape      | transpose permute reshape slice concat gather cast                              | Move         |
///
/// Everything here is composed of first-class operators; a function of your own is a static method of the same kind, and its
/// gradient follows. Results have the dtype of the first operand; each step rounds to it. The fused operators of a decoder
/// (`RmsNorm`, `Attention`, `SwiGlu`, `CrossEntropy.linear`) take the same pass.
///
/// @param pass where results are carved and, in training, remembered
public record Algebra(Pass pass) {
  public Tensor add(Tensor a, Tensor b) {
    return Binary.apply(pass, a, b, Binary.Function.ADD);
  }

  public Tensor sub(Tensor a, Tensor b) {
    return Binary.apply(pass, a, b, Binary.Function.SUB);
  }

  public Tensor mul(Tensor a, Tensor b) {
    return Binary.apply(pass, a, b, Binary.Function.MUL);
  }

  public Tensor div(Tensor a, Tensor b) {
    return Binary.apply(pass, a, b, Binary.Function.DIV);
  }

  public Tensor add(Tensor a, float b) {
    return add(a, scalar(b));
  }

  public Tensor sub(Tensor a, float b) {
    return sub(a, scalar(b));
  }

  public Tensor mul(Tensor a, float b) {
    return mul(a, scalar(b));
  }

  public Tensor div(Tensor a, float b) {
    return div(a, scalar(b));
  }

  /// a − b.
  public Tensor sub(float a, Tensor b) {
    return add(neg(b), a);
  }

  /// a / b.
  public Tensor div(float a, Tensor b) {
    return div(full(b.dtype(), b.shape(), a), b);
  }

  public Tensor neg(Tensor x) {
    return Unary.apply(pass, x, Unary.Function.NEG);
  }

  public Tensor exp(Tensor x) {
    return Unary.apply(pass, x, Unary.Function.EXP);
  }

  public Tensor log(Tensor x) {
    return Unary.apply(pass, x, Unary.Function.LOG);
  }

  public Tensor sqrt(Tensor x) {
    return Unary.apply(pass, x, Unary.Function.SQRT);
  }

  public Tensor square(Tensor x) {
    return Unary.apply(pass, x, Unary.Function.SQUARE);
  }

  public Tensor tanh(Tensor x) {
    return Unary.apply(pass, x, Unary.Function.TANH);
  }

  public Tensor sigmoid(Tensor x) {
    return Unary.apply(pass, x, Unary.Function.SIGMOID);
  }

  public Tensor relu(Tensor x) {
    return Unary.apply(pass, x, Unary.Function.RELU);
  }

  public Tensor silu(Tensor x) {
    return Unary.apply(pass, x, Unary.Function.SILU);
  }

  /// The exact form, x·Φ(x).
  public Tensor gelu(Tensor x) {
    return Unary.apply(pass, x, Unary.Function.GELU);
  }

  /// The approximation ½x(1 + tanh(√(2/π)(x + 0.044715x³))) that GPT-2 was trained with.
  public Tensor geluTanh(Tensor x) {
    var inner = mul(mul(x, add(mul(square(x), 0.044715f), 1)), (float) Math.sqrt(2 / Math.PI));
    return mul(mul(x, 0.5f), add(tanh(inner), 1));
  }

  /// Along an axis, which stays with size 1.
  public Tensor sum(Tensor x, int axis) {
    return Reduce.apply(pass, x, axis, Reduce.Function.SUM);
  }

  /// Along an axis, which stays with size 1.
  public Tensor mean(Tensor x, int axis) {
    return Reduce.apply(pass, x, axis, Reduce.Function.MEAN);
  }

  /// Along an axis, which stays with size 1; the gradient goes to the first of equal elements.
  public Tensor max(Tensor x, int axis) {
    return Reduce.apply(pass, x, axis, Reduce.Function.MAX);
  }

  /// Over all elements: a scalar.
  public Tensor sum(Tensor x) {
    return sum(flat(x), 0).reshape();
  }

  /// Over all elements: a scalar.
  public Tensor mean(Tensor x) {
    return mean(flat(x), 0).reshape();
  }

  /// Over all elements: a scalar.
  public Tensor max(Tensor x) {
    return max(flat(x), 0).reshape();
  }

  /// Over the last axis.
  public Tensor softmax(Tensor x) {
    return Softmax.apply(pass, x, false);
  }

  /// Over the last axis.
  public Tensor logSoftmax(Tensor x) {
    return Softmax.apply(pass, x, true);
  }

  /// (x − mean) / √(variance + eps) · w + b over the last axis (Ba, Kiros & Hinton 2016, arXiv:1607.06450, eq. 4); the variance
  /// is the mean square of the deviations.
  public Tensor layerNorm(Tensor x, Tensor w, Tensor b, float eps) {
    var centred = sub(x, mean(x, -1)); // (…,C)
    var rstd = Unary.apply(pass, add(mean(square(centred), -1), eps), Unary.Function.RSQRT); // (…,1)
    return add(mul(mul(centred, rstd), w), b);
  }

  /// Loss per token (T) of logits (T,V) in nats; 0 where the target is `CrossEntropy.IGNORE`.
  public Tensor crossEntropy(Tensor logits, Tensor targets) {
    return CrossEntropy.apply(pass, logits, targets);
  }

  /// a·b over the last two dimensions; leading dimensions are equal, or b is one matrix for all.
  public Tensor matmul(Tensor a, Tensor b) {
    return matmul(a, b, false, false);
  }

  /// The same with aᵀ for a where `ta`, bᵀ for b where `tb`.
  public Tensor matmul(Tensor a, Tensor b, boolean ta, boolean tb) {
    boolean stack = ta && a.shape().rank() > 2 && b.shape().rank() == 2; // transposed one by one before they are one tall matrix
    return stack ? MatMul.apply(pass, transpose(a), b, false, tb) : MatMul.apply(pass, a, b, ta, tb);
  }

  /// The last two axes exchanged.
  public Tensor transpose(Tensor x) {
    return transpose(x, -2, -1);
  }

  /// Two axes exchanged.
  public Tensor transpose(Tensor x, int a, int b) {
    var axes = IntStream.range(0, x.shape().rank()).toArray();
    axes[x.shape().axis(a)] = x.shape().axis(b);
    axes[x.shape().axis(b)] = x.shape().axis(a);
    return permute(x, axes);
  }

  /// Axes in another order: dimension d of the result is dimension `axes[d]` of x.
  public Tensor permute(Tensor x, int... axes) {
    return Move.permute(pass, x, axes);
  }

  /// The same elements under another shape; nothing is copied.
  public Tensor reshape(Tensor x, int... dims) {
    return x.reshape(dims);
  }

  /// The window [from, to) along an axis.
  public Tensor slice(Tensor x, int axis, int from, int to) {
    return Move.take(pass, x, axis, from, to);
  }

  /// Tensors one after another along an axis.
  public Tensor concat(int axis, Tensor... parts) {
    return Move.concat(pass, axis, parts);
  }

  /// Rows of x (V,…) by index (…): the dimensions of `ids`, then those of a row.
  public Tensor gather(Tensor x, Tensor ids) {
    return gather(x, 0, ids);
  }

  /// Along any axis, whose place the dimensions of `ids` take: `y[i…, j…, k…] = x[i…, ids[j…], k…]`.
  public Tensor gather(Tensor x, int axis, Tensor ids) {
    int a = x.shape().axis(axis);
    int rank = x.shape().rank();
    var front = new ArrayList<Integer>(); // the gathered axis, then the others
    front.add(a);
    for (int d = 0; d < rank; d++) if (d != a) front.add(d);
    var first = a == 0 ? x : permute(x, front.stream().mapToInt(d -> d).toArray());
    int rows = first.dim(0);
    var y = Embedding.apply(pass, ids, first.reshape(rows, Math.toIntExact(x.elements() / Math.max(1, rows))), x.dtype());
    int inserted = ids.shape().rank();
    var dims = new int[inserted + rank - 1];
    for (int d = 0; d < dims.length; d++) dims[d] = d < inserted ? ids.dim(d) : first.dim(d - inserted + 1);
    var gathered = y.reshape(dims);
    if (a == 0) return gathered;
    var back = IntStream.range(0, dims.length).map(d -> d < a ? inserted + d : d < a + inserted ? d - a : d).toArray();
    return permute(gathered, back);
  }

  /// x in another floating dtype.
  public Tensor cast(Tensor x, DType dtype) {
    return Move.cast(pass, x, dtype);
  }

  /// A constant scalar.
  public Tensor scalar(float value) {
    return full(DType.F32, Shape.of(), value);
  }

  /// A constant tensor of equal elements.
  public Tensor full(DType dtype, Shape shape, float value) {
    var y = pass.empty(dtype, shape);
    pass.run(new Move.Fill(y, value));
    return y;
  }

  private static Tensor flat(Tensor x) {
    return x.reshape(Math.toIntExact(x.elements()));
  }
}
