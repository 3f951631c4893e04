namespace EmtTorch.Training;

/// <summary>
/// Horizons from easy to hard: the next one is taken when a batch's accuracy exceeds the threshold, and the last one is
/// kept.
/// </summary>
public sealed class Curriculum(IReadOnlyList<int> horizons, double threshold)
{
    /// <summary>Which horizon is trained now, from 0.</summary>
    public int Position { get; internal set; }

    /// <summary>Steps of the output phase now.</summary>
    public int Horizon => horizons[Position];

    /// <summary>Whether this horizon is the last one.</summary>
    public bool AtEnd => Position == horizons.Count - 1;

    /// <summary>Whether the batch was good enough to go on, and there was somewhere to go.</summary>
    public bool Advance(double accuracy)
    {
        if ((accuracy <= threshold && accuracy < 1) || AtEnd)
            return false;
        Position++;
        return true;
    }
}
