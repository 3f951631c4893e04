using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using EmtTorch.Analysis;
using EmtTorch.Analysis.Charts;
using EmtTorch.Configuration;
using EmtTorch.Kernels;
using EmtTorch.Settings;
using TorchSharp;
using static EmtTorch.Analysis.Charts.Channel;
using static TorchSharp.torch;

namespace EmtTorch.Studies;

/// <summary>All that the retrieval experiment depends on: experiments/gsemm/retrieval.json.</summary>
public sealed record GsemmConfiguration
{
    [Description("Where the memories and the cue come from.")]
    [Range(0, int.MaxValue)]
    public int Seed { get; init; } = 1;

    [Description("Memories, N_h: random signs, +1 or -1 in each feature.")]
    [Range(2, 1024)]
    public int Memories { get; init; } = 6;

    [Description("Features, N_f: at least as many as memories.")]
    [Range(2, 4096)]
    public int Features { get; init; } = 64;

    [Description("Whether the last memory goes on to the first one.")]
    public bool Cyclic { get; init; } = true;

    [Description("The share of the features in which the cue differs from the first memory.")]
    [Range(0.0, 0.5)]
    public double CueNoise { get; init; } = 0.1;

    [Description("T_f, T_h and T_d, in one unit of time; T_h and T_d may be 0, their limit.")]
    public GsemmTimescales Timescales { get; init; } = new();

    [Description("The strengths of the synapses.")]
    public GsemmStrengths Strengths { get; init; } = new();

    [Description("σ_f(x) and σ_h(x), each of gain · x.")]
    public GsemmNonlinearities Nonlinearity { get; init; } = new();

    [Description("How the ODE is integrated.")]
    public GsemmIntegration Integration { get; init; } = new();

    [Description("Steps of the discrete limit, Eq. 20.")]
    [Range(1, 100_000)]
    public int DiscreteSteps { get; init; } = 18;

    /// <summary>Reads and checks a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="overrides">`key.path=value`, as for a run.</param>
    /// <exception cref="ConfigurationException">There are problems: all of them.</exception>
    public static GsemmConfiguration Load(string path, IReadOnlyList<string>? overrides = null) =>
        ConfigurationFile.Load<GsemmConfiguration>(path, overrides, c => c.Check());

    /// <summary>The model's settings.</summary>
    internal GsemmSettings ToSettings() =>
        new()
        {
            FeatureTimescale = Timescales.Feature,
            HiddenTimescale = Timescales.Hidden,
            DelayTimescale = Timescales.Delay,
            AlphaS = Strengths.AlphaS,
            AlphaC = Strengths.AlphaC,
            FeatureNonlinearity = Enum.Parse<Nonlinearity>(Nonlinearity.Feature, ignoreCase: true),
            FeatureGain = Nonlinearity.FeatureGain,
            HiddenNonlinearity = Enum.Parse<Nonlinearity>(Nonlinearity.Hidden, ignoreCase: true),
            HiddenGain = Nonlinearity.HiddenGain,
        };

    private IEnumerable<(string[] Keys, ConfigurationProblem Problem)> Check()
    {
        if (Memories > Features)
        {
            yield return (
                ["memories", "features"],
                new(
                    "memories",
                    $"found {Memories} memories of {Features} features; allowed: at most as many as features, as "
                        + "more are linearly dependent"
                )
            );
        }

        double steps = Integration.Length / Integration.Step;
        string[] keys = ["integration.step", "integration.length", "integration.record_every"];
        const double most = 1e7,
            mostNumbers = 1e8;
        if (!(Math.Round(steps) >= 1 && Math.Abs(steps - Math.Round(steps)) <= 1e-9 * steps))
        {
            yield return (
                keys,
                new(
                    "integration.length",
                    $"found {Integration.Length}, {steps.ToString("0.######", CultureInfo.InvariantCulture)} steps "
                        + $"of {Integration.Step}; allowed: a whole number of steps"
                )
            );
        }
        else if (steps > most)
        {
            yield return (
                keys,
                new(
                    "integration.step",
                    $"found {Integration.Step}, {steps:0.##e+0} steps in all; allowed: at most {most:0}"
                )
            );
        }
        else if ((long)Math.Round(steps) % Integration.RecordEvery != 0)
        {
            yield return (
                keys,
                new(
                    "integration.record_every",
                    $"found {Integration.RecordEvery}; allowed: a divisor of all {Math.Round(steps):0} steps"
                )
            );
        }
        else if (steps / Integration.RecordEvery * (2.0 * Features + Memories) > mostNumbers)
        {
            yield return (
                [.. keys, "features", "memories"],
                new(
                    "integration.record_every",
                    $"found {Integration.RecordEvery}, {steps / Integration.RecordEvery:0} records; allowed: few "
                        + $"enough for {mostNumbers:0.#e+0} numbers in all"
                )
            );
        }

        if ((double)DiscreteSteps * Features > mostNumbers)
        {
            yield return (
                ["discrete_steps", "features"],
                new(
                    "discrete_steps",
                    $"found {DiscreteSteps}; allowed: few enough for {mostNumbers:0.#e+0} numbers in all"
                )
            );
        }
    }
}

