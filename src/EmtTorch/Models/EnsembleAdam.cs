using EmtTorch.Kernels;
using static TorchSharp.torch;

namespace EmtTorch.Models;

/// <summary>The optimizer's settings for one member of an ensemble.</summary>
internal sealed record AdamSettings(
    double LearningRate,
    double WeightDecay,
    double MaxGradNorm,
    bool DecoupledDecay = false
);

/// <summary>
/// Clipping and Adam for all members of an ensemble at once, each with its own norm, learning rate, decay and step
/// count n. For a member:
/// g ← g · min(1, max / (‖g‖ + 1e-6)) + decay · θ,  m ← β₁ m + (1 − β₁) g,  v ← β₂ v + (1 − β₂) g²,
/// θ ← θ − lr / (1 − β₁ⁿ) · m / (√v / √(1 − β₂ⁿ) + ε). With decoupled decay (AdamW) nothing is added to g, and
/// θ ← θ − lr · decay · θ comes first.
/// </summary>
/// <remarks>
/// The last line is written as θ + m / (a √v + b), where a = −(1 − β₁ⁿ) / (lr √(1 − β₂ⁿ)) and b = −ε (1 − β₁ⁿ) / lr:
/// two numbers for each member and step. They are computed on the host, in float64, a hundred steps ahead, and go to
/// the device in one piece. On a GPU <see cref="CudaAdam"/> does all of it in one launch, unless there is noise to add.
/// </remarks>
internal sealed class EnsembleAdam : IDisposable
{
    // The defaults of Adam in TorchSharp and PyTorch.
    private const double Beta1 = 0.9,
        Beta2 = 0.999,
        Epsilon = 1e-8,
        NormEpsilon = 1e-6;
    private const int Ahead = 100;

    private readonly ScalarType _dtype;
    private readonly Device _device;
    private AdamSettings[] _settings;
    private long[] _steps;
    private Tensor _limits,
        _decays,
        _kept; // (N, 1)
    private Tensor? _coming; // a and b, (steps ahead, 2, N, 1)
    private int _used;

    /// <param name="means">m (N, P); taken over.</param>
    /// <param name="squares">v (N, P); taken over.</param>
    /// <param name="settings">The settings of each member.</param>
    /// <param name="steps">n of each member so far.</param>
    public EnsembleAdam(Tensor means, Tensor squares, IEnumerable<AdamSettings> settings, IEnumerable<long> steps)
    {
        (Means, Squares, _dtype, _device) = (
            means.DetachFromDisposeScope(),
            squares.DetachFromDisposeScope(),
            means.dtype,
            means.device
        );
        (_settings, _steps) = ([.. settings], [.. steps]);
        (_limits, _decays, _kept) = Constants();
    }

    /// <summary>m (N, P).</summary>
    public Tensor Means { get; private set; }

    /// <summary>v (N, P).</summary>
    public Tensor Squares { get; private set; }

    /// <summary>n of each member.</summary>
    public IReadOnlyList<long> Steps => _steps;

    /// <summary>Puts the members in another order, or leaves some out.</summary>
    /// <param name="members">The numbers of the members that stay, in their new order.</param>
    /// <param name="onDevice">The same, on the device.</param>
    public void Choose(IReadOnlyList<int> members, Tensor onDevice)
    {
        var (means, squares) = (Means, Squares);
        (Means, Squares) = (
            means.index_select(0, onDevice).DetachFromDisposeScope(),
            squares.index_select(0, onDevice).DetachFromDisposeScope()
        );
        means.Dispose();
        squares.Dispose();
        (_settings, _steps) = ([.. members.Select(i => _settings[i])], [.. members.Select(i => _steps[i])]);
        _limits.Dispose();
        _decays.Dispose();
        _kept.Dispose();
        (_limits, _decays, _kept) = Constants();
        _coming?.Dispose();
        _coming = null;
    }

    /// <summary>Clips the gradients and moves the parameters.</summary>
    /// <param name="parameters">θ (N, P).</param>
    /// <param name="gradient">g (N, P); overwritten.</param>
    /// <param name="noise">Added to the clipped g (N, P).</param>
    /// <returns>‖g‖ before clipping (N).</returns>
    public Tensor Step(Tensor parameters, Tensor gradient, Tensor? noise = null)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        if (_coming is null || _used == Ahead)
        {
            _coming?.Dispose();
            _coming = Coming().DetachFromDisposeScope();
            _used = 0;
        }
        var now = _coming.select(0, _used++); // (2, N, 1)
        for (int i = 0; i < _steps.Length; i++)
            _steps[i]++;

        var piece = new AdamPiece(parameters, gradient, Means, Squares);
        if (noise is null && CudaAdam.Step(piece, _limits, _decays, _kept, now[0], now[1]) is { } moved)
            return moved.MoveToOuterDisposeScope();

        var norms = gradient.norm(1, keepdim: true); // (N, 1)
        gradient.mul_(_limits.div(norms.add(NormEpsilon)).clamp_max_(1)); // NaN stays
        if (noise is not null)
            gradient.add_(noise);
        if (Array.Exists(_settings, s => L2(s) != 0))
            gradient.addcmul_(parameters, _decays, 1);
        if (Array.Exists(_settings, s => Kept(s) != 1))
            parameters.mul_(_kept);
        Means.mul_(Beta1).add_(gradient, 1 - Beta1);
        Squares.mul_(Beta2).addcmul_(gradient, gradient, 1 - Beta2);
        parameters.addcdiv_(Means, addcmul(now[1], Squares.sqrt(), now[0], 1));
        return norms.squeeze(1).MoveToOuterDisposeScope();
    }

    private Tensor Coming()
    {
        var numbers = new double[Ahead, 2, _settings.Length, 1];
        for (int k = 0; k < Ahead; k++)
        {
            for (int i = 0; i < _settings.Length; i++)
            {
                long n = _steps[i] + 1 + k;
                double rate = _settings[i].LearningRate / (1 - Math.Pow(Beta1, n));
                numbers[k, 0, i, 0] = -1 / (rate * Math.Sqrt(1 - Math.Pow(Beta2, n)));
                numbers[k, 1, i, 0] = -Epsilon / rate;
            }
        }

        return tensor(numbers, _dtype, _device);
    }

    private static double L2(AdamSettings settings) => settings.DecoupledDecay ? 0 : settings.WeightDecay;

    private static double Kept(AdamSettings settings) =>
        settings.DecoupledDecay ? 1 - settings.LearningRate * settings.WeightDecay : 1;

    private (Tensor Limits, Tensor Decays, Tensor Kept) Constants()
    {
        using var scope = NewDisposeScope();
        Tensor Column(Func<AdamSettings, double> of) =>
            tensor(_settings.Select(of).ToArray(), _dtype, _device).unsqueeze(1).DetachFromDisposeScope();
        return (Column(s => s.MaxGradNorm), Column(L2), Column(Kept));
    }

    public void Dispose()
    {
        foreach (var tensor in new[] { Means, Squares, _limits, _decays, _kept, _coming })
            tensor?.Dispose();
    }
}
