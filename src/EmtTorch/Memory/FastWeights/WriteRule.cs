namespace EmtTorch.Memory;

/// <summary>What a token adds to the decayed fast weights γF.</summary>
public enum WriteRule
{
    /// <summary>β k vᵀ: values under one key add up.</summary>
    Hebbian,

    /// <summary>
    /// β k (v − γFᵀk)ᵀ: the value that the decayed memory holds under k gives way to v, wholly where β = 1 and ‖k‖ = 1.
    /// </summary>
    Delta,
}
