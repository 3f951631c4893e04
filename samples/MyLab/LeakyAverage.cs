using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using EmtTorch.Memory;
using EmtTorch.Settings;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MyLab;

[Named("leaky_average")]
[Description("A token reads the leaky average of those before it: m = ρ m + (1 − ρ) h.")]
public sealed record LeakyAverageSettings : MemorySettings
{
    [Description("ρ, how much of the average stays at each token.")]
    [Range(0.0, 1.0)]
    public double Rho { get; init; } = 0.9;

    public override BlockMemory Create(BlockShape block) => new LeakyAverage(this, block);
}

public sealed class LeakyAverage : BlockMemory
{
    private readonly LeakyAverageSettings _settings;
    private readonly BlockShape _block;
    private readonly Linear output; // W (d, d)

    public LeakyAverage(LeakyAverageSettings settings, BlockShape block)
        : base(nameof(LeakyAverage))
    {
        (_settings, _block) = (settings, block);
        output = nn.Linear(block.Width, block.Width, hasBias: false, dtype: block.Dtype);
        RegisterComponents();
    }

    public override MemoryState FirstState(long batch, Device device) =>
        new() { ["average"] = zeros([batch, _block.Width], dtype: _block.Dtype, device: device) };

    public override MemoryRead Read(BlockInput input, MemoryState state)
    {
        using var scope = NewDisposeScope();
        var average = state["average"]; // (B, d)
        var before = new List<Tensor>();
        foreach (var token in input.Hidden.unbind(1)) // T × (B, d)
        {
            before.Add(average);
            average = average * _settings.Rho + token * (1 - _settings.Rho);
        }
        var added = output.forward(stack(before, 1)); // (B, T, d)
        return new(added.MoveToOuterDisposeScope(), new() { ["average"] = average.MoveToOuterDisposeScope() });
    }
}
