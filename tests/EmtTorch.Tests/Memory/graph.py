#!/usr/bin/python3
"""Writes graph.json: a small graph memory with random weights, what it reads token by token and the nodes it ends with, as the equations of GraphMemory say it, by loops, in float64.
What GraphMemoryTests holds the C# module against."""
import json
import math
import os

import torch

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
D, T, B = 4, 13, 2


def unit(x):
    return x / x.norm()


def document(c, w, h, brought):
    """Reads (T, D); the nodes at the end: (token, n, g), in the order of the tokens."""
    nodes, waiting, reads = [], [], []
    for t in range(T + 1):
        if t > 0 and t % c["interval"] == 0:
            # The strongest, of equals the later.
            nodes = sorted(sorted(nodes + waiting, key=lambda node: (-node[2], -node[0]))[:c["nodes"]], key=lambda node: node[0])
            waiting = []
        if t == T:
            break
        x = torch.cat([h[t], brought[t]]) if c["drift"] else h[t]
        q, k, v = (unit(part @ x) for part in w["content.weight"].view(3, D, -1))
        g = torch.sigmoid(w["gate.weight"] @ x + w["gate.bias"])[0].item() if c["gate"] else 1.0
        joined = []
        for _, ni, _ in nodes if c["read"] != "no_edges" else []:
            total = torch.zeros(2 * D)
            for _, nj, gj in nodes:
                total += torch.sigmoid(ni @ w["edge"] @ nj + w["edge_bias"]) * gj * nj
            joined.append(w["neighbour.weight"] @ total)
        own = [n for _, n, _ in nodes]
        keys = joined if c["read"] == "seed" else own
        values = {"seed": joined, "no_edges": own, "addressed": [a + b for a, b in zip(own, joined)]}[c["read"]]
        read = torch.zeros(2 * D)
        if nodes:
            scores = [math.exp(w["log_sharpness"].exp() * (q @ key[:D])) * node[2] for key, node in zip(keys, nodes)]
            read = sum(s * value for s, value in zip(scores, values)) / sum(scores)
        reads.append(w["output.weight"] @ read)
        waiting.append((t, torch.cat([k, v]), g))
    return torch.stack(reads), nodes + waiting





cases = []
for c in [
    dict(nodes=3, interval=2, gate=True, drift=True, read="addressed"),
    dict(nodes=5, interval=4, gate=True, drift=False, read="addressed"),
    dict(nodes=4, interval=3, gate=False, drift=True, read="addressed"),
    dict(nodes=2, interval=1, gate=True, drift=True, read="seed"),
    dict(nodes=6, interval=5, gate=False, drift=True, read="seed"),
    dict(nodes=3, interval=3, gate=True, drift=True, read="no_edges"),
    dict(nodes=3, interval=20, gate=True, drift=True, read="addressed"),
]:
    inputs = 2 * D if c["drift"] else D
    w = {"content.weight": torch.randn(3 * D, inputs), "output.weight": torch.randn(D, 2 * D), "log_sharpness": torch.randn(())}
    if c["gate"]:
        w["gate.weight"], w["gate.bias"] = torch.randn(1, inputs), torch.randn(1)
    if c["read"] != "no_edges":
        w["edge"], w["edge_bias"], w["neighbour.weight"] = torch.randn(2 * D, 2 * D), torch.randn(()), torch.randn(2 * D, 2 * D)
    h, brought = torch.randn(B, T, D), torch.randn(B, T, D)
    found = [document(c, w, h[b], brought[b]) for b in range(B)]
    cases.append({
        "settings": c, "weights": {n: t.flatten().tolist() for n, t in w.items()}, "h": h.flatten().tolist(), "brought": brought.flatten().tolist(),
        "reads": torch.stack([reads for reads, _ in found]).flatten().tolist(),
        # Those of the end, tokens of the last interval among them; where there are fewer nodes than places the places come first, empty.
        "tokens": [[t for t, _, _ in nodes] for _, nodes in found],
        "nodes": [[n.tolist() for _, n, _ in nodes] for _, nodes in found],
        "gates": [[g for _, _, g in nodes] for _, nodes in found],
    })
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "graph.json"), "w") as file:
    json.dump({"width": D, "tokens": T, "batch": B, "cases": cases}, file)
