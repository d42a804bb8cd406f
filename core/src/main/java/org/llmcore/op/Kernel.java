package org.llmcore.op;

/// One call of one kernel, as data: outputs first, then inputs, then scalars. A record that exists is right: its compact
/// constructor has checked shapes and dtypes, so devices never do. This list is the table of contents of the machine; each
/// device is one exhaustive `switch` over it, and a device that lacks an operator does not compile.
///
/// Rules every device keeps, so that results do not depend on thread count, micro-batch split or batch neighbours:
/// 1. Floating dtypes are F32, BF16 and F16 unless a record says otherwise; arithmetic is f32 (f64 on the reference).
/// 2. A sum over *tokens* (rows) that ends in a parameter's gradient is a chain in ascending row order that starts from the
///    destination when the sink adds. Splitting a batch between two calls that add therefore changes nothing, bit for bit.
/// 3. A sum over *columns* uses 16 partial sums, column c going to partial c mod 16 in ascending order, combined as
///    a tree (i with i+8, then +4, +2, +1), whatever the machine's vector width.
/// 4. Work is split by output element, never by worker.
public sealed interface Kernel
    permits AdamW,
        Attention,
        Binary,
        CrossEntropy,
        Custom,
        Dropout,
        Embedding,
        GradientNorm,
        MatMul,
        Move,
        QuantMatMul,
        Reduce,
        RmsNorm,
        Rope,
        Softmax,
        SwiGlu,
        TopK,
        Unary {}
