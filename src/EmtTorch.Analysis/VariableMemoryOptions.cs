namespace EmtTorch.Analysis;

/// <summary>The way in which the basis Ψ of variable memories is found.</summary>
public enum Grounding
{
    /// <summary>
    /// Network and circuit are two realizations of the same output sequence, so that the similarity transform between
    /// them is the basis: Ψ = O(W)† O(Φ), with the observability matrix O(A) = [C; CA; CA²; …]. Both spectra must have
    /// the same number of persistent eigenvalues.
    /// </summary>
    Realization,

    /// <summary>
    /// Forward from the readout: Ψ_s = W_r†, Ψ_k = W_hh^{s−k} Ψ_s. For exact circuits this gives back Φ of T1 and, if Ψ
    /// is orthonormal, so that W_r† = Ψ_s, Φ of T2–T4 on the live entries.
    /// </summary>
    Output,

    /// <summary>
    /// Algorithm 1 of the paper: Ψ_s = α W_uh + (1−α) W_r† (Eq. 14), Ψ_k = α W_hh^{s−k} W_uh + (1−α) (W_hhᵀ)^k W_r†
    /// (Eq. 15). For exact circuits α = 1 gives back Φ if every output reads a single entry: T1, and the live entries
    /// of T2–T4 once decaying directions are removed. The second term does so only for T1 with an orthonormal Ψ.
    /// </summary>
    Algorithm1,
}

/// <summary>The settings of <see cref="VariableMemories.Find"/>.</summary>
public sealed record VariableMemoryOptions
{
    /// <summary>The grounding. Null: realization if possible, otherwise output.</summary>
    public Grounding? Grounding { get; init; }

    /// <summary>α of Algorithm 1, from 0 to 1: 1 grounds in the input, 0 in the output, going backward.</summary>
    public double Alpha { get; init; } = 1;

    /// <summary>
    /// The part of Ψ in eigenvectors of W_hh with |λ| below this is removed (output and Algorithm 1).
    /// </summary>
    public double Persistence { get; init; } = 0.99;

    /// <summary>
    /// Eigenvalues of greater magnitude are persistent: they are counted and compared (realization, spectral error).
    /// </summary>
    public double SpectralThreshold { get; init; } = 0.9;

    /// <summary>The steps n of the observability matrices. Null: 2·s·κ.</summary>
    public int? RealizationSteps { get; init; }
}
