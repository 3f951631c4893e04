using EmtTorch.Models;
using TorchSharp;

namespace EmtTorch.Tests;

/// <summary>
/// A transformer with episodic memory, written as its equations stand: one document, token by token, in loops over
/// doubles. For Hebbian fast weights and those of a full hypernetwork.
/// </summary>
/// <param name="model">The switches.</param>
/// <param name="network">The network whose weights it takes.</param>
internal sealed class LiteralTransformer(ModelConfiguration model, EpisodicTransformer network)
{
    private readonly Dictionary<string, (double[] Numbers, long[] Shape)> _weights = network
        .named_parameters()
        .ToDictionary(p => p.name, p => (p.parameter.data<double>().ToArray(), p.parameter.shape));
    private readonly Layer[] _layers =
    [
        .. Enumerable.Range(0, model.Layers).Select(i => new Layer($"blocks.{i}.", model)),
    ];

    private sealed class Layer(string path, ModelConfiguration model)
    {
        public string Path => path;
        public double[] Context { get; set; } = new double[model.HiddenSize];
        public double[][,] Fast { get; } =
        [
            .. Enumerable
                .Range(0, model.MemoryHeads)
                .Select(_ => new double[model.HiddenSize / model.MemoryHeads, model.HiddenSize / model.MemoryHeads]),
        ];
        public List<double[]> Keys { get; } = [];
        public List<double[]> Values { get; } = [];
    }

    /// <summary>The logits (T, V) of a document.</summary>
    public double[][] Logits(long[] tokens) => [.. tokens.Select(Token)];

    private double[] Token(long token)
    {
        var x = Enumerable.Range(0, model.HiddenSize).Select(j => At("embedding.weight", token, j)).ToArray();
        foreach (var layer in _layers)
            x = Block(layer, x);
        return Times("readout.weight", Norm(x, "norm"));
    }

    private double[] Block(Layer layer, double[] x)
    {
        var (p, before) = (layer.Path, layer.Context);
        bool seed = model.Residual == "seed",
            isLinear = model.DriftCell == "linear";
        double[] plain = seed ? x : Norm(x, $"{p}norm1"),
            h = plain;
        if (model.Drift)
        {
            string part = isLinear ? "drift" : "recurrence";
            h =
                model.DriftJoin == "concatenate"
                    ? [.. h, .. before]
                    : Plus(h, Times($"{p}{part}.output.weight", before));
            if (isLinear)
                layer.Context = Drifted(layer, plain);
        }
        var queries = new double[model.HiddenSize];
        var added = new double[model.HiddenSize];
        if (model.Attention)
        {
            var projected = Times($"{p}attention.qkv.weight", h);
            queries = projected[..model.HiddenSize];
            added = Attended(layer, projected);
            if (model.AttentionOutput)
                added = Times($"{p}attention.output.weight", added);
        }
        added = Plus(added, Remembered(layer, h, plain, queries));
        var stream = seed ? x : Plus(x, added);
        var fed = Times(
            $"{p}contract.weight",
            [.. Times($"{p}expand.weight", seed ? added : Norm(stream, $"{p}norm2")).Select(Gelu)]
        );
        if (model.DriftCell == "elman")
            layer.Context = Elman(p, fed, before);
        if (model.DriftCell == "gru")
            layer.Context = Gru(p, fed, before);
        return Plus(stream, fed);
    }

    private double[] Drifted(Layer layer, double[] plain)
    {
        var (lambda, driven) = ($"{layer.Path}drift.logit_decay", Times($"{layer.Path}drift.input.weight", plain));
        bool shared = model.DriftRate == "shared";
        return [.. layer.Context.Select((c, i) => Sigmoid(At(lambda, shared ? 0 : i)) * c + driven[i])];
    }

    private double[] Elman(string p, double[] fed, double[] context) =>
        [
            .. Plus(Times($"{p}recurrence.elman.weight_hh", context), Times($"{p}recurrence.elman.weight_ih", fed))
                .Select(Math.Tanh),
        ];

    private double[] Gru(string p, double[] fed, double[] context)
    {
        p += "recurrence.gru.";
        int d = model.HiddenSize;
        double[] i = [.. Times($"{p}weight_ih", fed).Select((a, j) => a + At($"{p}bias_ih", j))],
            h = [.. Times($"{p}weight_hh", context).Select((a, j) => a + At($"{p}bias_hh", j))];
        return
        [
            .. context.Select(
                (c, j) =>
                {
                    double r = Sigmoid(i[j] + h[j]),
                        z = Sigmoid(i[d + j] + h[d + j]),
                        n = Math.Tanh(i[2 * d + j] + r * h[2 * d + j]);
                    return (1 - z) * n + z * c;
                }
            ),
        ];
    }

    private double[] Attended(Layer layer, double[] projected)
    {
        int d = model.HiddenSize,
            size = d / model.Heads,
            position = layer.Keys.Count,
            first = Math.Max(0, position + 1 - (model.Window ?? int.MaxValue / 2));
        var q = Rotated(projected[..d], position);
        layer.Keys.Add(Rotated(projected[d..(2 * d)], position));
        layer.Values.Add(projected[(2 * d)..]);
        var attended = new double[d];
        for (int from = 0; from < d; from += size)
        {
            double[] weights =
            [
                .. Enumerable
                    .Range(first, position + 1 - first)
                    .Select(s => Math.Exp(Dot(q, layer.Keys[s], from, size) / Math.Sqrt(size))),
            ];
            for (int i = from; i < from + size; i++)
                attended[i] = weights.Select((w, s) => w * layer.Values[first + s][i]).Sum() / weights.Sum();
        }
        return attended;
    }

