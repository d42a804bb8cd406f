/// Evaluation with the task's own metric: SQL by executing it, paired significance, perplexity. Read `Task` first.
package org.llmcore.eval;
