using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using EmtTorch.Settings;
using static TorchSharp.torch;

namespace EmtTorch.Tasks;

/// <summary>Settings of the task `copy`. Horizons are delays: blanks between the string and the separator.</summary>
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

    public override ITokenTask Create(int horizon, Device device) => new CopyTask(this, horizon, device);

    public override IEnumerable<string> Check(int horizon)
    {
        if (Symbols < 2)
            yield return $"there are {Symbols} symbols: at least two are needed, or there is nothing to remember";
        if (Symbols > 1 << 20)
            yield return $"there are {Symbols} symbols: at most {1 << 20} are allowed";
        if (Length < 1)
            yield return $"the string has {Length} symbols: at least one is needed";
        if (horizon < 0)
            yield return $"the delay is {horizon}: it cannot be negative";
        if (SegmentLength < 1)
            yield return $"a segment has {SegmentLength} tokens: at least one is needed";
    }

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
/// A document has 2·length + delay + 1 tokens, cut into segments; the last may be shorter. A symbol and the position of
/// its answer are length + delay + 1 tokens apart. With a delay of a segment's length or more no segment contains both,
/// and with twice that no two adjacent ones do. Tokens: 0 the blank, 1 the separator, then symbols, drawn
/// independently.
/// </remarks>
internal sealed class CopyTask : ITokenTask
{
    private readonly int _symbols,
        _length,
        _delay,
        _segmentLength;
    private readonly Device _device;

    /// <exception cref="ArgumentException">A rule is broken.</exception>
    public CopyTask(CopyConfiguration settings, int delay, Device device)
    {
        ITokenTask.Refuse(settings.Check(delay));
        (_symbols, _length, _segmentLength) = (settings.Symbols, settings.Length, settings.SegmentLength);
        (_delay, _device) = (delay, device);
    }

    public int VocabularySize => 2 + _symbols;

    /// <summary>The accuracy of guessing, 1/symbols.</summary>
    public double ChanceAccuracy => 1.0 / _symbols;

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
