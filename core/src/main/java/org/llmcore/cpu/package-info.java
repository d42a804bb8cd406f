/// The CPU device: one file per operator, vector loops with a scalar twin that gives the same bits, a fixed team of workers.
/// Read `CpuDevice`, then `Rows`, then any operator.
package org.llmcore.cpu;
