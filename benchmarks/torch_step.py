"""The peer of TrainingStepBenchmark: tokens/s of one AdamW training step of the same Llama in PyTorch and transformers (and
PEFT for lora) on the CPU. One JSON line: the median of the steps after the first two.

With recompute, gradient checkpointing per block. peak_mb is the most the process held.

usage: torch_step.py SHAPE f32|bf16 full|lora STEPS THREADS [recompute]"""
import json
import resource
import sys
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

SHAPES = {  # hidden, layers, heads, of keys, ff, vocabulary, batch, length: as in Shapes.java
    "small": (128, 4, 4, 4, 352, 1024, 16, 128),
    "15M": (288, 6, 6, 6, 768, 32000, 8, 256),
    "110M": (768, 12, 12, 12, 2048, 32000, 4, 512),
    "1.1B": (2048, 22, 32, 4, 5632, 32000, 1, 512),
}

shape, dtype, method, steps, threads = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
hidden, layers, heads, kv_heads, ff, vocabulary, batch, length = SHAPES[shape]
torch.set_num_threads(threads)
torch.manual_seed(0)
torch.set_default_dtype(torch.float32 if dtype == "f32" else torch.bfloat16)
model = LlamaForCausalLM(LlamaConfig(
    hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=kv_heads, intermediate_size=ff,
    vocab_size=vocabulary, max_position_embeddings=2 * length, tie_word_embeddings=False))
torch.set_default_dtype(torch.float32)
model.train()
model.config.use_cache = False
if method == "lora":
    from peft import LoraConfig, get_peft_model
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))
if "recompute" in sys.argv[6:]:
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.enable_input_require_grads()
trained = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=1e-5)
ids = torch.randint(0, vocabulary, (batch, length))
seconds = []
for _ in range(steps):
    begun = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    model(input_ids=ids, labels=ids).loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    seconds.append(time.perf_counter() - begun)
middle = sorted(seconds[2:])[len(seconds[2:]) // 2]
print(json.dumps({"peer": "torch " + torch.__version__, "tokens_per_second": round(batch * length / middle, 1),
                  "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))
