/// The machine's instructions and the tape. Each operator is one file: its formula, its kernels as records whose constructors
/// are the shape rules, and `apply`, where forward and backward share a screen. `Kernel` lists them all; a `Device` runs
/// them; a `Pass` remembers what backward needs. Read `Kernel`, then `Pass`, then `RmsNorm` as the model of an operator.
package org.llmcore.op;
