# Draws results/figure.svg from runs/ and results/stores.jsonl: test accuracy along the runs, and queries a second by the number of keys.
import json, math, pathlib

here = pathlib.Path(__file__).parent
colours = ["#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#a463f2", "#9c6b4e"]
svg = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 330" font-family="sans-serif" font-size="12"><rect width="900" height="330" fill="white"/>']


def text(x, y, what, anchor="start", colour="black"):
    svg.append(f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{colour}">{what}</text>')


def line(points, colour, width=1.5):
    svg.append(f'<polyline fill="none" stroke="{colour}" stroke-width="{width}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>')


# Accuracy at horizon 16 against steps, a line a seed.
x0, y0, w, h = 50, 280, 300, 230
line([(x0, y0 - h), (x0, y0), (x0 + w, y0)], "black", 1)
text(x0, 30, "test accuracy at 16 segments between, by step")
for a in (0, 0.5, 1): text(x0 - 6, y0 - a * h + 4, a, "end")
for s in (0, 50, 100, 150): text(x0 + s / 150 * w, y0 + 18, s, "middle")
parts = [v["name"] for v in json.loads((here / "sweep.json").read_text())["axes"]["part"]]
for i, part in enumerate(p for p in parts if (here / "runs" / p).exists()):
    for metrics in sorted((here / "runs" / part).glob("seed-*/metrics.jsonl")):
        tests = [(m["step"], m["test_accuracy"]) for m in map(json.loads, metrics.read_text().splitlines()) if "test_accuracy" in m]
        line([(x0, y0 - h / 64)] + [(x0 + s / 150 * w, y0 - a * h) for s, a in tests], colours[i])
    text(x0 + w + 15, y0 - h + 16 * i + 10, part, colour=colours[i])

# Queries a second against keys, both in powers of ten.
x0, w = 560, 200
line([(x0, y0 - h), (x0, y0), (x0 + w, y0)], "black", 1)
text(x0, 30, "queries a second, the nearest 10, by keys")
for e in range(5): text(x0 - 6, y0 - e / 4.5 * h + 4, f"10{'⁰¹²³⁴'[e]}", "end")
for e in (4, 5, 6): text(x0 + (e - 4) / 2 * w, y0 + 18, f"10{'⁰¹²³⁴⁵⁶'[e]}", "middle")
rows = [r for r in map(json.loads, (here / "results" / "stores.jsonl").read_text().splitlines()) if "queries_per_second" in r]
for i, store in enumerate(("memory", "exact", "hnsw")):
    points = [(x0 + (math.log10(r["keys"]) - 4) / 2 * w, y0 - math.log10(r["queries_per_second"]) / 4.5 * h) for r in sorted(rows, key=lambda r: r["keys"]) if r["store"] == store]
    line(points, colours[i])
    for x, y in points: svg.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colours[i]}"/>')
    if points: text(points[-1][0] + 8, points[-1][1] + (12 if store == "hnsw" else 2), store if store == "memory" else f"PostgreSQL, {store}", colour=colours[i])
(here / "results" / "figure.svg").write_text("\n".join(svg) + "\n</svg>\n")
