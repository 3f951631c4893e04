using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Training;

/// <summary>Directions of hidden space that old tasks use. A change ΔW of the weights must not touch them.</summary>
/// <param name="From">R (H, m): ΔW R = 0 keeps the products of W with these columns.</param>
/// <param name="Into">L (H, n): Lᵀ ΔW = 0 keeps what W writes into these columns.</param>
/// <param name="Projector">P = ΨΨ* (H, H), the projector onto the task's variable memories.</param>
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
/// Keeps changes of W away from directions R and L:
/// <code>
/// W ← W₀ + (I − L Lᵀ)(W − W₀)(I − R Rᵀ)
/// </code>
/// so that (W − W₀) R = 0 and Lᵀ (W − W₀) = 0 to rounding, however long training takes. If R spans a task's variable
/// memories Ψ, the network goes on treating states of that task as before; if L spans Ψ*ᵀ, nothing new is written into
/// these memories. OWM (Zeng et al. 2019) and GPM (Saha et al. 2021) use such an R, taken from data.
/// </summary>
/// <remarks>The gradient is projected before it is clipped, and the weights after the step, since Adam divides element
/// by element, which takes a projected gradient out of its space again.</remarks>
internal sealed class GradientProjection : IDisposable
{
    private const string AnchorKey = "start",
        FromKey = "from",
        IntoKey = "into";
    private readonly Tensor _start; // W₀
    private readonly Tensor? _from,
        _into; // R (H, m), L (H, n), orthonormal columns
    private readonly Parameter _weights;

    /// <summary>Protects directions; null protects none on that side.</summary>
    /// <param name="weights">W (H, H).</param>
    /// <param name="start">W₀ (H, H).</param>
    /// <param name="from">R (H, m), with orthonormal columns.</param>
    /// <param name="into">L (H, n), with orthonormal columns.</param>
    /// <exception cref="ArgumentException">The shapes do not fit.</exception>
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

    /// <summary>Computes an orthonormal basis, in float64, of the columns of several matrices together.</summary>
    /// <param name="parts">Matrices (H, m), of any scale; null counts as no columns.</param>
    /// <returns>(H, rank), or null if there are no columns.</returns>
    public static Tensor? Span(params IEnumerable<Tensor?> parts)
    {
        using var scope = NewDisposeScope();
        // Each by itself first, so that the parts' scales do not matter.
        var bases = parts.OfType<Tensor>().Where(p => p.shape[1] > 0).Select(Basis).ToArray();
        return bases.Length == 0 ? null : Basis(cat(bases, 1)).MoveToOuterDisposeScope();

        static Tensor Basis(Tensor columns)
        {
            var (u, values, _) = linalg.svd(columns.to(ScalarType.Float64), fullMatrices: false);
            long rank = values.gt(values[0] * 1e-6).sum().item<long>();
            return u.narrow(1, 0, rank).contiguous();
        }
    }

    /// <summary>The tensors that a safetensors file keeps.</summary>
    public static Dictionary<string, SafetensorsTensor> Tensors(Tensor start, Tensor? from, Tensor? into)
    {
        var tensors = new Dictionary<string, SafetensorsTensor> { [AnchorKey] = StoredTensors.Store(start) };
        if (from is not null)
            tensors[FromKey] = StoredTensors.Store(from);
        if (into is not null)
            tensors[IntoKey] = StoredTensors.Store(into);
        return tensors;
    }

    /// <summary>Loads R and L from a safetensors file, in no dispose scope.</summary>
    public static ProtectedDirections LoadDirections(SafetensorsFile file)
    {
        using var scope = NewDisposeScope();
        Tensor? Read(string key) =>
            file.Tensors.ContainsKey(key) ? StoredTensors.Load(file, key).DetachFromDisposeScope() : null;
        return new(Read(FromKey), Read(IntoKey));
    }

    /// <summary>Loads a projection from a safetensors file.</summary>
    public static GradientProjection Load(SafetensorsFile file, Parameter weights)
    {
        using var scope = NewDisposeScope();
        using var directions = LoadDirections(file);
        return new(weights, StoredTensors.LoadLike(file, AnchorKey, weights), directions.From, directions.Into);
    }

    public void Dispose()
    {
        _start.Dispose();
        _from?.Dispose();
        _into?.Dispose();
    }
}
