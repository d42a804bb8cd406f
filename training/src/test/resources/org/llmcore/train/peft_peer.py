"""PEFT beside us. `train`: makes an adapter of every configuration on the base, saves it, trains it by PyTorch's AdamW, saves it
again and prints losses and logits. `read`: prints the logits that adapters of ours give."""
import json
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

command, base, batch_file, folder = sys.argv[1:5]
batch = load_file(batch_file)
ids, labels = batch["input_ids"].long(), batch["labels"].long()


def model():
    return LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)


def logits(m):
    with torch.no_grad():
        return m.eval()(input_ids=ids[:1]).logits[0].flatten().tolist()


def train(name, config):
    torch.manual_seed(7)
    m = get_peft_model(model(), LoraConfig(task_type="CAUSAL_LM", **config))
    m.save_pretrained(f"{folder}/{name}-init")
    trained = [p for p in m.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=5e-3, weight_decay=0)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = m(input_ids=ids, labels=labels).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    m.save_pretrained(f"{folder}/{name}-trained")
    return {"losses": losses, "logits": logits(m), "trained": sum(p.numel() for p in trained)}


configs = json.loads(sys.argv[5])
if command == "train":
    print(json.dumps({name: train(name, config) for name, config in configs.items()}))
else:
    print(json.dumps({name: logits(PeftModel.from_pretrained(model(), f"{folder}/{name}-ours")) for name in configs}))
