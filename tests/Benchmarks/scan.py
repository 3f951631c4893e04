#!/usr/bin/python3
"""Fast weights through a sequence as a loop over tokens in PyTorch, timed: what scripts/benchmark.sh sets the scan beside.

usage: scan.py [--threads 1] [--rule hebbian|delta] [--batch 1] [--heads 4] [--width 16] [--tokens 4096] [--steps 1]

Prints tokens per second, forward and backward. Set OPENBLAS_NUM_THREADS=1, or it is slower.
"""
import argparse
import time

import torch

p = argparse.ArgumentParser()
p.add_argument("--rule", default="delta", choices=["hebbian", "delta"])
for name, default in (("threads", 1), ("batch", 1), ("heads", 4), ("width", 16), ("tokens", 4096), ("steps", 1)):
    p.add_argument("--" + name, type=int, default=default)
a = p.parse_args()
torch.set_num_threads(a.threads)


def scan(q, k, v, strength, decay, F):
    gamma, reads = decay.view(-1, 1, 1), []
    for q, k, v, beta in zip(q.unbind(2), k.unbind(2), v.unbind(2), strength.unbind(2)):
        reads.append((q.unsqueeze(-2) @ F).squeeze(-2))
        F = gamma * F
        if a.rule == "delta":
            v = v - (k.unsqueeze(-2) @ F).squeeze(-2)
        F = F + k.unsqueeze(-1) * (beta.unsqueeze(-1) * v).unsqueeze(-2)
    return torch.stack(reads, 2), F


def step(tokens):
    shape = (a.batch, a.heads, tokens)
    q, k, v = (torch.randn(*shape, a.width) for _ in range(3))
    k = k / k.norm(dim=-1, keepdim=True)
    inputs = [q, k, v, torch.rand(*shape), 1 - 0.1 * torch.rand(a.heads), torch.randn(a.batch, a.heads, a.width, a.width)]
    inputs = [i.requires_grad_() for i in inputs]
    start = time.perf_counter()
    reads, F = scan(*inputs)
    (reads.sum() + F.sum()).backward()
    return time.perf_counter() - start


step(min(a.tokens, 256))
print(f"{a.steps * a.batch * a.tokens / sum(step(a.tokens) for _ in range(a.steps)):.0f} tokens/s")
