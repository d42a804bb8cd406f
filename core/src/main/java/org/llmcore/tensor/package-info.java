/// Bytes with a shape. `Region` owns memory by lifetime, `Tensor` is a typed view into one, `DType` says how elements lie.
/// Nothing here computes. Read `Region` first.
package org.llmcore.tensor;
