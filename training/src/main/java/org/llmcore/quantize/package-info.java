/// Makes weights small: GPTQ and round-to-nearest for a whole model, streamed block by block, and the receipt that says what it
/// cost. Read `Gptq` first, then `ModelQuantizer`.
package org.llmcore.quantize;
