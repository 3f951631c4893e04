#!/usr/bin/python3
"""Records what PyTorch computes, operator by operator and gradient by gradient, for PyTorchTests.cs to compare with.

usage: OPENBLAS_NUM_THREADS=1 /usr/bin/python3 record.py > pytorch.json
Each case: float64 inputs, the outputs f(inputs), and the gradients of sum(w * output), w = cos(0, 1, 2, ...), with respect to
every floating-point input. The C# side holds the same functions under the same names.
"""
import json
import math
import sys

import torch
import torch.nn.functional as F

g = torch.Generator().manual_seed(7)
R = lambda *s: torch.randn(*s, generator=g, dtype=torch.float64)
P = lambda *s: torch.rand(*s, generator=g, dtype=torch.float64) + 0.5  # positive, away from 0
I = lambda high, *s: torch.randint(0, high, s, generator=g)
B = lambda *s: torch.rand(*s, generator=g) > 0.5
SPD = lambda n: (lambda a: a @ a.T + n * torch.eye(n, dtype=torch.float64))(R(n, n))

unary = """abs neg exp expm1 log1p sin cos tan sinh cosh tanh asin acos atan sigmoid erf erfc sqrt rsqrt log log2 log10 reciprocal square
sign floor ceil round trunc frac relu silu softplus_f gelu_f logsigmoid_f lgamma digamma""".split()
special = {"softplus_f": F.softplus, "gelu_f": F.gelu, "logsigmoid_f": F.logsigmoid, "relu": F.relu, "silu": F.silu}
positive = set("sqrt rsqrt log log2 log10 reciprocal lgamma digamma".split())
bounded = set("asin acos".split())
cases = {}
for n in unary:
    x = P(2, 3) if n in positive else (R(2, 3) * 0.3).clamp(-0.9, 0.9) if n in bounded else R(2, 3)
    cases[n] = (special.get(n) or getattr(torch, n), [x])

binary = "add sub mul div pow atan2 maximum minimum fmod remainder logaddexp hypot".split()
for n in binary:
    cases[n] = (getattr(torch, n), [P(3, 1), P(2)])
for n in "eq ne lt le gt ge logical_and logical_or logical_xor".split():
    cases[n] = (getattr(torch, n), [I(3, 2, 3).double(), I(3, 2, 3).double()])

