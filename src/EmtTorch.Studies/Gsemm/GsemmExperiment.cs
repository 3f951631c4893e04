using EmtTorch.Analysis;
using EmtTorch.Settings;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Studies;

/// <summary>
/// Retrieves a stored sequence of memories from a noisy cue of the first one, with <see cref="Gsemm"/>: the ODE (Eq. 1)
/// and its discrete limit (Eq. 20). Measures the energy, the Elman form (Eq. 24) and the orders of convergence too.
/// </summary>
/// <example><code>
/// var result = GsemmExperiment.Run(GsemmConfiguration.Load("experiments/gsemm/retrieval.json"));
/// File.WriteAllText("gsemm.json", result.ToJson());
/// </code></example>
public sealed class GsemmExperiment
{
    private readonly GsemmConfiguration _configuration;
    private readonly GsemmSettings _settings;
    private readonly Integrator _integrator;
    private readonly Tensor _memories; // Ξ (N_f, N_h)
    private readonly Tensor _sequence; // Φ' (N_h, N_h)
    private readonly Tensor _cue; // V_f (1, N_f)

    private GsemmExperiment(GsemmConfiguration configuration)
    {
        (_configuration, _settings) = (configuration, configuration.ToSettings());
        _integrator = Enum.Parse<Integrator>(configuration.Integration.Integrator, ignoreCase: true);
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
        (_memories, _cue) = (tensor(xi), tensor(first));
        _sequence = Gsemm.CreateSequence(configuration.Memories, configuration.Cyclic, configuration.Diagonal);
    }

    /// <summary>Runs the experiment.</summary>
    /// <param name="configuration">The settings.</param>
    /// <exception cref="ConfigurationException">The seed gives linearly dependent memories.</exception>
    /// <exception cref="GsemmDivergedException">The step is too large.</exception>
    public static GsemmResult Run(GsemmConfiguration configuration)
    {
        using var scope = NewDisposeScope();
        return new GsemmExperiment(configuration).Run();
    }

    /// <summary>Retrieves by the ODE alone.</summary>
    /// <param name="configuration">The settings.</param>
    /// <exception cref="ConfigurationException">The seed gives linearly dependent memories.</exception>
    /// <exception cref="GsemmDivergedException">The step is too large.</exception>
    public static GsemmRetrieval Retrieve(GsemmConfiguration configuration)
    {
        using var scope = NewDisposeScope();
        var experiment = new GsemmExperiment(configuration);
        using var model = experiment.CreateModel();
        var run = experiment.Integrate(model);
        return Retrieve(run.Times, Overlaps(model, run.Feature), configuration.Cyclic);
    }

    private GsemmTrajectory Integrate(Gsemm model)
    {
        var integration = _configuration.Integration;
        return model.Integrate(
            model.Start(_cue),
            _integrator,
            integration.Step,
            integration.Length,
            integration.RecordEvery
        );
    }

    private GsemmResult Run()
    {
        using var model = CreateModel();
        var run = Integrate(model);
        var orbit = model.RunDiscrete(_cue, _configuration.DiscreteSteps); // (T, 1, N_f)
        bool hasEnergy = model.NoEnergy is null;
        return new()
        {
            Configuration = _configuration,
            Continuous = Retrieve(run.Times, Overlaps(model, run.Feature), _configuration.Cyclic),
            Discrete = Retrieve(
                [.. Enumerable.Range(0, _configuration.DiscreteSteps + 1)],
                Overlaps(model, orbit),
                _configuration.Cyclic
            ),
            Energy = hasEnergy ? MeasureEnergy(model, run) : null,
            EnergyWithoutSequence = hasEnergy ? MeasureEnergyWithoutSequence() : null,
            NoEnergy = model.NoEnergy,
            Norm = model.HasElmanForm
                ? linalg.matrix_norm(model.ComputeElmanWeights(), 2).ToDouble() / _settings.FeatureGain
                : null,
            ConjugacyError = model.HasElmanForm ? MeasureConjugacy(model, orbit) : null,
            Convergence = MeasureConvergence(),
        };
    }

    private Gsemm CreateModel()
    {
        try
        {
            return new(_memories, _sequence, _settings);
        }
        catch (ArgumentException)
        {
            // The settings are checked, and the numbers are signs.
            throw new ConfigurationException([
                new(
                    "seed",
                    $"found {_configuration.Seed}, which gives linearly dependent memories; choose another seed, or "
                        + "more features"
                ),
            ]);
        }
    }

    /// <summary>Reads the retrieved memories off the overlaps.</summary>
    /// <param name="times">(T).</param>
    /// <param name="overlaps">(T, N_h).</param>
    /// <param name="cyclic">Whether the first memory follows the last. If so, a whole round is required.</param>
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

