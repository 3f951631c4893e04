namespace EmtTorch.Training;

/// <summary>
/// Horizons from short to long. The next one follows when the accuracy of a training batch exceeds the threshold.
/// </summary>
internal sealed class Curriculum(IReadOnlyList<int> horizons, double threshold)
{
    /// <summary>The index of the current horizon.</summary>
    public int Position { get; set; }

    /// <summary>The current horizon, in steps of the output phase.</summary>
    public int Horizon => horizons[Position];

    /// <summary>Whether the current horizon is the last one.</summary>
    public bool AtEnd => Position == horizons.Count - 1;

    /// <summary>Goes to the next horizon if there is one and the batch was good enough; returns whether.</summary>
    public bool Advance(double accuracy)
    {
        if ((accuracy <= threshold && accuracy < 1) || AtEnd)
            return false;
        Position++;
        return true;
    }
}
