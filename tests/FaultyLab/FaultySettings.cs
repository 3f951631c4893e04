using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using EmtTorch.Settings;
using EmtTorch.Tasks;
using static TorchSharp.torch;

namespace FaultyLab;

/// <summary>An extension that throws where its settings say.</summary>
[Named("faulty"), Description("Throws.")]
public sealed record FaultySettings : SequenceTaskSettings
{
    [Description("Where it throws.")]
    [AllowedValues("check", "constructor", "batch")]
    public string Where { get; init; } = "check";

    public override IEnumerable<string> Check(int horizon)
    {
        if (Where == "check")
            throw new KeyNotFoundException("no such delay");
        yield break;
    }

    public override ISequenceTask Create(ScalarType dtype, Device device) => new FaultyTask(Where == "constructor");
}

public sealed class FaultyTask : ISequenceTask
{
    public FaultyTask(bool now)
    {
        if (now)
            throw new NotSupportedException("an odd number of bits");
    }

    public int Dimension => 2;

    public int InputSteps => 1;

    public (Tensor Input, Tensor Target) Batch(long batchSize, long horizon, Generator generator) =>
        throw new DivideByZeroException("no bits to draw");
}