/// <summary>T_f, T_h and T_d.</summary>
public sealed record GsemmTimescales
{
    [Description("T_f, of the feature neurons.")]
    [Range(0, double.MaxValue, MinimumIsExclusive = true)]
    public double Feature { get; init; } = 1;

    [Description("T_h, of the hidden neurons.")]
    [Range(0, double.MaxValue)]
    public double Hidden { get; init; } = 0.2;

    [Description("T_d, of the delay neurons; a memory is held for about half of it.")]
    [Range(0, double.MaxValue)]
    public double Delay { get; init; } = 20;
}

/// <summary>α_s and α_c.</summary>
public sealed record GsemmStrengths
{
    [Description("α_s, of the memories' own synapses.")]
    [Range(0, double.MaxValue, MinimumIsExclusive = true)]
    public double AlphaS { get; init; } = 1;

    [Description("α_c, of the synapses between memories, Φ'; 0: no sequence.")]
    [Range(-double.MaxValue, double.MaxValue)]
    public double AlphaC { get; init; } = 1;
}

/// <summary>σ_f and σ_h.</summary>
public sealed record GsemmNonlinearities
{
    [Description("σ_f.")]
    [AllowedValues("tanh", "identity")]
    public string Feature { get; init; } = "tanh";

    [Description("The gain of σ_f.")]
    [Range(0, double.MaxValue, MinimumIsExclusive = true)]
    public double FeatureGain { get; init; } = 4;

    [Description("σ_h; the identity in Eq. 18.")]
    [AllowedValues("identity", "tanh")]
    public string Hidden { get; init; } = "identity";

    [Description("The gain of σ_h.")]
    [Range(0, double.MaxValue, MinimumIsExclusive = true)]
    public double HiddenGain { get; init; } = 1;
}

/// <summary>How the ODE is integrated.</summary>
public sealed record GsemmIntegration
{
    [Description("Forward Euler or the classical Runge–Kutta method.")]
    [AllowedValues("rk4", "euler")]
    public string Integrator { get; init; } = "rk4";

    [Description("The step, in the timescales' unit.")]
    [Range(0, double.MaxValue, MinimumIsExclusive = true)]
    public double Step { get; init; } = 0.05;

    [Description("The length of the whole, in the timescales' unit.")]
    [Range(0, double.MaxValue, MinimumIsExclusive = true)]
    public double Length { get; init; } = 150;

    [Description("Steps between two records.")]
    [Range(1, int.MaxValue)]
    public int RecordEvery { get; init; } = 10;
}

/// <summary>One run of the retrieval: overlaps over time, and what was retrieved.</summary>
/// <param name="Times">(T).</param>
/// <param name="Overlaps">Ξ† σ_f(V_f) (T, N_h).</param>
/// <param name="Retrieved">The memories in the order in which they came, numbered from 1: each time another one's
/// overlap becomes the largest, and is 0.5 or more.</param>
/// <param name="Onsets">When each of <see cref="Retrieved"/> was first recorded.</param>
/// <param name="InOrder">Whether they came as stored, from the first one on, and none was left out.</param>
public sealed record GsemmRetrieval(
    double[] Times,
    double[][] Overlaps,
    int[] Retrieved,
    double[] Onsets,
    bool InOrder
);

/// <summary>The energy E along a run, where it is defined.</summary>
/// <param name="Times">(T).</param>
/// <param name="Values">(T).</param>
/// <param name="LargestRise">The largest rise from one record to the next; 0 where there is none.</param>
/// <param name="NeverRises">Whether theory says that it can't rise.</param>
public sealed record GsemmEnergy(double[] Times, double[] Values, double LargestRise, bool NeverRises);

