using EmtTorch.Kernels;
using EmtTorch.Models;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

/// <summary>Clipping and Adam: <see cref="ClippedAdam"/>, and clip_grad_norm_ with optim.Adam.</summary>
internal static class AdamChoice
{
    /// <param name="network">elman-H, or transformer-L of L blocks.</param>
    /// <param name="rounds">Stretches of each side.</param>
    /// <param name="seconds">How long a stretch is.</param>
    /// <returns>Steps a second of each way, by round, and how many tensors there are.</returns>
    public static Dictionary<string, double[]> Measure(string network, int rounds, double seconds)
    {
        using var everything = NewDisposeScope();
        using nn.Module first = Network(network),
            second = Network(network);
        Parameter[] ours = [.. first.parameters()],
            theirs = [.. second.parameters()];
        var clipped = new ClippedAdam(optim.Adam(ours, 1e-3), ours);
        var adam = optim.Adam(theirs, 1e-3);
        for (int i = 0; i < ours.Length; i++)
        {
            using (no_grad())
                theirs[i].copy_(ours[i]);
            ours[i].grad = randn_like(ours[i]);
            theirs[i].grad = ours[i].grad!.clone();
        }
        Action[] sides =
        [
            () => clipped.Step(1),
            () =>
            {
                using var scope = NewDisposeScope();
                nn.utils.clip_grad_norm_(theirs, 1);
                adam.step();
            },
        ];
        foreach (var side in sides)
            side();
        foreach (var (a, b) in ours.Zip(theirs))
        {
            if (!a.allclose(b, 1e-4, 1e-6))
                throw new InvalidOperationException("two ways of Adam differ");
        }

        var rates = InTurn.Rates(sides, rounds, seconds, CPU);
        return new()
        {
            ["project"] = rates[0],
            ["operators"] = rates[1],
            ["tensors"] = [ours.Length],
        };
    }

    private static nn.Module Network(string name)
    {
        int size = int.Parse(name.Split('-')[1]);
        return name.StartsWith("elman", StringComparison.Ordinal)
            ? new ElmanRnn(8, size)
            : new EpisodicTransformer(
                145,
                new ModelConfiguration
                {
                    Type = "episodic_transformer",
                    HiddenSize = 64,
                    Layers = size,
                    FeedForwardSize = 64,
                    Window = 64,
                }
            );
    }
}
