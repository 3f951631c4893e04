#!/usr/bin/python3
"""Records what plain loops over tokens compute in PyTorch, and their gradients, for RecordedLoopsTests.cs to compare with.

usage: OPENBLAS_NUM_THREADS=1 /usr/bin/python3 record.py > loops.json
Each case: float64 inputs in the order of the C# method's arguments, the two outputs, and the gradients of the sum over outputs of
sum(w * output), w = cos(0, 1, 2, ...), with respect to every input.
"""
import json

import torch

g = torch.Generator().manual_seed(11)
R = lambda *s: torch.randn(*s, generator=g, dtype=torch.float64)
U = lambda *s: torch.rand(*s, generator=g, dtype=torch.float64)


def fast_weights(q, k, v, strength, decay, state, delta):
    """Token by token, batch by batch, head by head, in matrices as the equations have them."""
    B, H, T, _ = q.shape
    reads, states = [], []
    for b in range(B):
        for h in range(H):
            F, row = state[b, h], []
            for t in range(T):
                row.append(F.t() @ q[b, h, t])
                F = decay[h] * F
                u = v[b, h, t] - F.t() @ k[b, h, t] if delta else v[b, h, t]
                F = F + strength[b, h, t] * torch.outer(k[b, h, t], u)
            reads.append(torch.stack(row))
            states.append(F)
    return torch.stack(reads).view(B, H, T, -1), torch.stack(states).view_as(state)


def drift(x, decay, context):
    contexts = []
    for t in range(x.shape[1]):
        context = decay * context + x[:, t]
        contexts.append(context)
    return torch.stack(contexts, 1), context


def case(function, inputs):
    inputs = [i.requires_grad_() for i in inputs]
    outputs = function(*inputs)
    loss = sum((o * torch.cos(torch.arange(o.numel(), dtype=o.dtype)).view_as(o)).sum() for o in outputs)
    gradients = torch.autograd.grad(loss, inputs)
    flat = lambda t: {"shape": list(t.shape), "values": t.detach().flatten().tolist()}
    return {"inputs": [flat(t) for t in inputs], "outputs": [flat(t) for t in outputs], "gradients": [flat(t) for t in gradients]}


B, H, T, dk, dv = 2, 2, 7, 3, 2
arguments = lambda: [R(B, H, T, dk), R(B, H, T, dk) / 2, R(B, H, T, dv), U(B, H, T), 1 - U(H) / 2, R(B, H, dk, dv)]
print(json.dumps({
    "Hebbian": case(lambda *a: fast_weights(*a, False), arguments()),
    "Delta": case(lambda *a: fast_weights(*a, True), arguments()),
    "Drift": case(drift, [R(2, 9, 3), U(3), R(2, 3)]),
}))
