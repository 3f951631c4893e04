using System.Diagnostics;
using EmtTorch.Models;
using TorchSharp;
using static TorchSharp.torch;

/// <summary>
/// One block with one way of mixing tokens, at a length: tokens a second forward and backward, and the most memory that
/// the process had.
/// </summary>
internal static class Mixing
{
    public static readonly string[] Mixers = ["attention", "window", "hebbian", "delta"];

    /// <param name="mixer">attention over all tokens, attention in a window of 64, or fast weights by either rule,
    /// without the others.</param>
    /// <param name="batch">Sequences.</param>
    /// <param name="width">d; one head of fast weights, four of attention.</param>
    /// <param name="tokens">The sequences' length.</param>
    /// <param name="steps">Steps to time.</param>
    public static MixingRate Measure(string mixer, int batch, int width, int tokens, int steps)
    {
        if (!Mixers.Contains(mixer))
            throw new ArgumentException($"no mixer '{mixer}'; there are {string.Join(", ", Mixers)}");
        bool attends = mixer is "attention" or "window";
        var model = new ModelConfiguration
        {
            Type = "episodic_transformer",
            HiddenSize = width,
            Layers = 1,
            Drift = false,
            FeedForwardSize = width,
            Attention = attends,
            Window = mixer == "window" ? 64 : null,
            Memory = attends ? "none" : "fast_weights",
            Write = attends ? "hebbian" : mixer,
        };
        using var everything = NewDisposeScope();
        using var network = new EpisodicTransformer(64, model);
        var input = randint(0, 64, [batch, tokens], dtype: ScalarType.Int64);
        void Step()
        {
            using var scope = NewDisposeScope();
            network.Read(input).Hidden.sum().backward();
        }
        Step();
        for (long start = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(start).TotalSeconds < 0.5; )
            Step();
        long begin = Stopwatch.GetTimestamp();
        for (int i = 0; i < steps; i++)
            Step();
        double rate = (double)steps * batch * tokens / Stopwatch.GetElapsedTime(begin).TotalSeconds;
        using var process = Process.GetCurrentProcess();
        return new(rate, process.PeakWorkingSet64 >> 20);
    }
}

/// <summary>Tokens a second, and the most memory that the process had.</summary>
internal sealed record MixingRate(double TokensPerSecond, long PeakMegabytes);
