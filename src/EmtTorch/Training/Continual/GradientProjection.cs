using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Training;

/// <summary>Directions of hidden space that old tasks live in.</summary>
/// <param name="From">Columns of (H, m): what W does to them stays, ΔW R = 0.</param>
/// <param name="Into">Columns of (H, n): what W sends there stays, Lᵀ ΔW = 0.</param>
/// <param name="Projector">P (H, H), onto the task's memories along all else: ΨΨ*.</param>
public sealed record ProtectedDirections(Tensor? From, Tensor? Into, Tensor? Projector = null) : IDisposable
{
    public void Dispose()
    {
        From?.Dispose();
        Into?.Dispose();
        Projector?.Dispose();
    }
}

/// <summary>
/// Keeps W's changes away from directions R and L: W ← W₀ + (I − L Lᵀ)(W − W₀)(I − R Rᵀ), so that (W − W₀) R = 0 and Lᵀ
/// (W − W₀) = 0 to rounding, however long training goes on. With the span of a task's variable memories Ψ as R, what
/// the network does with states of that task stays; with that of Ψ*ᵀ as L, what it writes into them. (Directions as in
/// Zeng et al. 2019, OWM, and Saha et al.
/// 2021, GPM, which take R from data.)
/// </summary>
/// <remarks>The gradient is projected before it is clipped, and the weights after the step: Adam divides element by
/// element, which turns a projected gradient out of its space again.</remarks>
internal sealed class GradientProjection : IDisposable
{
    private const string AnchorKey = "start",
        FromKey = "from",
        IntoKey = "into";
    private readonly Tensor _start; // W₀
    private readonly Tensor? _from,
        _into; // R (H, m), L (H, n), orthonormal columns
    private readonly Parameter _weights;

    /// <param name="weights">W (H, H).</param>
    /// <param name="start">W₀.</param>
    /// <param name="from">R, orthonormal columns.</param>
    /// <param name="into">L, orthonormal columns.</param>
    public GradientProjection(Parameter weights, Tensor start, Tensor? from, Tensor? into)
    {
        _weights = weights;
        Require.Shape(start, weights.shape);
        if (from is not null)
            Require.Shape(from, [weights.shape[1], Require.Any]);
        if (into is not null)
            Require.Shape(into, [weights.shape[0], Require.Any]);
        Tensor Keep(Tensor tensor) =>
            tensor.detach().to(weights.dtype).to(weights.device).clone().DetachFromDisposeScope();
        using var scope = NewDisposeScope();
        (_start, _from, _into) = (Keep(start), from is null ? null : Keep(from), into is null ? null : Keep(into));
    }

    /// <summary>g ← (I − L Lᵀ) g (I − R Rᵀ).</summary>
    public void BeforeStep()
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        _weights.grad!.copy_(Project(_weights.grad!));
    }

    /// <summary>W ← W₀ + (I − L Lᵀ)(W − W₀)(I − R Rᵀ).</summary>
    public void AfterStep()
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        _weights.copy_(_start + Project(_weights - _start));
    }

    private Tensor Project(Tensor change)
    {
        if (_from is { } r)
            change = change - matmul(matmul(change, r), r.t());
        if (_into is { } l)
            change = change - matmul(l, matmul(l.t(), change));
        return change;
    }

    /// <summary>An orthonormal basis of what several matrices' columns span together, in float64.</summary>
    /// <param name="parts">(H, m) each, of any scale.</param>
    /// <returns>(H, rank); null where there is nothing.</returns>
    public static Tensor? Span(params IEnumerable<Tensor?> parts)
    {
        using var scope = NewDisposeScope();
        // Each first by itself: one part's scale says nothing of another's.
        var bases = parts.OfType<Tensor>().Where(p => p.shape[1] > 0).Select(Basis).ToArray();
        return bases.Length == 0 ? null : Basis(cat(bases, 1)).MoveToOuterDisposeScope();

        static Tensor Basis(Tensor columns)
        {
            var (u, values, _) = linalg.svd(columns.to(ScalarType.Float64), fullMatrices: false);
            long rank = values.gt(values[0] * 1e-6).sum().item<long>();
            return u.narrow(1, 0, rank).contiguous();
        }
    }

    /// <summary>What a safetensors file keeps of it.</summary>
    public static Dictionary<string, SafetensorsTensor> Tensors(Tensor start, Tensor? from, Tensor? into)
    {
        var tensors = new Dictionary<string, SafetensorsTensor> { [AnchorKey] = StoredTensors.Store(start) };
        if (from is not null)
            tensors[FromKey] = StoredTensors.Store(from);
        if (into is not null)
            tensors[IntoKey] = StoredTensors.Store(into);
        return tensors;
    }

    /// <summary>R and L out of such a file, in no dispose scope.</summary>
    public static ProtectedDirections Directions(SafetensorsFile file)
    {
        using var scope = NewDisposeScope();
        Tensor? Read(string key) =>
            file.Tensors.ContainsKey(key) ? StoredTensors.Load(file, key).DetachFromDisposeScope() : null;
        return new(Read(FromKey), Read(IntoKey));
    }

    /// <summary>Out of a safetensors file.</summary>
    public static GradientProjection Of(SafetensorsFile file, Parameter weights)
    {
        using var scope = NewDisposeScope();
        using var directions = Directions(file);
        return new(weights, StoredTensors.LoadLike(file, AnchorKey, weights), directions.From, directions.Into);
    }

    public void Dispose()
    {
        _start.Dispose();
        _from?.Dispose();
        _into?.Dispose();
    }
}
