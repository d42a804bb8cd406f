/// The ecosystem's files, read without trusting them and written atomically: safetensors, Hugging Face folders, llama2.c
/// checkpoints, PEFT adapters. No code in a model file is ever executed. Read `Safetensors` first.
package org.llmcore.checkpoint;
