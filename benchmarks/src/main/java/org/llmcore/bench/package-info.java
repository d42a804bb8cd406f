/// JMH benchmarks over operators, a training step and a decode step, and the history they are compared with. Start at `Main`.
package org.llmcore.bench;
