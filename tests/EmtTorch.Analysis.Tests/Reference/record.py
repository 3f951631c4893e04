"""Networks trained by PyTorch, and what numpy reads out of them: the numbers that PyTorchNetworkTests compares with.

    python3 record.py            writes NAME.safetensors and NAME.json beside this file

Needs torch and numpy. Nothing here shares code or method with the library: projectors come from left and right
eigenvectors (the library: the matrix sign function), the matching of eigenvalues from trying all permutations (the
library: an optimal assignment), least squares from numpy's lstsq (the library: a pseudoinverse of known rank).
"""
import itertools
import json
import pathlib
import struct

import numpy as np
import torch

HERE = pathlib.Path(__file__).parent


def repeat_copy(d, s):
    """y(t) = y(t - s): F (s d, d), history oldest first."""
    F = np.zeros((s * d, d))
    F[:d] = np.eye(d)
    return F


def compose_copy(d):
    """y_i(t) = y_i(t - d + i), as T2 with d = s."""
    F = np.zeros((d * d, d))
    for i in range(d):
        F[i * d + i, i] = 1
    return F


def sequences(F, s, batch, horizon, random):
    """u (s, batch, d) of +-1 and the outputs (horizon, batch, d) that follow by F."""
    d = F.shape[1]
    history = list(random.choice([-1.0, 1.0], size=(s, batch, d)))
    for _ in range(horizon):
        history.append(np.concatenate(history[-s:], axis=1) @ F)
    return np.stack(history[:s]), np.stack(history[s:])


def train(F, s, hidden, seed):
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    random = np.random.default_rng(seed)
    d = F.shape[1]
    model = torch.nn.ModuleDict({"rnn": torch.nn.RNN(d, hidden, bias=False), "readout": torch.nn.Linear(hidden, d, bias=False)})
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    horizons, level, good, step = [5, 10, 20, 40, 80], 0, 0, 0
    while good < 300:
        step += 1
        u, y = (torch.tensor(a, dtype=torch.float32) for a in sequences(F, s, 64, horizons[level], random))
        states, _ = model["rnn"](torch.cat([u, torch.zeros(horizons[level], 64, d)]))
        output = model["readout"](states[s:])
        loss = ((output - y) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        accuracy = (output.sign() == y.sign()).float().mean().item()
        if accuracy > 0.98 and level < len(horizons) - 1:
            level += 1
        # Solved: a while without an error at the longest horizon.
        good = good + 1 if level == len(horizons) - 1 and loss.item() < 0.02 else 0
        if step % 500 == 0:
            print(f"  step {step}, horizon {horizons[level]}, loss {loss.item():.4f}, accuracy {accuracy:.4f}")
        if step == 20_000:
            raise SystemExit("not solved")
    return {name: value.detach().numpy() for name, value in model.state_dict().items()}


def write_safetensors(path, tensors):
    header, data = {}, b""
    for name, values in tensors.items():
        raw = np.ascontiguousarray(values, dtype="<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<q", len(text)) + text + data)


def shift(F, s):
    """Phi: block i receives block i + 1, the last one f."""
    d = F.shape[1]
    phi = np.eye(s * d, k=d)
    phi[-d:] = F.T
    return phi


def persistent(A, threshold, scale=lambda z: z ** 0):
    """Sum of scale(lambda) v l over eigenvalues above the threshold, l v = 1: the projector, or A with other eigenvalues.

    l from A's transpose, so that what decays may be defective."""
    right, V = np.linalg.eig(A)
    left, L = np.linalg.eig(A.T)
    right, V = right[abs(right) > threshold], V[:, abs(right) > threshold]
    L = L[:, abs(left) > threshold].T
    return (V @ np.diag(scale(right)) @ np.linalg.solve(L @ V, L)).real


def spectral_error(theory, learned):
    if len(theory) != len(learned):
        return None
    difference = abs(np.angle(theory[:, None] / learned[None, :]))
    n = len(theory)
    return min(sum(difference[i, p[i]] for i in range(n)) for p in itertools.permutations(range(n))) / n


def chain(W, start, s):
    """[W^(s-1) start, ..., W start, start]."""
    blocks = [start]
    for _ in range(s - 1):
        blocks.insert(0, W @ blocks[0])
    return np.hstack(blocks)


