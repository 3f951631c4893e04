using EmtTorch.Models;
using EmtTorch.Tasks;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>
/// The null of a spectral comparison: the same measures on as many persistent eigenvalues as the network has, at random
/// angles. Each draw takes the eigenvalues of a random orthogonal matrix (Haar measure), which all have magnitude 1. An
/// untrained network with orthogonal weights is such a draw.
/// </summary>
/// <param name="Draws">The number of draws.</param>
/// <param name="Error">The mean spectral error over the draws, in radians. Null if counts differ.</param>
/// <param name="LeastError">The smallest spectral error of a draw, likewise.</param>
/// <param name="Cycles">The mean number of the circuit's cycles in a draw. Null if cycles cannot be counted.</param>
/// <param name="MostCycles">The largest number of cycles in a draw, likewise.</param>
/// <param name="CyclesError">The mean error of the cycles that draws have, in radians. Null if they have none.</param>
/// <param name="LeastCyclesError">The smallest error of the cycles of a draw, likewise.</param>
public sealed record SpectralNull(
    int Draws,
    double? Error,
    double? LeastError,
    double? Cycles,
    int? MostCycles,
    double? CyclesError,
    double? LeastCyclesError
)
{
    private const int DrawCount = 20;

    /// <summary>Whether a spectral error is smaller than that of every draw.</summary>
    public bool IsBeatenBy(SpectralComparison spectrum) => spectrum.Error < LeastError;

    /// <summary>
    /// Whether a network has more of the circuit's cycles than every draw, or as many with a smaller error than every
    /// draw's.
    /// </summary>
    public bool IsBeatenBy(CycleComparison cycles) =>
        MostCycles is { } most
        && (cycles.Learned > most || (cycles.Learned == most && cycles.Learned > 0 && cycles.Error < LeastCyclesError));

    /// <summary>Measures the null of a comparison. The same comparison gives the same null.</summary>
    /// <param name="spectrum">The comparison of a network with theory.</param>
    /// <param name="task">The task whose circuit has the cycles. Null: cycles are not counted.</param>
    /// <exception cref="ArgumentException">An eigenvalue of theory is not finite.</exception>
    public static SpectralNull Measure(SpectralComparison spectrum, LinearBinding? task = null)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        using var generator = new Generator(1, CPU);
        int persistent = spectrum.CountLearned;
        var errors = new List<double?>();
        var cycles = new List<CycleComparison?>();
        for (int i = 0; i < DrawCount && persistent > 0; i++)
        {
            using var inner = NewDisposeScope();
            var drawn = Spectra.Eigenvalues(Initialization.Orthonormal(persistent, persistent, generator));
            errors.Add(Spectra.Compare(spectrum.Theory, drawn, spectrum.Threshold).Error);
            if (task is not null)
                cycles.Add(CycleComparison.Find(task, drawn, spectrum.Threshold));
        }
        CycleComparison[] counted = cycles.Contains(null) ? [] : [.. cycles.OfType<CycleComparison>()];
        bool comparable = errors.Count > 0 && !errors.Contains(null);
        return new(
            errors.Count,
            comparable ? errors.Average() : null,
            comparable ? errors.Min() : null,
            counted.Length > 0 ? counted.Average(c => c.Learned) : null,
            counted.Length > 0 ? counted.Max(c => c.Learned) : null,
            counted.Average(c => c.Error),
            counted.Min(c => c.Error)
        );
    }
}
