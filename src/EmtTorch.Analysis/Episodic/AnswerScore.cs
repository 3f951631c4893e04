using EmtTorch.Models;
using EmtTorch.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Episodic;

/// <summary>How many questions of documents are answered right, and the loss at them.</summary>
internal sealed class AnswerScore
{
    /// <summary>
    /// Tokens that are read at once: without a window, attention's memory grows with this number times the tokens
    /// before.
    /// </summary>
    public const int Piece = 512;

    private readonly double[] _losses = new double[3],
        _counts = new double[3]; // of all answers; of a text also in new words, in seen words
    private double _right;

    public long StateBytesStart { get; private set; }
    public long StateBytesEnd { get; private set; }

    /// <summary>Tokens of the longest document.</summary>
    public long Tokens { get; private set; }

    public long Answers => (long)_counts[0];
    public double? Accuracy => EpisodicAnalysis.Mean(_right, Answers);
    public double? Loss => EpisodicAnalysis.Mean(_losses[0], Answers);

    /// <summary>Bits per character of a text; null if there are none.</summary>
    /// <param name="which">0: of all characters, 1: in words that are new in their document, 2: in words seen
    /// before.</param>
    public double? Bits(int which) =>
        EpisodicAnalysis.Mean(_losses[which], (long)_counts[which]) is { } loss
            ? TextCorpus.BitsPerCharacter(loss)
            : null;

    /// <summary>Reads a batch of documents, segment by segment, and adds the answers.</summary>
    public void Add(EpisodicTransformer network, IReadOnlyList<TokenBatch> document)
    {
        using var quiet = no_grad();
        using var everything = NewDisposeScope();
        var state = network.Read(document[0].Input.narrow(1, 0, 0)).State;
        StateBytesStart = state.BytesPerDocument;
        foreach (var segment in document)
        {
            for (long from = 0; from < segment.Input.shape[1]; from += Piece)
            {
                using var scope = NewDisposeScope();
                long length = Math.Min(Piece, segment.Input.shape[1] - from);
                var (hidden, after) = network.Read(segment.Input.narrow(1, from, length), state);
                Add(
                    network,
                    hidden,
                    segment.Target.narrow(1, from, length).reshape(-1),
                    segment.Words?.narrow(1, from, length).reshape(-1)
                );
                state.Dispose();
                state = after;
                state.MoveToOuterDisposeScope();
            }
        }

        network.Stores?.Forget(state.Documents.Generation);
        StateBytesEnd = state.BytesPerDocument;
        Tokens = Math.Max(Tokens, document.Sum(s => s.Input.shape[1]));
    }

    private void Add(EpisodicTransformer network, Tensor hidden, Tensor target, Tensor? words)
    {
        var places = target.ne(TokenBatch.Ignored).nonzero().squeeze(-1);
        if (places.shape[0] == 0)
            return;
        var logits = network.ReadOut(hidden.reshape(-1, hidden.shape[2]).index_select(0, places)); // (asked, V)
        var answers = target.index_select(0, places);
        // A logit that is not a number is not right.
        _right += logits.argmax(-1).eq(answers).sum().ToDouble();
        var each = nn.functional.cross_entropy(logits, answers, reduction: nn.Reduction.None).to(ScalarType.Float64);
        var kinds = words?.index_select(0, places);
        for (int k = 0; k < 3; k++)
        {
            if (k > 0 && kinds is null)
                break;
            var of = k == 0 ? ones_like(each) : kinds!.eq(k).to(ScalarType.Float64);
            _losses[k] += (each * of).sum().ToDouble();
            _counts[k] += of.sum().ToDouble();
        }
    }
}