def realization(W, R, phi, projector, d, steps):
    """Psi that makes the outputs of W from Psi x those of phi from x, for all x that persist."""
    values, V = np.linalg.eig(W)
    V, values = V[:, abs(values) > 0.9], values[abs(values) > 0.9]
    values = values / abs(values)
    network, circuit, power = [], [], np.eye(len(phi))
    for k in range(steps):
        network.append((R @ V) * values ** k)
        circuit.append((power @ projector)[-d:])
        power = phi @ power
    return (V @ np.linalg.lstsq(np.vstack(network), np.vstack(circuit).astype(complex), rcond=None)[0]).real


def read(F, s, tensors, random):
    W, U, R = (tensors[n].astype(float) for n in ("rnn.weight_hh_l0", "rnn.weight_ih_l0", "readout.weight"))
    d = F.shape[1]
    phi = shift(F, s)
    projector = persistent(phi, 0.8)
    live = [j for j in range(s * d) if np.linalg.norm(projector[:, j]) > 1e-9]
    reference = phi[np.ix_(live, live)]
    size = np.linalg.norm(reference)
    assert len(live) == round(np.trace(projector)), "fewer directions than entries: another reference would be needed"
    theory, learned = np.linalg.eigvals(phi), np.linalg.eigvals(W)
    magnitudes = np.sort(abs(learned))[::-1]
    print("  persistent |eigenvalues|", magnitudes[: len(live) + 2])

    without_gain = persistent(W, 0.9, lambda z: z / abs(z))
    u, y = sequences(F, s, 1, 4 * s, random)
    hidden, h = [], np.zeros(len(W))
    for t in range(5 * s):
        h = np.tanh(W @ h + (U @ u[t, 0] if t < s else 0))
        hidden.append(h)
    hidden = np.stack(hidden)

    groundings = {}
    for name, columns, onto in (
        ("realization", realization(W, R, phi, projector, d, 2 * s * d), persistent(W, 0.9)),
        ("output", None, persistent(W, 0.99)),
        ("algorithm1", None, persistent(W, 0.99)),
    ):
        if columns is None:
            columns = onto @ chain(W, np.linalg.pinv(R) if name == "output" else U, s)
        psi = columns[:, live]
        inverse = np.linalg.pinv(psi)
        raw = inverse @ W @ psi
        contents = np.zeros((len(hidden), s * d))
        contents[:, live] = hidden @ (inverse @ onto).T
        groundings[name] = {
            "phi_error": np.linalg.norm(inverse @ without_gain @ psi - reference) / size,
            "phi_error_unscaled": np.linalg.norm(raw - reference) / size,
            "gain": (raw * reference).sum() / size ** 2,
            "condition": np.linalg.cond(psi),
            "phi": (inverse @ without_gain @ psi).tolist(),
            "contents": contents.tolist(),
        }
    return {
        "d": d, "s": s, "matrix": F.tolist(),
        "eigenvalues": [[z.real, z.imag] for z in learned],
        "eigenvalues_theory": int((abs(theory) > 0.9).sum()),
        "eigenvalues_learned": int((abs(learned) > 0.9).sum()),
        "spectral_error": spectral_error(theory[abs(theory) > 0.9], learned[abs(learned) > 0.9]),
        "live": live,
        "input": u[:, 0].tolist(), "target": y[:, 0].tolist(),
        "hidden": hidden[-1].tolist(), "outputs": (hidden @ R.T).tolist(),
        "groundings": groundings,
    }


for name, F, s, hidden, seed in (("repeat_copy", repeat_copy(2, 3), 3, 16, 1), ("compose_copy", compose_copy(3), 3, 24, 1)):
    print(name)
    tensors = train(F, s, hidden, seed)
    write_safetensors(HERE / f"{name}.safetensors", tensors)
    numbers = read(F, s, tensors, np.random.default_rng(7))
    (HERE / f"{name}.json").write_text(json.dumps(numbers) + "\n")
    print("  spectral error", numbers["spectral_error"], {g: (v["phi_error"], v["condition"]) for g, v in numbers["groundings"].items()})
