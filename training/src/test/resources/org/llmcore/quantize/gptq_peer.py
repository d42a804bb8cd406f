"""Reads GPTQ folders by the published bit layout, runs transformers on the dense weights, prints logits. Arguments: ids as JSON, folders."""
import json, sys, torch
from pathlib import Path
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM


def unpack(words, dim, bits):
    # bit by bit, along dim: value j is bits b*j ... of the run
    w = words.long().movedim(dim, 0) & 0xFFFFFFFF
    bit = (w.unsqueeze(1) >> torch.arange(32).view(1, 32, *[1] * (w.dim() - 1))) & 1
    bit = bit.flatten(0, 1)
    bit = bit.view(-1, bits, *bit.shape[1:])
    return (bit << torch.arange(bits).view(1, bits, *[1] * (w.dim() - 1))).sum(1).movedim(0, dim)


def logits(folder, ids):
    c = json.loads((folder / "config.json").read_text())
    q = json.loads((folder / "quantize_config.json").read_text())
    assert q == c.pop("quantization_config")
    bits, add = q["bits"], 1 if q["checkpoint_format"] == "gptq" else 0
    files = load_file(folder / "model.safetensors")
    state = {}
    for name, t in files.items():
        base, part = name.rsplit(".", 1)
        if part == "qweight":
            g = files[base + ".g_idx"].long()
            z = unpack(files[base + ".qzeros"], 1, bits) + add
            s = files[base + ".scales"].float()
            state[base + ".weight"] = (s[g] * (unpack(t, 0, bits) - z[g]).float()).T.contiguous()
        elif part == "weight": state[name] = t.float()
    if c["tie_word_embeddings"]: state["lm_head.weight"] = state["model.embed_tokens.weight"]
    m = LlamaForCausalLM(LlamaConfig(**c)); m.load_state_dict(state, strict=True); m.eval()
    with torch.no_grad(): return m(torch.tensor([ids])).logits[0].flatten().tolist()


print(json.dumps([logits(Path(f), json.loads(sys.argv[1])) for f in sys.argv[2:]]))