    private GsemmEnergy MeasureEnergyWithoutSequence()
    {
        using var model = new Gsemm(_memories, _sequence, _settings with { AlphaC = 0 });
        // Long enough for the features to settle, but not longer than the run itself.
        double step = _configuration.Integration.Step;
        long steps = Math.Min(
            (long)Math.Ceiling(20 * Math.Max(_settings.FeatureTimescale, _settings.HiddenTimescale) / step),
            (long)Math.Round(_configuration.Integration.Length / step)
        );
        int every = (int)Math.Max(1, steps / 400);
        return MeasureEnergy(
            model,
            model.Integrate(model.Start(_cue), _integrator, step, steps / every * every * step, every)
        );
    }

    private static GsemmEnergy MeasureEnergy(Gsemm model, GsemmTrajectory run)
    {
        var energy = model.ComputeEnergy(new(run.Feature, run.Hidden, run.Delay)); // (T, 1)
        double[] values = [.. energy.flatten().data<double>()];
        double rise = values.Zip(values.Skip(1), (a, b) => b - a).Append(0).Max();
        return new(run.Times, values, rise, model.EnergyNeverRises);
    }

    private static double MeasureConjugacy(Gsemm model, Tensor orbit)
    {
        using var scope = NewDisposeScope();
        var weights = model.ComputeElmanWeights().t();
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

    // Errors of V_f after about 2 T_f. The cue is too small to saturate σ_f: there the solution curves most.
    private List<GsemmConvergence> MeasureConvergence()
    {
        using var scope = NewDisposeScope();
        var start = _cue / (2 * _settings.FeatureGain);
        double unit = _settings.FeatureTimescale;
        double shortest = new[] { unit, _settings.HiddenTimescale, _settings.DelayTimescale }.Where(t => t > 0).Min();
        double length = Math.Min(Math.Round(2 * unit / shortest), 100) * shortest;
        var limit = _settings with { HiddenTimescale = 0, DelayTimescale = 0 };

        double[] End(GsemmSettings s, Integrator integrator, double step, double until)
        {
            using var inner = NewDisposeScope();
            using var model = new Gsemm(_memories, _sequence, s);
            int steps = (int)Math.Round(until / step);
            return model
                .Integrate(model.Start(start), integrator, until / steps, until, steps)
                .Last.Feature.contiguous()
                .data<double>()
                .ToArray();
        }
        GsemmConvergence Series(
            string name,
            double[] reference,
            IEnumerable<double> sizes,
            Func<double, double[]> end
        ) => Compare(name, reference, [.. sizes], end, unit);
        var exact = End(_settings, Integrator.Rk4, shortest / 256, length);
        var reduced = End(limit, Integrator.Rk4, unit / 1024, 2 * unit);
        return
        [
            Series(
                "forward Euler, by its step",
                exact,
                Halves(shortest, 1, 8),
                step => End(_settings, Integrator.Euler, step, length)
            ),
            Series(
                "RK4, by its step",
                exact,
                Halves(shortest, 1, 5),
                step => End(_settings, Integrator.Rk4, step, length)
            ),
            Series(
                "the ODE to its limit T_h = T_d → 0, by T_h = T_d",
                reduced,
                Halves(unit, 3, 10),
                t => End(_settings with { HiddenTimescale = t, DelayTimescale = t }, Integrator.Rk4, t / 2, 2 * unit)
            ),
            Series(
                "Eq. 20 to the limit ODE, by its step (1 is Eq. 20)",
                reduced,
                Halves(unit, 0, 10),
                step => End(limit, Integrator.Euler, step, 2 * unit)
            ),
        ];
    }

    private static GsemmConvergence Compare(
        string name,
        double[] reference,
        double[] sizes,
        Func<double, double[]> end,
        double unit
    )
    {
        var errors = sizes.Select(size => end(size).Zip(reference, (a, b) => Math.Abs(a - b)).Max()).ToArray();
        return new(
            name,
            [.. sizes.Select(size => size / unit)],
            errors,
            errors[^1] > 1e-12 ? Math.Log(errors[^2] / errors[^1]) / Math.Log(sizes[^2] / sizes[^1]) : null
        );
    }

    // from/2^first … from/2^last.
    private static IEnumerable<double> Halves(double from, int first, int last) =>
        Enumerable.Range(first, last - first + 1).Select(k => from * Math.Pow(2, -k));

    // (T, N_h) of V_f (T, 1, N_f).
    private static double[][] Overlaps(Gsemm model, Tensor feature) =>
        Matrices.Rows(model.ComputeOverlaps(feature)[TensorIndex.Colon, 0]);
}
