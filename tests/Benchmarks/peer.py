"""PyTorch's side of the GPU's benchmarks: python3 peer.py [cuda|cpu] [rnn|scan|fla]… Medians of 20, after warm-up; a JSON
object a line. Without a part's name all of them.

rnn   a training step of T1 by nn.RNN, with Adam (fused too) and clipping, and the rate of it in a loop without waiting
scan  the scan of fast weights, forward and backward, by chunks of 64 tokens in PyTorch's operators
fla   the same by flash-linear-attention's kernels, where Python finds them; they compile at the first call, for a minute or more
"""
import json, statistics, sys, time

import torch
import torch.nn.functional as F

device = sys.argv[1] if len(sys.argv) > 1 else "cuda"
parts = sys.argv[2:] or ["rnn", "scan", "fla"]


def milliseconds(step, rounds=20, warm=5):
    for _ in range(warm):
        step()
    times = []
    for _ in range(rounds):
        if device == "cuda":
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            step()
            end.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(end))
        else:
            begun = time.perf_counter()
            step()
            times.append(1000 * (time.perf_counter() - begun))
    return statistics.median(times)


def say(**values):
    print(json.dumps({"torch": torch.__version__, "device": torch.cuda.get_device_name() if device == "cuda" else "cpu", **values}), flush=True)


def rate(step, seconds=1.0):
    """Calls a second in a loop, as a training run makes them."""
    for _ in range(5):
        step()
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    calls, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        for _ in range(10):
            step()
        calls += 10
        wait()
    return calls / (time.perf_counter() - begun)


def rnn_step(hidden, fused=False, s=8, d=8, batch=64, horizon=100):
    rnn = torch.nn.RNN(d, hidden, bias=False).to(device)
    readout = torch.nn.Linear(hidden, d, bias=False).to(device)
    parameters = [*rnn.parameters(), *readout.parameters()]
    optimizer = torch.optim.Adam(parameters, 1e-3, fused=fused)
    rest = torch.zeros(horizon, batch, d, device=device)

    def step():
        u = torch.randint(0, 2, (s, batch, d), device=device).float() * 2 - 1
        target = u.repeat(horizon // s + 1, 1, 1)[:horizon]
        optimizer.zero_grad()
        states, _ = rnn(torch.cat([u, rest]))
        loss = F.mse_loss(readout(states[s:]), target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return step


def hebbian(q, k, v, strength, size=64):
    """r_t = F_{t-1}^T q_t, F_t = F_{t-1} + strength_t k_t v_t^T, by chunks."""
    b, h, t, d = q.shape
    q, k, v = (x.view(b, h, t // size, size, d) for x in (q, k, v * strength[..., None]))
    added = k.transpose(-1, -2) @ v
    before = added.cumsum(2) - added
    return (q @ before + (q @ k.transpose(-1, -2)).tril(-1) @ v).view(b, h, t, d)


def delta(q, k, v, strength, size=64):
    """The same with F_t = F_{t-1} + strength_t k_t (v_t - F_{t-1}^T k_t)^T, by the WY form of arXiv 2406.06484."""
    b, h, t, d = q.shape
    q, k, v = (x.view(b, h, t // size, size, d) for x in (q, k, v))
    strength = strength.view(b, h, t // size, size, 1)
    lower = torch.eye(size, device=q.device, dtype=q.dtype) + (strength * (k @ k.transpose(-1, -2))).tril(-1)
    u, w = torch.linalg.solve_triangular(lower, strength * torch.cat([v, k], -1), upper=False, unitriangular=True).split(d, -1)
    among = (q @ k.transpose(-1, -2)).tril(-1)
    state, reads = torch.zeros(b, h, d, d, device=q.device, dtype=q.dtype), []
    for c in range(t // size):
        new = u[:, :, c] - w[:, :, c] @ state
        reads.append(q[:, :, c] @ state + among[:, :, c] @ new)
        state = state + k[:, :, c].transpose(-1, -2) @ new
    return torch.stack(reads, 2).view(b, h, t, d)


def scan_step(scan, tokens, d, batch=1, heads=4):
    q, k, v = (torch.randn(batch, heads, tokens, d, device=device) for _ in range(3))
    k = F.normalize(k, dim=-1)
    strength = torch.rand(batch, heads, tokens, device=device)
    for x in (q, k, v, strength):
        x.requires_grad_()

    def step():
        for x in (q, k, v, strength):
            x.grad = None
        scan(q, k, v, strength).sum().backward()

    return step


def fla_scans():
    try:
        from fla.ops.delta_rule import chunk_delta_rule
        from fla.ops.linear_attn import chunk_linear_attn
    except Exception as error:
        say(what="flash-linear-attention", problem=f"{type(error).__name__}: {error}"[:200])
        return {}
    flip = lambda x: x.transpose(1, 2).bfloat16()  # (b, t, h, d); its kernels are made for bfloat16
    return {
        "hebbian": lambda q, k, v, s: chunk_linear_attn(flip(q), flip(k), flip(v * s[..., None]), scale=1.0, normalize=False)[0],
        "delta": lambda q, k, v, s: chunk_delta_rule(flip(q), flip(k), flip(v), flip(s), scale=1.0)[0],
    }


torch.manual_seed(0)
if "rnn" in parts:
    for hidden in (32, 64, 128, 256, 512):
        for fused, tf32 in ((False, False), (True, False), (True, True)) if device == "cuda" else ((False, False),):
            torch.backends.cudnn.allow_tf32 = tf32
            step = rnn_step(hidden, fused)
            say(what="step", by="nn.RNN", hidden=hidden, fused_adam=fused, tf32=tf32, milliseconds=milliseconds(step), steps_per_second=rate(step))
sizes = [(tokens, d) for tokens in (4096, 16384) for d in (64, 128)] if device == "cuda" else [(1024, 64)]


def scans(by, rules):
    for rule, scan in rules.items():
        for tokens, d in sizes:
            try:
                say(what="scan", by=by, rule=rule, tokens=tokens, d=d, milliseconds=milliseconds(scan_step(scan, tokens, d)))
            except Exception as error:
                say(what="scan", by=by, rule=rule, tokens=tokens, d=d, problem=f"{type(error).__name__}: {error}"[:300])


if "scan" in parts:
    scans("operators", {"hebbian": hebbian, "delta": delta})
if "fla" in parts and device == "cuda":
    theirs = fla_scans()
    scans("flash-linear-attention, bfloat16", {rule: theirs[rule] for rule in ("delta", "hebbian") if rule in theirs})