/// <summary>How an error shrinks with a step or a timescale.</summary>
/// <param name="Name">What is varied.</param>
/// <param name="Sizes">The steps or timescales, in units of T_f.</param>
/// <param name="Errors">The largest difference of a V_f at the end.</param>
/// <param name="Order">The slope between the last two, or null where an error is lost in rounding.</param>
public sealed record GsemmConvergence(string Name, double[] Sizes, double[] Errors, double? Order);

/// <summary>What the retrieval experiment found.</summary>
public sealed record GsemmResult
{
    public required GsemmConfiguration Configuration { get; init; }

    /// <summary>The ODE, Eq. 1.</summary>
    public required GsemmRetrieval Continuous { get; init; }

    /// <summary>The discrete limit, Eq. 20, a step a unit of time.</summary>
    public required GsemmRetrieval Discrete { get; init; }

    /// <summary>Along the ODE; null where no energy is defined.</summary>
    public GsemmEnergy? Energy { get; init; }

    /// <summary>From the same cue with α_c = 0: a lone memory is retrieved. Null where no energy is defined.</summary>
    public GsemmEnergy? EnergyWithoutSequence { get; init; }

    /// <summary>Why there is no energy.</summary>
    public string? NoEnergy { get; init; }

    /// <summary>
    /// The spectral norm ‖Ξ Φᵀ Ξ†‖, gain not included, which the paper asks to be at most 1 for Eq. 24; null where σ_h
    /// is not the identity.
    /// </summary>
    public double? Norm { get; init; }

    /// <summary>
    /// The largest |σ_f(V_f(t)) − h(t)| over the discrete run, h by W_hh alone (Eq. 24); null where there is no such
    /// network.
    /// </summary>
    public double? ConjugacyError { get; init; }

    public required IReadOnlyList<GsemmConvergence> Convergence { get; init; }

    [JsonIgnore]
    public IReadOnlyList<Figure> Figures { get; init; } = [];

    /// <summary>All but the figures, in snake_case, ending in a newline.</summary>
    public string ToJson() => JsonSerializer.Serialize(this, OutputJson.Options) + "\n";
}

/// <summary>
/// Retrieves a stored sequence of memories from a noisy cue of the first one, by Eq. 1 and by Eq. 20.
/// </summary>
/// <example><code>
/// var result = GsemmExperiment.Run(GsemmConfiguration.Load("experiments/gsemm/retrieval.json"));
/// File.WriteAllText("gsemm.json", result.ToJson());
/// </code></example>
public static class GsemmExperiment
{
    /// <summary>Runs the whole.</summary>
    /// <exception cref="ConfigurationException">The memories that the seed gives are linearly dependent.</exception>
    /// <exception cref="GsemmDivergedException">The step is too large.</exception>
    public static GsemmResult Run(GsemmConfiguration configuration)
    {
        using var scope = NewDisposeScope();
        var random = new System.Random(configuration.Seed);
        var xi = new double[configuration.Features, configuration.Memories];
        for (int j = 0; j < configuration.Memories; j++)
        {
            for (int i = 0; i < configuration.Features; i++)
                xi[i, j] = random.Next(2) * 2 - 1;
        }

        var wrong = Enumerable.Range(0, configuration.Features).ToArray();
        random.Shuffle(wrong);
        var first = new double[1, configuration.Features];
        for (int i = 0; i < configuration.Features; i++)
            first[0, i] = xi[i, 0];
        foreach (int i in wrong.Take((int)Math.Round(configuration.CueNoise * configuration.Features)))
            first[0, i] *= -1;
        var cue = tensor(first); // (1, N_f)

        var settings = configuration.ToSettings();
        var memories = tensor(xi);
        var sequence = Gsemm.Sequence(configuration.Memories, configuration.Cyclic);
        Gsemm model;
        try
        {
            model = new(memories, sequence, settings);
        }
        catch (ArgumentException e)
        {
            throw new ConfigurationException([
                new(
                    "seed",
                    $"found {configuration.Seed}, with which {e.Message}; another seed, or more features, will do"
                ),
            ]);
        }
        using var _ = model;

        var integrator = Enum.Parse<Integrator>(configuration.Integration.Integrator, ignoreCase: true);
        var run = model.Integrate(
            model.Start(cue),
            integrator,
            configuration.Integration.Step,
            configuration.Integration.Length,
            configuration.Integration.RecordEvery
        );
        var continuous = Retrieve(
            run.Times,
            Rows(model.Overlaps(run.Feature)[TensorIndex.Colon, 0]),
            configuration.Cyclic
        );
        var orbit = model.Discrete(cue, configuration.DiscreteSteps);
        var discrete = Retrieve(
            [.. Enumerable.Range(0, configuration.DiscreteSteps + 1)],
            Rows(model.Overlaps(orbit)[TensorIndex.Colon, 0]),
            configuration.Cyclic
        );

        GsemmEnergy? energy = null,
            alone = null;
        if (model.NoEnergy is null)
        {
            energy = Energy(model, run);
            using var still = new Gsemm(memories, sequence, settings with { AlphaC = 0 });
            // Long enough for the features to settle; no longer than the run itself.
            double step = configuration.Integration.Step;
            long steps = Math.Min(
                (long)Math.Ceiling(20 * Math.Max(settings.FeatureTimescale, settings.HiddenTimescale) / step),
                (long)Math.Round(configuration.Integration.Length / step)
            );
            int every = (int)Math.Max(1, steps / 400);
            alone = Energy(
                still,
                still.Integrate(still.Start(cue), integrator, step, steps / every * every * step, every)
            );
        }

        bool elman =
            settings.FeatureNonlinearity == Nonlinearity.Tanh && settings.HiddenNonlinearity == Nonlinearity.Identity;
        var result = new GsemmResult
        {
            Configuration = configuration,
            Continuous = continuous,
            Discrete = discrete,
            Energy = energy,
            EnergyWithoutSequence = alone,
            NoEnergy = model.NoEnergy,
            Norm = elman ? linalg.matrix_norm(model.ElmanWeights(), 2).ToDouble() / settings.FeatureGain : null,
            ConjugacyError = elman ? Conjugacy(model, orbit) : null,
            Convergence = Converge(memories, sequence, settings, cue),
        };
        return result with { Figures = GsemmFigures.Of(result) };
    }

