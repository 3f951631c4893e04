#!/usr/bin/python3
"""The same training in PyTorch, timed: what scripts/benchmark.sh sets this project beside.

usage: elman.py steps [--hidden 128] [--batch 64] [--horizon 100] [--steps 100]     prints steps per second
       elman.py run [--task t1|t4] [--hidden 128] [--steps 20000] [--seed 1] [--stop]    prints seconds; --stop: at test accuracy 1

Both: [--threads 1] [--device cpu]. Tasks have d = s = 8; Adam 1e-3, gradient norm clipped to 1. `run` has the curriculum 10, 20, 40, 60, 100 at
0.98 and a test on 10 batches at horizon 200 every 500 steps, as configs/t4.json. Set OPENBLAS_NUM_THREADS=1, or it is slower.
"""
import argparse
import time

import torch

p = argparse.ArgumentParser()
p.add_argument("mode", choices=["steps", "run"])
p.add_argument("--task", default="t1")
p.add_argument("--device", default="cpu")
p.add_argument("--stop", action="store_true")
for name, default in (("threads", 1), ("hidden", 128), ("batch", 64), ("horizon", 100), ("steps", 100), ("seed", 1)):
    p.add_argument("--" + name, type=int, default=default)
a = p.parse_args()
torch.set_num_threads(a.threads)
torch.manual_seed(a.seed)
device = torch.device(a.device)
d = s = 8

# The rule as (component i of the output) = sign · (history entry), oldest variable first.
ENTRIES = {"t1": [(i, 1) for i in range(8)],
           "t4": [(45, -1), (54, 1), (0, 1), (9, 1), (18, -1), (27, 1), (36, 1), (63, -1)]}[a.task]
F = torch.zeros(s * d, d)
for i, (entry, sign) in enumerate(ENTRIES):
    F[entry, i] = sign
# All outputs are linear in the s·d input numbers: the rule unrolled, once.
rows = list(torch.eye(s * d))
for t in range(200):
    history = torch.stack(rows[t * d:(t + s) * d])
    rows += list(F.t() @ history)
unrolled = torch.stack(rows[s * d:]).to(device)

rnn = torch.nn.RNN(d, a.hidden, nonlinearity="tanh", bias=False).to(device)
readout = torch.nn.Linear(a.hidden, d, bias=False).to(device)
parameters = [*rnn.parameters(), *readout.parameters()]
optimizer = torch.optim.Adam(parameters, lr=1e-3)


def batch(horizon):
    u = torch.randint(0, 2, (a.batch, s * d), device=device).float() * 2 - 1
    y = (u @ unrolled[:horizon * d].t()).view(a.batch, horizon, d).transpose(0, 1)
    x = torch.zeros(s + horizon, a.batch, d, device=device)
    x[:s] = u.view(a.batch, s, d).transpose(0, 1)
    return x, y


def outputs(x):
    h, _ = rnn(x, torch.zeros(1, a.batch, a.hidden, device=device))
    return readout(h[s:])


def step(horizon):
    x, y = batch(horizon)
    out = outputs(x)
    loss = ((out - y) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    accuracy = ((out >= 0) == (y >= 0)).float().mean()
    return loss.item(), accuracy.item()


def test():
    with torch.no_grad():
        total = 0.0
        for _ in range(10):
            x, y = batch(200)
            total += ((outputs(x) >= 0) == (y >= 0)).float().mean().item()
        return total / 10


if a.mode == "steps":
    for _ in range(10):
        step(a.horizon)
    start = time.perf_counter()
    for _ in range(a.steps):
        step(a.horizon)
    print(f"{a.steps / (time.perf_counter() - start):.2f} steps/s")
else:
    horizons, position = [10, 20, 40, 60, 100], 0
    start, accuracy = time.perf_counter(), 0.0
    for n in range(1, a.steps + 1):
        _, train = step(horizons[position])
        if train >= 0.98 and position < len(horizons) - 1:
            position += 1
        if n % 500 == 0:
            accuracy = test()
            if a.stop and accuracy >= 1.0:
                break
    print(f"{time.perf_counter() - start:.2f} seconds for {n} steps, test accuracy {accuracy:.4f}")
