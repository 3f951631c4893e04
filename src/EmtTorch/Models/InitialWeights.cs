namespace EmtTorch.Models;

/// <summary>
/// Torch's modules draw their initial weights from one generator of the process. Whoever makes a network holds this
/// lock meanwhile: otherwise a network that an analysis makes on another thread would take numbers from the middle of a
/// run's seeded weights, and that run would come out differently.
/// </summary>
internal static class InitialWeights
{
    /// <summary>Held from the seed to the last number. A thread that has it can enter again.</summary>
    public static readonly Lock Drawing = new();
}