    /// <summary>What came in which order.</summary>
    /// <param name="times">(T).</param>
    /// <param name="overlaps">(T, N_h).</param>
    /// <param name="cyclic">Whether the last memory goes on to the first one: then in order means a whole round and
    /// back to memory 1.</param>
    internal static GsemmRetrieval Retrieve(double[] times, double[][] overlaps, bool cyclic)
    {
        List<int> retrieved = [];
        List<double> onsets = [];
        for (int t = 0; t < times.Length; t++)
        {
            int largest = Array.IndexOf(overlaps[t], overlaps[t].Max());
            if (overlaps[t][largest] < 0.5 || (retrieved.Count > 0 && retrieved[^1] == largest + 1))
                continue;
            retrieved.Add(largest + 1);
            onsets.Add(times[t]);
        }
        int memories = overlaps[0].Length;
        bool inOrder =
            retrieved.Select((memory, n) => memory == n % memories + 1).All(right => right)
            && (cyclic ? retrieved.Count > memories : retrieved.Count == memories);
        return new(times, overlaps, [.. retrieved], [.. onsets], inOrder);
    }

    private static GsemmEnergy Energy(Gsemm model, GsemmTrajectory run)
    {
        var values = model.Energy(new(run.Feature, run.Hidden, run.Delay)).flatten().data<double>().ToArray();
        return new(
            run.Times,
            values,
            values.Zip(values.Skip(1), (a, b) => b - a).Append(0).Max(),
            model.EnergyNeverRises
        );
    }

    private static double Conjugacy(Gsemm model, Tensor orbit)
    {
        using var scope = NewDisposeScope();
        var weights = model.ElmanWeights().t();
        var v = orbit[TensorIndex.Colon, 0] * model.Settings.FeatureGain; // (T, N_f)
        var h = tanh(v[0]).unsqueeze(0);
        double worst = 0;
        for (int t = 1; t < v.shape[0]; t++)
        {
            h = tanh(h.matmul(weights));
            worst = Math.Max(worst, (h - tanh(v[t])).abs().max().ToDouble());
        }
        return worst;
    }

