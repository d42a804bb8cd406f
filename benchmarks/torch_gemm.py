"""The peer of org.llmcore.bench.Gemm: y = x·Wᵀ in PyTorch. usage: torch_gemm.py f32|bf16 SECONDS THREADS M,N,K …"""
import sys
import time

import torch

dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[sys.argv[1]]
seconds, threads = float(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(threads)
for shape in sys.argv[4:]:
    m, n, k = map(int, shape.split(","))
    x, w = torch.rand(m, k).to(dtype), torch.rand(n, k).to(dtype)
    times = []
    with torch.no_grad():
        for _ in range(3):
            torch.nn.functional.linear(x, w)
        end = time.perf_counter() + seconds
        while len(times) < 5 or time.perf_counter() < end:
            begun = time.perf_counter()
            torch.nn.functional.linear(x, w)
            times.append(time.perf_counter() - begun)
    print(shape, "%.1f" % (2e-9 * m * n * k / sorted(times)[len(times) // 2]))
