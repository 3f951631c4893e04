using EmtTorch.Analysis.Runs;
using EmtTorch.Settings;
using EmtTorch.Training;

namespace EmtTorch.Studies;

/// <summary>A test along a run.</summary>
/// <param name="Step">After how many steps.</param>
/// <param name="Accuracy">Share of output bits with the right sign, at the test's horizon.</param>
/// <param name="SpectralError">In radians; null where theory and network differ in the number of persistent
/// eigenvalues.</param>
public sealed record TestPoint(long Step, double? Accuracy, double? SpectralError);

/// <summary>
/// One run of a sweep, as the files of its folder have it. Unless they say otherwise, figures are of the checkpoint
/// with the lowest test loss, which analysis.json is of.
/// </summary>
public sealed record RunFigures
{
    /// <summary>A test accuracy from which on a task counts as learned.</summary>
    public const double Learned = 0.99;

    /// <summary>The path of its folder from the one of all runs: NAME/seed-N.</summary>
    public required string Name { get; init; }

    public required RunConfiguration Configuration { get; init; }

    /// <summary>Its value on each axis of the sweep, in the axes' order.</summary>
    public required IReadOnlyList<string> Values { get; init; }

    /// <summary>result.json; null: not finished.</summary>
    public RunResult? Result { get; init; }

    /// <summary>How often it has failed.</summary>
    public int Failures { get; init; }

    /// <summary>Steps trained so far.</summary>
    public long Step { get; init; }

    /// <summary>Its tests, in the order of steps.</summary>
    public IReadOnlyList<TestPoint> Tests { get; init; } = [];

    /// <summary>The numbers of analysis.json; none if there is no such file.</summary>
    public AnalysisFigures Analysis { get; init; } = new();

    public long Seed => Configuration.Seed;
    public bool Finished => Result is not null;

    /// <summary>Whether it has failed and not finished since.</summary>
    public bool Failed => !Finished && Failures > 0;

    /// <summary>
    /// Whether it has as many persistent eigenvalues as the circuit, so that a spectral error can be had.
    /// </summary>
    public bool Converged => Analysis["spectral_error"] is not null;

    /// <summary>Test accuracy of the checkpoint with the lowest test loss.</summary>
    public double? Accuracy => Finite(Result?.BestTestAccuracy);

    /// <summary>Test loss of the checkpoint with the lowest.</summary>
    public double? Loss => Finite(Result?.BestTestLoss);

    /// <summary>Test accuracy of the last weights.</summary>
    public double? AccuracyLast => Finite(Result?.TestAccuracy);

    /// <summary>The spectral error of the last weights.</summary>
    public double? SpectralErrorLast => Finished && Tests is [.., var last] ? last.SpectralError : null;

    /// <summary>The test with the lowest spectral error; null if no test has one.</summary>
    public TestPoint? Lowest =>
        Finished ? Tests.Where(t => t.SpectralError is not null).MinBy(t => t.SpectralError) : null;

    /// <summary>The step of the first test with this accuracy; null if there is none.</summary>
    public long? StepTo(double accuracy) => Tests.FirstOrDefault(t => t.Accuracy >= accuracy)?.Step;

    /// <summary>Whether a test had <see cref="Learned"/>, and the last one has not.</summary>
    public bool Lost => StepTo(Learned) is not null && Tests[^1].Accuracy is not >= Learned;

    /// <summary>Reads a run's folder, and makes its analysis if it is finished and has none.</summary>
    /// <param name="name">What it is called.</param>
    /// <param name="folder">The folder, which may not be there yet.</param>
    /// <param name="run">What is trained there.</param>
    /// <param name="warn">Receives a sentence for what is damaged or cannot be analysed.</param>
    /// <param name="making">Called when an analysis is made.</param>
    internal static RunFigures Read(string name, RunFolder folder, SweepRun run, Action<string> warn, Action making)
    {
        var configuration = run.Configuration;
        RunResult? result = null;
        IReadOnlyList<Metrics> metrics = [];
        int failures = 0;
        try
        {
            result = folder.ReadFinished(configuration.Training.Steps);
        }
        catch (Exception e) when (e is InvalidDataException or IOException or UnauthorizedAccessException)
        {
            warn($"{e.Message}. The run is counted as unfinished.");
        }
        try
        {
            metrics = folder.ReadMetrics(line =>
                warn($"{folder.MetricsFile} is damaged in line {line}, which is left out.")
            );
            if (File.Exists(folder.FailuresFile))
                failures = InputFile.ReadText(folder.FailuresFile).Split('\n').Count(line => line.Length > 0);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            warn(e.Message);
        }
        long step = metrics.Count > 0 ? metrics[^1].Step : 0;
        if (result is not null && step < result.Steps)
        {
            warn(
                $"{folder.MetricsFile} ends at step {step}, and the run at {result.Steps}: what is said of its "
                    + "course is not all of it."
            );
        }
        return new()
        {
            Name = name,
            Configuration = configuration,
            Values = [.. run.Values.Select(v => v.Name)],
            Result = result,
            Failures = failures,
            Step = result?.Steps ?? step,
            Tests =
            [
                .. metrics
                    .Where(m => m.TestAccuracy is not null)
                    .Select(m => new TestPoint(m.Step, Finite(m.TestAccuracy), Finite(m.SpectralError))),
            ],
            Analysis = result is null ? new() : Analyze(folder, name, warn, making),
        };
    }

    private static AnalysisFigures Analyze(RunFolder folder, string name, Action<string> warn, Action making)
    {
        try
        {
            return new(RunAnalysis.OfRun(folder.Path, warn, making));
        }
        catch (Exception e)
        {
            warn($"{name} cannot be analysed: {e.Explain()}");
            return new();
        }
    }

    private static double? Finite(double? value) => value is { } v && double.IsFinite(v) ? v : null;
}
