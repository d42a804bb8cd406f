/// Text to token ids and back, exactly as the files of published models want it, and the Llama-2 chat form. Read
/// [org.llmcore.text.Tokenizer] first, then [org.llmcore.text.Tokenizers] for how a file becomes one.
package org.llmcore.text;
