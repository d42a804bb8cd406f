/// GGUF, llama.cpp's model files. `Gguf` reads the container, `LlamaGguf` says what its keys and tensors mean for a Llama.
package org.llmcore.gguf;
