/// Training: schedule, optimizer, memory plan, checkpoints, the trainer's loop, and the run folder around it. Read `Trainer`.
package org.llmcore.train;
