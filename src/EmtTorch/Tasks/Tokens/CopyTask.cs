using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using EmtTorch.Settings;
using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>Settings of <see cref="CopyTask"/>; horizons are delays.</summary>
[Named("copy")]
[Description("A random string, to be reproduced after a delay; horizons are delays.")]
public sealed record CopyConfiguration : TokenTaskSettings
{
    [Description("Symbols that strings are made of.")]
    [Range(2, 1_048_576)]
    public int Symbols { get; init; } = 8;

    [Description("Symbols in a string.")]
    [Range(1, 1_048_576)]
    public int Length { get; init; } = 10;

    [Description("Tokens in a segment.")]
    [Range(1, 1_048_576)]
    public int SegmentLength { get; init; } = 64;

    public override ITokenTask Create(int horizon, Device device) =>
        new CopyTask(Symbols, Length, horizon, SegmentLength, device);

    public override IEnumerable<string> Check(int horizon) => CopyTask.Check(Symbols, Length, horizon, SegmentLength);

    public override long TokensAt(int horizon) => 2L * Length + horizon + 1;

    public override IReadOnlyList<string> Kinds => ["symbol", "blank", "separator"];

    public override int KindOf(TokenDocument document, int t) =>
        document.Input[t] switch
        {
            0 => 1,
            1 => 2,
            _ => 0,
        };

    public override string Label(long token) =>
        token switch
        {
            0 => "blank",
            1 => "separator",
            _ => $"s{token - 2}",
        };
}

/// <summary>
/// The copy memory task (Hochreiter and Schmidhuber 1997; in this form Arjovsky et al. 2016, arXiv 1511.06464, section
/// 4.1): a random string, a delay of blanks, a separator, and then blanks while the string is to be reproduced.
/// </summary>
/// <remarks>
/// A document of 2·length + delay + 1 tokens, cut into segments. A symbol and the place where it is asked are
/// length + delay + 1 apart: with a delay of the segment's length or more no segment holds both, nor do two that follow
/// each other where the delay is twice that. Tokens: 0 the blank, 1 the separator, then symbols, drawn each for itself.
/// </remarks>
public sealed class CopyTask : ITokenTask
{
    private readonly int _symbols,
        _length,
        _delay,
        _segmentLength;
    private readonly Device _device;

    /// <param name="symbols">Symbols that strings are made of.</param>
    /// <param name="length">Symbols in a string.</param>
    /// <param name="delay">Blanks between the string and the separator.</param>
    /// <param name="segmentLength">Tokens of a segment, L.</param>
    /// <param name="device">Where batches are generated.</param>
    /// <exception cref="ArgumentException">A rule is broken.</exception>
    public CopyTask(int symbols, int length, int delay, int segmentLength, Device device)
    {
        ITokenTask.Refuse(Check(symbols, length, delay, segmentLength));
        (_symbols, _length, _delay, _segmentLength, _device) = (symbols, length, delay, segmentLength, device);
    }

    public int VocabularySize => 2 + _symbols;

    /// <summary>The accuracy of guessing, 1/symbols.</summary>
    public double ChanceAccuracy => 1.0 / _symbols;

    /// <summary>The rules that parameters break.</summary>
    public static IReadOnlyList<string> Check(int symbols, int length, int delay, int segmentLength)
    {
        var broken = new List<string>();
        if (symbols < 2)
            broken.Add($"there are {symbols} symbols: at least two are needed, or there is nothing to remember");
        if (symbols > 1 << 20)
            broken.Add($"there are {symbols} symbols: at most {1 << 20} are allowed");
        if (length < 1)
            broken.Add($"the string has {length} symbols: at least one is needed");
        if (delay < 0)
            broken.Add($"the delay is {delay}: it can't be below 0");
        if (segmentLength < 1)
            broken.Add($"a segment has {segmentLength} tokens: at least one is needed");
        return broken;
    }

    /// <summary>One batch.</summary>
    /// <param name="batchSize">Documents, B.</param>
    /// <param name="generator">Where the random numbers come from; on the same device.</param>
    /// <returns>The segments, (B, L) each; the last may be shorter.</returns>
    public IReadOnlyList<TokenBatch> Batch(long batchSize, Generator generator)
    {
        using var scope = NewDisposeScope();
        long total = 2L * _length + _delay + 1;
        var symbols = Draw.Integers(2, VocabularySize, [batchSize, _length], generator, _device);
        var input = zeros(batchSize, total, dtype: ScalarType.Int64, device: _device);
        input.narrow(1, 0, _length).copy_(symbols);
        input.narrow(1, _length + _delay, 1).fill_(1);
        var target = full(batchSize, total, TokenBatch.Ignored, dtype: ScalarType.Int64, device: _device);
        target.narrow(1, total - _length, _length).copy_(symbols);
        return
        [
            .. input
                .split((long)_segmentLength, 1)
                .Zip(
                    target.split((long)_segmentLength, 1),
                    (from, to) =>
                        new TokenBatch(
                            from.contiguous().MoveToOuterDisposeScope(),
                            to.contiguous().MoveToOuterDisposeScope()
                        )
                ),
        ];
    }
}