    // Errors of V_f after about 2 T_f, from a cue so small that σ_f is not saturated: there the ODE is at its most
    // curved.
    private static List<GsemmConvergence> Converge(Tensor memories, Tensor sequence, GsemmSettings settings, Tensor cue)
    {
        using var scope = NewDisposeScope();
        var start = cue / (2 * settings.FeatureGain);
        double unit = settings.FeatureTimescale;
        double shortest = new[] { unit, settings.HiddenTimescale, settings.DelayTimescale }.Where(t => t > 0).Min();
        double length = Math.Min(Math.Round(2 * unit / shortest), 100) * shortest;
        var limit = settings with { HiddenTimescale = 0, DelayTimescale = 0 };

        double[] End(GsemmSettings s, Integrator integrator, double step, double until)
        {
            using var inner = NewDisposeScope();
            using var model = new Gsemm(memories, sequence, s);
            int steps = (int)Math.Round(until / step);
            return model
                .Integrate(model.Start(start), integrator, until / steps, until, steps)
                .Last.Feature.contiguous()
                .data<double>()
                .ToArray();
        }
        GsemmConvergence Series(string name, double[] reference, IEnumerable<double> sizes, Func<double, double[]> end)
        {
            var at = sizes.ToArray();
            var errors = at.Select(size => end(size).Zip(reference, (a, b) => Math.Abs(a - b)).Max()).ToArray();
            return new(
                name,
                [.. at.Select(s => s / unit)],
                errors,
                errors[^1] > 1e-12 ? Math.Log(errors[^2] / errors[^1]) / Math.Log(at[^2] / at[^1]) : null
            );
        }
        static IEnumerable<double> Halves(double from, int first, int last) =>
            Enumerable.Range(first, last - first + 1).Select(k => from * Math.Pow(2, -k));

        var exact = End(settings, Integrator.Rk4, shortest / 256, length);
        var reduced = End(limit, Integrator.Rk4, unit / 1024, 2 * unit);
        return
        [
            Series(
                "forward Euler, by its step",
                exact,
                Halves(shortest, 1, 8),
                step => End(settings, Integrator.Euler, step, length)
            ),
            Series(
                "RK4, by its step",
                exact,
                Halves(shortest, 1, 5),
                step => End(settings, Integrator.Rk4, step, length)
            ),
            Series(
                "the ODE to its limit T_h = T_d → 0, by T_h = T_d",
                reduced,
                Halves(unit, 3, 10),
                t => End(settings with { HiddenTimescale = t, DelayTimescale = t }, Integrator.Rk4, t / 2, 2 * unit)
            ),
            Series(
                "Eq. 20 to the limit ODE, by its step (1 is Eq. 20)",
                reduced,
                Halves(unit, 0, 10),
                step => End(limit, Integrator.Euler, step, 2 * unit)
            ),
        ];
    }

    private static double[][] Rows(Tensor matrix) =>
        [.. matrix.contiguous().data<double>().ToArray().Chunk((int)matrix.shape[1])];
}

/// <summary>The figures of a result.</summary>
internal static class GsemmFigures
{
    public static List<Figure> Of(GsemmResult result)
    {
        var (ode, discrete) = (result.Continuous, result.Discrete);
        // One for both, so that their colours can be compared.
        var overlaps = ode.Overlaps.Concat(discrete.Overlaps).SelectMany(row => row).ToList();
        var scale = new Scale(Scheme: "viridis", Domain: new[] { Math.Min(0, overlaps.Min()), overlaps.Max() });
        List<Figure> figures =
        [
            Overlaps(ode, "time, in the timescales' unit", scale)
                .Figure(
                    "overlaps",
                    "Memories retrieved by the ODE (Eq. 1)",
                    "Rows are memories, in the order in which they are stored; colour is how much of each the "
                        + $"feature neurons' output holds, Ξ†σ_f(V_f). Retrieved: {string.Join(", ", ode.Retrieved)}."
                ),
            Overlaps(discrete, "step", scale)
                .Figure(
                    "overlaps-discrete",
                    "Memories retrieved by the discrete limit (Eq. 20)",
                    "The same for V_f(t+1) = Ξ Φᵀ Ξ† σ_f(V_f(t)), T_h and T_d being 0: a memory a step. Retrieved: "
                        + $"{string.Join(", ", discrete.Retrieved)}."
                ),
        ];
        if (result is { Energy: { } energy, EnergyWithoutSequence: { } alone })
        {
            figures.Add(
                new Chart
                {
                    Beside = [EnergyOf(alone, "without a sequence"), EnergyOf(energy, "with the sequence")],
                }.Figure(
                    "energy",
                    "Energy",
                    "Left: without the sequence (α_c = 0) the energy only falls, as the cue becomes memory 1. "
                        + "Right: with it, the energy may rise while the delay neurons move, and falls as a memory "
                        + "gives way to the next; the largest rise between two records is "
                        + $"{NumberText.Fixed(energy.LargestRise, "0.###")}."
                )
            );
        }

        figures.Add(Convergence(result.Convergence));
        return figures;
    }

