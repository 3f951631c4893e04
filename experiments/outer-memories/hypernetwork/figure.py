#!/usr/bin/env python3
"""Draws results/capacity.svg from the analyses of the runs: accuracy against the number of pairs, by what is written; points are seeds, lines their means. Writes the same as a table, results/capacity.md."""
import glob
import json
import math
import os

HERE = os.path.dirname(os.path.abspath(__file__))
WRITES = [("hebbian", "#0072B2"), ("delta", "#E69F00"), ("hypernetwork_1", "#009E73"), ("hypernetwork_2", "#D55E00"), ("hypernetwork_4", "#CC79A7")]
ASKED = [("one_way", "asked for the value"), ("both_ways", "asked both ways")]
W, H, LEFT, TOP, GAP = 330, 260, 60, 40, 60


def curves(asked, write):
    found = {}
    for path in sorted(glob.glob(f"{HERE}/runs/{asked}-{write}/seed-*/analysis.json")):
        with open(path) as file:
            for point in json.load(file)["capacity"]:
                found.setdefault(point["pairs"], []).append(point["accuracy"])
    return found


out, table = [], []
pairs = sorted({p for a, _ in ASKED for w, _ in WRITES for p in curves(a, w)})
low, high = math.log2(pairs[0]), math.log2(pairs[-1])
for panel, (asked, title) in enumerate(ASKED):
    x0 = LEFT + panel * (W + GAP)
    x = lambda p: x0 + W * (math.log2(p) - low) / (high - low)
    y = lambda a: TOP + H * (1 - a)
    out.append(f'<text x="{x0}" y="{TOP - 14}" font-weight="bold">{title}</text>')
    for a in (0, 0.25, 0.5, 0.75, 1):
        out.append(f'<line x1="{x0}" x2="{x0 + W}" y1="{y(a)}" y2="{y(a)}" stroke="#ddd"/><text x="{x0 - 8}" y="{y(a) + 4}" text-anchor="end">{a:g}</text>')
    for p in pairs:
        out.append(f'<text x="{x(p):.1f}" y="{TOP + H + 18}" text-anchor="middle">{p}</text>')
    out.append(f'<text x="{x0 + W / 2}" y="{TOP + H + 38}" text-anchor="middle">pairs in a document (trained on 12)</text>')
    for i, (write, colour) in enumerate(WRITES):
        found = curves(asked, write)
        line = " ".join(f"{x(p):.1f},{y(sum(v) / len(v)):.1f}" for p, v in sorted(found.items()))
        out.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{x(p):.1f}" cy="{y(a):.1f}" r="2.5" fill="{colour}" fill-opacity="0.6"/>' for p, v in found.items() for a in v]
        if panel == 1:
            out.append(f'<rect x="{x0 + W + 20}" y="{TOP + 22 * i}" width="12" height="12" fill="{colour}"/><text x="{x0 + W + 38}" y="{TOP + 22 * i + 11}">{write.replace("_", ", rank ")}</text>')
        table.append(f"| {title} | {write.replace('_', ', rank ')} | " + " | ".join(f"{sum(found[p]) / len(found[p]):.3f}" if p in found else "–" for p in pairs) + " |")
width, height = LEFT + 2 * W + GAP + 170, TOP + H + 60
with open(f"{HERE}/results/capacity.svg", "w") as file:
    file.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="white"/>\n' + "\n".join(out) + "\n</svg>\n")
with open(f"{HERE}/results/capacity.md", "w") as file:
    file.write("| task | written | " + " | ".join(map(str, pairs)) + " |\n|:--|:--|" + "--:|" * len(pairs) + "\n" + "\n".join(table) + "\n")
