"""Writes nf4-golden.txt: what bitsandbytes makes of a matrix (2, 8224) of known values.

Made 2026-11-24 with bitsandbytes 0.50.2.dev0 (commit 95f9af30, its portable operators) and torch 2.13.0 on a CPU:

    PYTHONPATH=bitsandbytes python nf4-golden.py > nf4-golden.txt

The first block holds every midpoint of two levels and its neighbours; the rest is ((7919·i + 13) mod 20011 − 10005) / 4096 · (1 + i/64 mod 17).
"""
import torch
from bitsandbytes import functional as F

level = F.get_4bit_type("nf4", device="cpu")
middle = (level[:-1] + level[1:]) / 2
above = torch.nextafter(middle, torch.tensor(2.0))
below = torch.nextafter(middle, torch.tensor(-2.0))
first = torch.cat([middle, above, below, level, torch.tensor([0.0, 0.5, -0.5])])
assert first.numel() == 64
i = torch.arange(64, 2 * 8224, dtype=torch.int64)
rest = ((i * 7919 + 13) % 20011 - 10005).float() / 4096 * (1 + i // 64 % 17).float()
w = torch.cat([first, rest]).reshape(2, 8224)

codes, plain = F.quantize_4bit(w, blocksize=64, quant_type="nf4", compress_statistics=False)
again, nested = F.quantize_4bit(w, blocksize=64, quant_type="nf4", compress_statistics=True)
assert torch.equal(codes, again)


def show(name, t):
    print(name, t.contiguous().reshape(-1).numpy().tobytes().hex())


show("map", F.create_dynamic_map())
show("first", first)
show("codes", codes)
show("absmax", plain.absmax)
show("nested_codes", nested.absmax)
show("nested_scale", nested.state2.absmax)
show("offset", nested.offset)
show("dequantized", F.dequantize_4bit(codes, plain).reshape(-1)[:1024])
show("dequantized_nested", F.dequantize_4bit(again, nested).reshape(-1)[-1024:])
