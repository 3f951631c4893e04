using System.Diagnostics;
using EmtTorch.Configuration;
using EmtTorch.Kernels;
using EmtTorch.Memory;
using EmtTorch.Models;
using EmtTorch.Training;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

/// <summary>
/// What a transformer's training step is spent on: each part alone, forward and backward, on one slice of the batch and
/// one thread, times the number of slices and blocks; beside it its products and the memory that it must touch. Times
/// are the processor's, in which other work on the machine counts little.
/// </summary>
internal static class TransformerPhases
{
    /// <param name="name">One of <see cref="TransformerSteps.Networks"/>.</param>
    /// <param name="seconds">How long each part is timed.</param>
    public static void Run(string name, double seconds)
    {
        using var everything = NewDisposeScope();
        var (json, horizon) = TransformerSteps.Networks[name];
        var configuration = ConfigurationFile.Parse(
            json,
            ["device=cpu", "name=benchmark", .. TransformerSteps.AtHorizon(horizon)]
        );
        var model = configuration.Model;
        using var learner = new TokenLearner(configuration, CPU);
        using var generator = new Generator(5);
        var task = configuration.Task.ToTokenTask(horizon, CPU);
        var document = task.Batch(configuration.Training.BatchSize, generator);
        int slices = learner.Slices(document);
        long batch = configuration.Training.BatchSize / slices,
            tokens = document.Sum(s => s.Input.shape[1]),
            d = model.HiddenSize,
            wide = model.FeedForwardSize ?? 4 * d,
            rows = batch * tokens;
        using var optimizer = optim.Adam(learner.Network.parameters(), lr: 1e-3);
        var clipped = new ClippedAdam(optimizer, learner.Network.parameters());
        double whole = Time(() =>
        {
            learner.ComputeGradients(horizon, generator);
            clipped.Step(1);
        });

        var block = new BlockShape((int)d, ScalarType.Float32) { Drift = model.Drift, Gate = model.Gate };
        Tensor x = randn(batch, tokens, d).requires_grad_(),
            ofX = randn(batch, tokens, d);
        double copies = slices * model.Layers,
            product = 6.0 * rows / 1e9; // of one number of a weight: there, and back twice
        double Back(Func<Tensor> part) =>
            1000
            * copies
            * Time(() =>
            {
                using var scope = NewDisposeScope();
                part().backward([ofX]);
            });
        var found = new List<(string Part, double Milliseconds, double Gigaflops, double Passes)>();
        if (model.Drift)
        {
            using var drift = new DriftingContext(block);
            var first = drift.FirstState(batch, CPU);
            found.Add(
                ("drifting context", Back(() => drift.forward(x, first).Coloured), copies * 2 * d * d * product, 12)
            );
        }
        if (model.Attention)
        {
            using var attention = new CausalAttention(model);
            var network = (EpisodicTransformer)learner.Network;
            using var span = AttentionSpan.Of(
                model,
                network.FirstState(batch, CPU, default),
                tokens,
                ScalarType.Float32,
                CPU
            );
            double seen = model.Window is { } w ? Math.Min(w, tokens / 2.0) : tokens / 2.0;
            found.Add(
                (
                    "attention",
                    Back(() => attention.forward(x, null, null, span).Attended),
                    copies * (4 * d * d * product + 14.0 * rows * seen * d / 1e9),
                    14
                )
            );
        }
        if (model.BlockMemories.OfType<FastWeightSettings>().FirstOrDefault() is { } settings)
        {
            using var memory = (FastWeightMemory)settings.Create(block);
            var first = memory.FirstState(batch, CPU)["F"];
            var contexts = model.Drift ? x : null;
            found.Add(
                (
                    "fast weights",
                    Back(() => memory.forward(x, contexts, first).Added),
                    copies
                        * (
                            4 * d * d * product
                            + (settings.Write == "delta" ? 24.0 : 12.0) * rows * d * d / settings.Heads / 1e9
                        ),
                    14
                )
            );
        }
        using var norm = nn.LayerNorm(d);
        found.Add(("norms, two", 2 * Back(() => norm.forward(x)), 0, 10));
        using var expand = new Projection(d, wide, block);
        using var contract = new Projection(wide, d, block);
        found.Add(
            (
                "feed-forward",
                Back(() => contract.forward(expand.forward(x).gelu())),
                copies * 2 * d * wide * product,
                4 + 8.0 * wide / d
            )
        );
        found.Add(("clipping and Adam", 1000 * Time(() => clipped.Step(1)), 0, 0));
        found.Add(
            (
                "data",
                1000
                    * Time(() =>
                    {
                        using var scope = NewDisposeScope();
                        task.Batch(configuration.Training.BatchSize, generator);
                    }),
                0,
                0
            )
        );
        found.Add(("the rest", 1000 * whole - found.Sum(f => f.Milliseconds), 0, 0));
        found.Add(("all", 1000 * whole, found.Sum(f => f.Gigaflops), 0));

        double rate = MatrixRate(d);
        Console.WriteLine(
            $"{name}: {slices} slices of {batch} documents of {tokens} tokens, {model.Layers} blocks; "
                + $"products of {rows} rows by {d} x {3 * d}: {rate:0} GF/s"
        );
        Console.WriteLine("part                     ms  share     GFLOP  GF/s  of a product's rate  MB touched");
        foreach (var (part, milliseconds, gigaflops, passes) in found)
        {
            double speed = gigaflops / milliseconds * 1000,
                megabytes = passes * copies * rows * d * 4 / 1e6;
            Console.WriteLine(
                $"{part, -20}{milliseconds, 8:0.0}{milliseconds / whole / 1000, 7:P0}"
                    + (gigaflops > 0 ? $"{gigaflops, 10:0.00}{speed, 6:0}{speed / rate, 22:P0}" : new string(' ', 38))
                    + (megabytes > 0 ? $"{megabytes, 12:0}" : "")
            );
        }

        double Time(Action work)
        {
            for (long start = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(start).TotalSeconds < seconds; )
                work();
            List<double> times = [];
            for (long start = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(start).TotalSeconds < seconds; )
            {
                var begin = Environment.CpuUsage.TotalTime;
                work();
                times.Add((Environment.CpuUsage.TotalTime - begin).TotalSeconds);
            }
            return InTurn.Median(times);
        }
        // A product of the same shape as a block's widest, by this project's kernel, from the caches
        double MatrixRate(long width)
        {
            using var quiet = no_grad();
            Tensor a = randn(512, width),
                b = randn(3 * width, width);
            return 2.0
                * 512
                * width
                * 3
                * width
                / Time(() =>
                {
                    using var scope = NewDisposeScope();
                    LinearProduct.Apply(a, b);
                })
                / 1e9;
        }
    }
}
