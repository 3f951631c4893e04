#!/usr/bin/python3
"""Writes transformer.json: small episodic transformers with random weights and their logits, computed by PyTorch one token at a time, as the equations
of the specification say it, in float64. What EpisodicTransformerTests holds the C# network against."""
import json
import math
import os

import torch

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
V, D, T, B, LAYERS = 7, 8, 9, 2, 2


def rand(*shape):
    return torch.randn(*shape) * 0.5


def weights(c):
    w = {"embedding.weight": rand(V, D)}
    wide = c.get("feed_forward_size", 4 * D)
    heads, pairs = c.get("memory_heads", 1), [("expand", wide, D), ("contract", D, wide)]
    for i in range(LAYERS):
        p = f"blocks.{i}."
        for n in ([] if c["residual"] == "seed" else ["norm1", "norm2"]):
            w[p + n + ".weight"], w[p + n + ".bias"] = 1 + rand(D), rand(D)
        if c["drift"]:
            w[p + "drift.logit_decay"], w[p + "drift.input.weight"], w[p + "drift.output.weight"] = rand(D), rand(D, D), rand(D, D)
        w[p + "attention.qkv.weight"], w[p + "attention.output.weight"] = rand(3 * D, D), rand(D, D)
        w[p + "memory.qkv.weight"], w[p + "memory.rate"] = rand(3 * D, D), rand(heads)
        if c["read"] == "linear":
            w[p + "memory.output.weight"] = rand(D, D)
        else:
            w[p + "memory.table"] = rand(D, D)
        if c["gate"]:
            w[p + "memory.gate.gate.weight"], w[p + "memory.gate.gate.bias"] = rand(heads, 2 * D if c["drift"] else D), rand(heads)
        if c["decay"]:
            w[p + "memory.logit_decay"] = rand(heads)
        for n, o, k in pairs:
            w[p + n + ".weight"] = rand(o, k)
        if c["write"] == "hypernetwork":
            p += "memory.hypernetwork."
            w[p + "hidden.weight"], w[p + "hidden.bias"], w[p + "output.weight"] = rand(D, D), rand(D), rand(2 * c["hypernetwork_rank"] * D, D)
    w["norm.weight"], w["norm.bias"] = 1 + rand(D), rand(D)
    w["readout.weight"] = rand(V, D)
    return w


def norm(x, w, name):
    return (x - x.mean()) / torch.sqrt(x.var(unbiased=False) + 1e-5) * w[name + ".weight"] + w[name + ".bias"]


def rotate(x, t):
    half = len(x) // 2
    angle = t * 10000.0 ** (-torch.arange(half) / half)
    a, b = x[:half], x[half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()])


def block(x, c, w, p):
    """One document's stream (T, D), token by token."""
    heads, mheads = c["heads"], c.get("memory_heads", 1)
    dh, dm = D // heads, D // mheads
    context, F = torch.zeros(D), torch.zeros(mheads, dm, dm)
    keys, values, out = [], [], []
    for t in range(T):
        pre = c["residual"] == "pre_norm"
        h = norm(x[t], w, p + "norm1") if pre else x[t]
        driven = h
        if c["drift"]:
            h = h + w[p + "drift.output.weight"] @ context
            context = torch.sigmoid(w[p + "drift.logit_decay"]) * context + w[p + "drift.input.weight"] @ driven
        q, k, v = (w[p + "attention.qkv.weight"] @ h).view(3, heads, dh)
        keys.append(torch.stack([rotate(k[i], t) for i in range(heads)]))
        values.append(v)
        first = 0 if c["window"] is None else max(0, t - c["window"] + 1)
        seen = []
        for i in range(heads):
            scores = torch.stack([rotate(q[i], t) @ keys[s][i] / math.sqrt(dh) for s in range(first, t + 1)])
            attention = torch.softmax(scores, 0)
            seen.append(sum(a * values[s][i] for a, s in zip(attention, range(first, t + 1))))
        added = w[p + "attention.output.weight"] @ torch.cat(seen)

        q, k, v = (w[p + "memory.qkv.weight"] @ h).view(3, mheads, dm)
        rate = w[p + "memory.rate"]
        g = torch.ones(mheads)
        if c["gate"]:
            g = torch.sigmoid(w[p + "memory.gate.gate.weight"] @ (torch.cat([h, context]) if c["drift"] else h) + w[p + "memory.gate.gate.bias"])
        if c["write"] == "hypernetwork":
            m = p + "memory.hypernetwork."
            added_a, added_b = (w[m + "output.weight"] @ torch.nn.functional.gelu(w[m + "hidden.weight"] @ h + w[m + "hidden.bias"])).view(2, c["hypernetwork_rank"], mheads, dm)
        reads = []
        for i in range(mheads):
            key = k[i] / k[i].norm()
            reads.append(F[i].T @ (q[i] / q[i].norm()))
            gamma = torch.sigmoid(w[p + "memory.logit_decay"][i]) if c["decay"] else 1.0
            eta = torch.sigmoid(rate[i]) if c["write"] == "delta" else torch.exp(rate[i])
            kept = gamma * F[i]
            if c["write"] == "hypernetwork":
                A = torch.stack([k[i] + a for a in added_a[:, i]], 1)  # (d_k, r)
                A = A / A.norm(dim=0)
                Bs = added_b[:, i].T.clone()                           # (d_v, r)
                Bs[:, 0] += v[i]
                F[i] = kept + g[i] * eta * A @ Bs.T
                continue
            u = v[i] - kept.T @ key if c["write"] == "delta" else v[i]
            F[i] = kept + g[i] * eta * torch.outer(key, u)
        r = torch.cat(reads)
        added = added + (w[p + "memory.output.weight"] @ r if c["read"] == "linear" else torch.softmax(r / math.sqrt(D), 0) @ w[p + "memory.table"])

        def feed(z):
            return w[p + "contract.weight"] @ torch.nn.functional.gelu(w[p + "expand.weight"] @ z)
        if pre:
            z = x[t] + added
            out.append(z + feed(norm(z, w, p + "norm2")))
        else:
            out.append(x[t] + feed(added))
    return torch.stack(out)


def logits(tokens, c, w):
    x = w["embedding.weight"][tokens]
    for i in range(LAYERS):
        x = block(x, c, w, f"blocks.{i}.")
    return torch.stack([w["readout.weight"] @ norm(x[t], w, "norm") for t in range(T)])


cases = []
for c in [
    dict(residual="pre_norm", heads=2, window=None, write="hebbian", read="linear", gate=True, drift=True, decay=False),
    dict(residual="pre_norm", heads=4, window=3, write="delta", read="linear", gate=True, drift=False, decay=True, memory_heads=2, feed_forward_size=5),
    dict(residual="seed", heads=1, window=4, write="hebbian", read="softmax", gate=False, drift=True, decay=True),
    dict(residual="seed", heads=2, window=1, write="delta", read="softmax", gate=True, drift=True, decay=False, memory_heads=4),
    dict(residual="pre_norm", heads=2, window=2, write="hypernetwork", read="linear", gate=True, drift=True, decay=True, memory_heads=2, hypernetwork_rank=3),
]:
    w, tokens = weights(c), torch.randint(0, V, (B, T))
    cases.append({
        "model": c, "tokens": tokens.tolist(), "weights": {n: {"shape": list(t.shape), "values": t.flatten().tolist()} for n, t in w.items()},
        "logits": [logits(row, c, w).tolist() for row in tokens],
    })
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "transformer.json"), "w") as file:
    json.dump({"vocabulary": V, "hidden_size": D, "layers": LAYERS, "cases": cases}, file)