    private static Chart Overlaps(GsemmRetrieval retrieval, string time, Scale scale)
    {
        // A screen shows no more columns: the others are left out.
        int every = Math.Max(1, retrieval.Times.Length / 400);
        double width = retrieval.Times.Length > 1 ? (retrieval.Times[1] - retrieval.Times[0]) * every : 1;
        return new()
        {
            Width = 640,
            Height = Math.Clamp(24 * retrieval.Overlaps[0].Length, 96, 480),
            Rows = retrieval
                .Times.Zip(retrieval.Overlaps)
                .Where((_, t) => t % every == 0)
                .SelectMany(record =>
                    record.Second.Select(
                        (overlap, m) =>
                            new
                            {
                                time = record.First,
                                end = record.First + width,
                                memory = m + 1,
                                overlap,
                            }
                    )
                ),
            // Neighbours overlap by half a pixel, or the background would show between them.
            Mark = new("rect", Tooltip: true, X2Offset: 0.5),
            X = new("time", time) { Scale = Scale.Tight with { Padding = 0 } },
            X2 = new("end") { Type = null },
            Y = new("memory", "memory") { Type = "ordinal" },
            Color = new("overlap", "overlap") { Scale = scale },
        };
    }

    private static Chart EnergyOf(GsemmEnergy energy, string title)
    {
        int every = Math.Max(1, energy.Times.Length / 1000);
        return new()
        {
            Title = title,
            Width = 280,
            Rows = energy
                .Times.Zip(energy.Values, (time, value) => new { time, energy = value })
                .Where((_, t) => t % every == 0),
            Mark = new("line", Color: Palette.Blue),
            X = new("time", "time") { Scale = Scale.Tight },
            Y = new("energy", "E") { Scale = Scale.NotFromZero },
        };
    }

    private static Figure Convergence(IReadOnlyList<GsemmConvergence> all)
    {
        // A slope's line passes through the last point of a series of that order.
        var slopes = new[] { (Series: all[^1], Order: 1), (Series: all[1], Order: 4) }.SelectMany(s =>
            new[] { s.Series.Sizes[0], s.Series.Sizes[^1] }.Select(size => new
            {
                size,
                error = s.Series.Errors[^1] * Math.Pow(size / s.Series.Sizes[^1], s.Order),
                slope = s.Order,
            })
        );
        Channel Part(string field, string title) =>
            new(field, title) { Scale = Scale.Tight with { Type = "log" }, Axis = Axis.PowersOfTen };
        var layer = new Chart
        {
            X = Part("size", "step or timescale, in units of T_f"),
            Y = Part("error", "largest error of V_f"),
        };
        string[] names = [.. all.Select(s => s.Name)];
        return new Chart
        {
            Width = 560,
            Height = 360,
            Layers =
            [
                layer with
                {
                    Rows = slopes,
                    Mark = new("line", Color: Palette.Grey, StrokeDash: [2, 4]),
                    Detail = Named("slope"),
                },
                layer with
                {
                    Rows = all.SelectMany(s =>
                        s.Sizes.Zip(
                                s.Errors,
                                (size, error) =>
                                    new
                                    {
                                        size,
                                        error,
                                        series = s.Name,
                                    }
                            )
                            .Where(p => p.error > 0)
                    ),
                    Mark = new("line", Point: true, Tooltip: true),
                    Color = Named("series") with
                    {
                        Scale = new(Domain: names, Range: Palette.Series.Take(names.Length)),
                        Legend = new(Columns: 1, LabelLimit: 500),
                    },
                    Shape = Named("series") with { Scale = new(Domain: names) },
                },
            ],
        }.Figure(
            "convergence",
            "Convergence",
            "Error of V_f after about 2 T_f against the step or the timescale, both logarithmic; dotted lines have "
                + "slopes 1 and 4. The ODE tends to its limit as T_h and T_d shrink, and Eq. 20 is that limit's "
                + "forward Euler with a step of T_f."
        );
    }
}
