/// Parameter-efficient tuning: each method is one file, a decorator over any `Linear`, quantized or not.
package org.llmcore.peft;
