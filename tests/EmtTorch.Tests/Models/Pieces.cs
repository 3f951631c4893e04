using EmtTorch.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

/// <summary>Documents read in pieces: however they are cut, a network must say the same.</summary>
internal static class Pieces
{
    /// <summary>A network, the same for the same seed.</summary>
    /// <param name="random">What the names of weights end in that are random, where new ones are 0 and a part would add
    /// nothing.</param>
    public static EpisodicTransformer Network(
        int vocabulary,
        ModelConfiguration model,
        long seed = 1,
        params string[] random
    )
    {
        manual_seed(seed).Dispose();
        var network = new EpisodicTransformer(vocabulary, model);
        using (no_grad())
        {
            foreach (var (name, parameter) in network.named_parameters())
            {
                if (random.Any(r => name.EndsWith(r, StringComparison.Ordinal)))
                    parameter.normal_(0, 0.3);
            }
        }

        return network;
    }

    /// <summary>(B, T), the same for the same seed.</summary>
    public static Tensor Tokens(int vocabulary, long batch, long length, ulong seed = 0)
    {
        using var generator = new Generator(seed);
        return randint(0, vocabulary, [batch, length], dtype: ScalarType.Int64, generator: generator);
    }

    /// <summary>
    /// Logits (B, T, V) of a document read in pieces of these lengths, and the last state; the network's gradients are
    /// none.
    /// </summary>
    public static (Tensor Logits, EpisodicState State) Read(
        EpisodicTransformer network,
        Tensor tokens,
        IEnumerable<long> lengths
    )
    {
        network.zero_grad();
        var logits = new List<Tensor>();
        EpisodicState? state = null;
        long at = 0;
        foreach (long length in lengths)
        {
            (var hidden, state) = network.Read(tokens.narrow(1, at, length), state);
            logits.Add(network.ReadOut(hidden));
            at += length;
        }
        return (cat(logits, 1), state!);
    }

    /// <summary>
    /// Logits of a document read in pieces, the last state's tensors, and the gradients of all parameters, are the same
    /// however it is cut.
    /// </summary>
    /// <returns>Those of one piece.</returns>
    public static Tensor[] CheckCuts(
        EpisodicTransformer network,
        Tensor tokens,
        double relative,
        params IEnumerable<long>[] cuts
    )
    {
        Tensor[] Of(IEnumerable<long> lengths)
        {
            var (logits, state) = Read(network, tokens, lengths);
            network.Stores?.Forget(state.Documents.Generation);
            Compared.Loss([logits, .. state.Tensors]).backward();
            return
            [
                logits.detach(),
                .. state.Tensors.Select(t => t.detach()),
                .. network.parameters().Select(p => p.grad?.clone() ?? zeros_like(p)),
            ];
        }
        var whole = Of([tokens.shape[1]]);
        foreach (var lengths in cuts)
            Compared.AreEqual(Of(lengths), whole, relative, ofAll: 0.01);
        return whole;
    }

    /// <summary>The same of many networks.</summary>
    /// <returns>How many.</returns>
    public static int CheckCuts(
        IEnumerable<ModelConfiguration> models,
        Func<ModelConfiguration, EpisodicTransformer> network,
        Func<Tensor> tokens,
        double relative,
        params IEnumerable<long>[] cuts
    )
    {
        int checkedOnes = 0;
        foreach (var model in models)
        {
            using var scope = NewDisposeScope();
            using var one = network(model);
            try
            {
                CheckCuts(one, tokens(), relative, cuts);
            }
            catch (AssertionException e)
            {
                throw new AssertionException($"{model}: {e.Message}");
            }
            checkedOnes++;
        }
        return checkedOnes;
    }

    /// <summary>
    /// Documents that are none, or have no tokens yet, are read; a segment of nothing changes nothing.
    /// </summary>
    public static void CheckEmpty(EpisodicTransformer network, int vocabulary, int hiddenSize, long batch, long length)
    {
        var (hidden, state) = network.Read(Tokens(vocabulary, batch, length));
        Assert.That(hidden.shape, Is.EqualTo(new[] { batch, length, hiddenSize }));
        Assert.That(network.ReadOut(hidden).shape, Is.EqualTo(new[] { batch, length, vocabulary }));
        var next = Tokens(vocabulary, batch, 4, seed: 3);
        var (after, _) = network.Read(next, network.Read(zeros(batch, 0, dtype: ScalarType.Int64), state).State);
        Compared.AreEqual([after], [network.Read(next, state).Hidden], 1e-12);
    }
}
