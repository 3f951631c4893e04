#!/usr/bin/python3
"""The same operator calls as `Benchmarks calls`, from Python."""
import time

import torch

torch.set_num_threads(1)
a, b = torch.randn(4, 4), torch.randn(4, 4)
w = torch.randn(4, 4, requires_grad=True)


def report(name, count, call):
    best = float("inf")
    for _ in range(7):
        start = time.perf_counter()
        for _ in range(count // 7):
            call()
        best = min(best, (time.perf_counter() - start) / (count // 7))
    print(f"{name}: {best * 1e9:.0f} ns")


def backward():
    loss = (w * a).sum()
    loss.backward()
    return loss


report("add", 200_000, lambda: a + b)
report("matmul", 200_000, lambda: a.mm(b))
report("select", 200_000, lambda: a[1])
report("add_, in place", 200_000, lambda: a.add_(b, alpha=1e-9))
report("mul + sum + backward", 20_000, backward)