x33, idx = R(3, 3), I(3, 2, 3)
cases |= {
    "add_alpha": (lambda a, b: torch.add(a, b, alpha=2.5), [R(2, 3), R(3)]),
    "rsub": (lambda a: 1.5 - a, [R(2)]), "rdiv": (lambda a: 2 / a, [P(2, 2)]),
    "addmm": (lambda a, b, c: torch.addmm(a, b, c, beta=0.5, alpha=2), [R(2, 4), R(2, 3), R(3, 4)]),
    "addcmul": (lambda a, b, c: torch.addcmul(a, b, c, value=0.3), [R(2, 2), R(2, 2), R(2, 2)]),
    "addcdiv": (lambda a, b, c: torch.addcdiv(a, b, c, value=0.3), [R(2, 2), R(2, 2), P(2, 2)]),
    "lerp": (lambda a, b: torch.lerp(a, b, 0.25), [R(3), R(3)]),
    "clamp": (lambda a: a.clamp(-0.5, 0.5), [R(8)]), "clamp_min": (lambda a: a.clamp_min(0.1), [R(8)]),
    "matmul": (torch.matmul, [R(2, 3, 4), R(4, 5)]), "mm": (torch.mm, [R(2, 3), R(3, 2)]), "bmm": (torch.bmm, [R(2, 2, 3), R(2, 3, 2)]),
    "mv": (torch.mv, [R(3, 2), R(2)]), "dot": (torch.dot, [R(4), R(4)]), "outer": (torch.outer, [R(2), R(3)]),
    "einsum": (lambda a, b: torch.einsum("bij,bjk->bki", a, b), [R(2, 3, 2), R(2, 2, 4)]),
    "tensordot": (lambda a, b: torch.tensordot(a, b, dims=([1], [0])), [R(2, 3), R(3, 2)]),
    "sum": (lambda a: a.sum(), [R(2, 3)]), "sum_dim": (lambda a: a.sum(1, keepdim=True), [R(2, 3)]), "mean": (lambda a: a.mean(), [R(2, 3)]),
    "mean_dim": (lambda a: a.mean([0, 2]), [R(2, 3, 2)]), "prod": (lambda a: a.prod(), [P(2, 2)]), "std": (lambda a: a.std(), [R(5)]),
    "var_dim": (lambda a: a.var(1, unbiased=False), [R(2, 4)]), "norm": (lambda a: a.norm(), [R(2, 3)]), "norm1": (lambda a: a.norm(p=1), [R(2, 3)]),
    "logsumexp": (lambda a: a.logsumexp(1), [R(2, 3)]), "amax": (lambda a: a.amax(1), [R(2, 3)]), "max_dim": (lambda a: a.max(1)[0], [R(2, 3)]),
    "max_dim_index": (lambda a: a.max(1)[1], [R(2, 3)]), "argmax": (lambda a: a.argmax(1), [R(3, 4)]), "argmin": (lambda a: a.argmin(), [R(3, 4)]),
    "cumsum": (lambda a: a.cumsum(1), [R(2, 3)]), "cumprod": (lambda a: a.cumprod(0), [P(3, 2)]), "median": (lambda a: a.median(), [R(5)]),
    "all": (lambda a: (a > -9).all(), [R(3)]), "any": (lambda a: (a > 9).any(), [R(3)]),
    "softmax": (lambda a: a.softmax(1), [R(2, 3)]), "log_softmax": (lambda a: a.log_softmax(0), [R(2, 3)]),
    "cross_entropy": (F.cross_entropy, [R(4, 3), I(3, 4)]), "nll_loss": (lambda a, t: F.nll_loss(a.log_softmax(1), t), [R(4, 3), I(3, 4)]),
    "mse_loss": (F.mse_loss, [R(2, 3), R(2, 3)]), "l1_loss": (F.l1_loss, [R(2, 3), R(2, 3)]),
    "bce_logits": (F.binary_cross_entropy_with_logits, [R(3), torch.rand(3, generator=g, dtype=torch.float64)]),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, [4], w, b), [R(2, 4), R(4), R(4)]), "linear": (F.linear, [R(2, 3), R(4, 3), R(4)]),
    "embedding": (F.embedding, [I(5, 2, 3), R(5, 2)]), "one_hot": (lambda i: F.one_hot(i, 4), [I(4, 3)]),
    "cat": (lambda a, b: torch.cat([a, b], 1), [R(2, 2), R(2, 1)]), "stack": (lambda a, b: torch.stack([a, b], -1), [R(2, 2), R(2, 2)]),
    "split": (lambda a: a.split(2, 1)[1], [R(2, 5)]), "chunk": (lambda a: a.chunk(3, 0)[2], [R(5, 2)]), "unbind": (lambda a: a.unbind(1)[1], [R(2, 3)]),
    "gather": (lambda a, i: a.gather(0, i), [x33, idx]), "scatter": (lambda a, i, s: a.scatter(0, i[:1], s[:1]), [R(3, 3), idx, R(2, 3)]),
    "scatter_add": (lambda a, i, s: a.scatter_add(0, i, s), [R(3, 3), idx, R(2, 3)]), "index_select": (lambda a, i: a.index_select(1, i), [R(2, 3), I(3, 4)]),
    "where": (torch.where, [B(2, 3), R(2, 3), R(2, 3)]), "masked_fill": (lambda a, m: a.masked_fill(m, -1), [R(2, 3), B(2, 3)]),
    "topk": (lambda a: a.topk(2, 1)[0], [R(2, 4)]), "sort": (lambda a: a.sort(1, descending=True)[0], [R(2, 4)]), "argsort": (lambda a: a.argsort(1), [R(2, 4)]),
    "tril": (lambda a: a.tril(-1), [R(3, 3)]), "triu": (lambda a: a.triu(1), [R(3, 3)]), "diagonal": (lambda a: a.diagonal(1), [R(3, 4)]), "diag_embed": (torch.diag_embed, [R(3)]),
    "transpose": (lambda a: a.transpose(0, 2), [R(2, 3, 4)]), "permute": (lambda a: a.permute(2, 0, 1), [R(2, 3, 4)]), "reshape": (lambda a: a.reshape(4, -1), [R(2, 3, 2)]),
    "expand": (lambda a: a.expand(3, 2), [R(1, 2)]), "repeat": (lambda a: a.repeat(2, 3), [R(2, 1)]), "flip": (lambda a: a.flip(0), [R(3, 2)]), "roll": (lambda a: a.roll(1, 0), [R(4)]),
    "narrow": (lambda a: a.narrow(1, 1, 2), [R(2, 4)]), "unfold": (lambda a: a.unfold(0, 3, 2), [R(7)]), "squeeze": (lambda a: a.squeeze(1), [R(2, 1, 3)]),
    "index_slice": (lambda a: a[1:, ::2], [R(3, 5)]), "index_none": (lambda a: a[None, ..., 1], [R(3, 2)]), "index_tensor": (lambda a, i: a[i, 1:], [R(4, 3), I(4, 5)]),
    "index_mask": (lambda a, m: a[m], [R(3, 2), B(3)]), "index_mixed": (lambda a, i: a[:, i, None, -1], [R(2, 4, 3), I(4, 3)]), "index_two": (lambda a, i, j: a[i, :, j], [R(3, 2, 4), I(3, 2), I(4, 2)]),
    "inv": (torch.linalg.inv, [SPD(3)]), "det": (torch.linalg.det, [SPD(3)]), "solve": (torch.linalg.solve, [SPD(3), R(3, 2)]), "pinv": (torch.linalg.pinv, [R(4, 2)]),
    "svdvals": (torch.linalg.svdvals, [R(3, 4)]), "eigvalsh": (torch.linalg.eigvalsh, [SPD(3)]), "cholesky": (torch.linalg.cholesky, [SPD(3)]), "qr_r": (lambda a: torch.linalg.qr(a)[1].abs(), [R(4, 3)]),
    "matrix_norm": (torch.linalg.matrix_norm, [R(3, 2)]), "vector_norm": (lambda a: torch.linalg.vector_norm(a, 3), [P(4)]), "matrix_exp": (torch.matrix_exp, [R(2, 2)]),
    "eigvals_abs": (lambda a: torch.linalg.eigvals(a).abs().sort()[0], [R(3, 3)]), "complex_abs": (lambda a, b: torch.complex(a, b).abs(), [R(3), R(3)]), "angle": (lambda a, b: torch.complex(a, b).angle(), [R(3), R(3)]),
    "rnn_tanh": (lambda x, wi, wh, h: torch.rnn_tanh(x, h, [wi, wh], False, 1, 0.0, False, False, False)[0], [R(4, 2, 3), R(5, 3), R(5, 5), R(1, 2, 5)]),
    "sdpa": (lambda q, k, v: ((q @ k.transpose(-1, -2)) / math.sqrt(4) + torch.full((3, 3), -math.inf, dtype=torch.float64).triu(1)).softmax(-1) @ v, [R(2, 3, 4), R(2, 3, 4), R(2, 3, 4)]),
}


def pack(t):
    return {"shape": list(t.shape), "dtype": str(t.dtype)[6:], "data": t.detach().flatten().tolist()}


records = {}
for name, (function, inputs) in cases.items():
    inputs = [t.clone().requires_grad_() if t.is_floating_point() else t for t in inputs]
    output = function(*inputs)
    record = {"inputs": [pack(t) for t in inputs], "output": pack(output)}
    if output.is_floating_point() and output.requires_grad:
        w = torch.arange(output.numel(), dtype=torch.float64).cos().reshape(output.shape)
        leaves = [t for t in inputs if t.requires_grad]
        grads = torch.autograd.grad((w * output).sum(), leaves, allow_unused=True)
        it = iter(grads)
        record["gradients"] = [(lambda v: None if v is None else pack(v))(next(it)) if t.requires_grad else None for t in inputs]
    records[name] = record

json.dump({"torch": torch.__version__, "cases": records}, sys.stdout, separators=(",", ":"))
print()