    private double[] Rotated(double[] x, int position)
    {
        if (model.Positions == "none")
            return x;
        int size = x.Length / model.Heads,
            half = size / 2;
        return
        [
            .. x.Select(
                (a, i) =>
                {
                    int j = i % size % half;
                    double angle = position * Math.Pow(10_000, -(double)j / half);
                    bool isFirst = i % size < half;
                    return a * Math.Cos(angle)
                        + x[isFirst ? i + half : i - half] * Math.Sin(angle) * (isFirst ? -1 : 1);
                }
            ),
        ];
    }

    /// <summary>Writes to the fast weights, reads them before or after that, and says what the read adds.</summary>
    private double[] Remembered(Layer layer, double[] h, double[] plain, double[] queries)
    {
        string p = $"{layer.Path}memory.";
        bool asSource = model.Read == "source",
            isFull = model.Write == "full_hypernetwork";
        int d = model.HiddenSize,
            heads = model.MemoryHeads,
            size = d / heads;
        var own = asSource && isFull ? [] : Times($"{p}qkv.weight", h);
        double[] q = asSource ? queries : own[..d],
            k = isFull ? q : own[^(2 * d)..^d],
            v = isFull ? q : own[^d..],
            g = Gates(layer, h, plain),
            matrices = isFull ? Hyper(p, h) : [],
            read = new double[d];
        for (int m = 0; m < heads; m++)
        {
            var range = (m * size)..((m + 1) * size);
            double[] query = model.UnitKeys && !asSource ? Unit(q[range]) : q[range],
                key = model.UnitKeys ? Unit(k[range]) : k[range],
                value = v[range];
            var fast = layer.Fast[m];
            double beta = g[m] * Math.Exp(At($"{p}rate", m)),
                gamma = model.Decay ? Sigmoid(At($"{p}logit_decay", m)) : 1;
            if (!asSource)
                Add(read, m * size, size, (i, j) => fast[j, i] * query[j]); // Fᵀ q
            for (int i = 0; i < size; i++)
            {
                for (int j = 0; j < size; j++)
                {
                    double written = isFull ? matrices[(m * size + i) * size + j] : key[i] * value[j];
                    fast[i, j] = gamma * fast[i, j] + beta * written;
                }
            }
            if (asSource)
                Add(read, m * size, size, (i, j) => fast[i, j] * query[j]); // F q
        }
        if (model.Read == "linear")
            return Times($"{p}output.weight", read);
        double[] powers = [.. read.Select(r => Math.Exp(r / Math.Sqrt(d)))];
        return
        [
            .. Enumerable
                .Range(0, d)
                .Select(j => powers.Select((e, i) => e * At($"{p}table", i, j)).Sum() / powers.Sum()),
        ];
    }

    private static void Add(double[] read, int from, int size, Func<int, int, double> term)
    {
        for (int i = 0; i < size; i++)
            read[from + i] = Enumerable.Range(0, size).Sum(j => term(i, j));
    }

    private double[] Hyper(string p, double[] h)
    {
        p += "full_hypernetwork.";
        var hidden = Times($"{p}hidden.weight", h).Select((a, i) => Gelu(a + At($"{p}hidden.bias", i)));
        return Times($"{p}output.weight", [.. hidden]);
    }

    private double[] Gates(Layer layer, double[] h, double[] plain)
    {
        if (!model.Gate)
            return [.. Enumerable.Repeat(1.0, model.MemoryHeads)];
        string p = $"{layer.Path}memory.gate.gate.";
        var seen = model.GateInput == "plain" ? plain : h;
        return
        [
            .. Times($"{p}weight", model.Drift ? [.. seen, .. layer.Context] : seen)
                .Select((a, i) => Sigmoid(a + At($"{p}bias", i))),
        ];
    }

    private double[] Norm(double[] x, string name)
    {
        double mean = x.Average(),
            deviation = Math.Sqrt(x.Average(a => (a - mean) * (a - mean)) + 1e-5);
        return [.. x.Select((a, i) => (a - mean) / deviation * At($"{name}.weight", i) + At($"{name}.bias", i))];
    }

    private double[] Times(string name, double[] x)
    {
        var (numbers, shape) = _weights[name];
        Assert.That(shape[1], Is.EqualTo(x.Length), name);
        return
        [
            .. Enumerable
                .Range(0, (int)shape[0])
                .Select(i => Enumerable.Range(0, x.Length).Sum(j => numbers[i * x.Length + j] * x[j])),
        ];
    }

    private double At(string name, long i) => _weights[name].Numbers[i];

    private double At(string name, long i, long j) => _weights[name].Numbers[i * _weights[name].Shape[1] + j];

    private static double[] Plus(double[] x, double[] y) => [.. x.Zip(y, (a, b) => a + b)];

    private static double[] Unit(double[] x) => [.. x.Select(a => a / Math.Sqrt(x.Sum(b => b * b)))];

    private static double Dot(double[] x, double[] y, int from, int size) =>
        Enumerable.Range(from, size).Sum(i => x[i] * y[i]);

    private static double Sigmoid(double a) => 1 / (1 + Math.Exp(-a));

    // x Φ(x), with Φ by Simpson's rule: .NET has no error function.
    private static double Gelu(double x)
    {
        const int Steps = 2000;
        double width = x / Steps,
            sum = 0;
        for (int i = 0; i <= Steps; i++)
        {
            double t = i * width;
            sum +=
                Math.Exp(-t * t / 2)
                * (
                    i is 0 or Steps ? 1
                    : i % 2 == 1 ? 4
                    : 2
                );
        }
        return x * (0.5 + sum * width / 3 / Math.Sqrt(2 * Math.PI));
    }
}
