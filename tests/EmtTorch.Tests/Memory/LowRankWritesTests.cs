using EmtTorch.Memory;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

public sealed class LowRankWritesTests
{
    private static Tensor[] Arguments(
        long tokens,
        long rank,
        ScalarType type,
        double? decay = null,
        long batch = 2,
        long heads = 2,
        long keys = 5,
        long values = 4
    ) =>
        new[]
        {
            randn([batch, heads, tokens, keys], dtype: float64),
            randn([batch, heads * rank, tokens, keys], dtype: float64),
            randn([batch, heads * rank, tokens, values], dtype: float64),
            rand([batch, heads, tokens], dtype: float64),
            decay is { } same ? full([heads], same, dtype: float64) : linspace(0.8, 0.99, heads, dtype: float64),
            randn([batch, heads, keys, values], dtype: float64),
        }
            .Select(t => t.to(type))
            .ToArray();

    private static Tensor[] Scan(Tensor[] t)
    {
        var (read, state) = LowRankWrites.Scan(t[0], t[1], t[2], t[3], t[4], t[5]);
        return [read, state];
    }

    private static Tensor[] Steps(Tensor[] t)
    {
        var (reads, state) = (new List<Tensor>(), t[5]);
        for (long i = 0; i < t[0].shape[2]; i++)
        {
            (var read, state) = LowRankWrites.Step(
                t[0].select(2, i),
                t[1].select(2, i),
                t[2].select(2, i),
                t[3].select(2, i),
                t[4],
                state
            );
            reads.Add(read);
        }
        return [stack(reads, 2), state];
    }

    /// <summary>The sums themselves: F_t = γF_{t−1} + β Σ_i a_i b_iᵀ, number by number.</summary>
    private static Tensor[] Loops(Tensor[] t)
    {
        var (read, state) = (
            zeros(t[0].shape[0], t[0].shape[1], t[0].shape[2], t[2].shape[3], dtype: float64),
            t[5].clone()
        );
        long heads = t[0].shape[1],
            rank = t[1].shape[1] / heads;
        for (int b = 0; b < t[0].shape[0]; b++)
        {
            for (int h = 0; h < heads; h++)
            {
                for (int at = 0; at < t[0].shape[2]; at++)
                {
                    for (int v = 0; v < t[2].shape[3]; v++)
                    {
                        double sum = 0;
                        for (int k = 0; k < t[0].shape[3]; k++)
                        {
                            double f = state[b, h, k, v].item<double>();
                            sum += f * t[0][b, h, at, k].item<double>();
                            double written = 0;
                            for (long i = 0; i < rank; i++)
                            {
                                written +=
                                    t[1][b, h * rank + i, at, k].item<double>()
                                    * t[2][b, h * rank + i, at, v].item<double>();
                            }

                            state[b, h, k, v] = t[4][h].item<double>() * f + t[3][b, h, at].item<double>() * written;
                        }
                        read[b, h, at, v] = sum;
                    }
                }
            }
        }

        return [read, state];
    }

    [Test]
    public void ScanAndStepsAreTheSums([Values(1, 2, 3)] int rank, [Values(1.0, null)] double? decay)
    {
        using var scope = NewDisposeScope();
        using var seed = manual_seed(rank);
        var arguments = Arguments(7, rank, ScalarType.Float64, decay);
        var expected = Loops(arguments);
        Compared.AreEqual(Scan(arguments), expected, 1e-12);
        Compared.AreEqual(Steps(arguments), expected, 1e-12);
    }

    [TestCase(ScalarType.Float64, 1e-9)]
    [TestCase(ScalarType.Float32, 1e-4)]
    public void ScanIsTheSequenceOfStepsWithItsGradients(ScalarType type, double relative)
    {
        foreach (int rank in new[] { 1, 2, 4 })
        {
            foreach (int tokens in new[] { 1, 63, 130 })
            {
                foreach (double? decay in new double?[] { 1, null })
                {
                    using var scope = NewDisposeScope();
                    using var seed = manual_seed(tokens);
                    var arguments = Arguments(tokens, rank, type, decay);
                    Compared.AreEqual(
                        Compared.ResultsAndGradients(Scan, arguments),
                        Compared.ResultsAndGradients(Steps, arguments),
                        relative
                    );
                }
            }
        }
    }

    [Test]
    public void GradientsAgreeWithFiniteDifferences()
    {
        using var scope = NewDisposeScope();
        using var seed = manual_seed(3);
        Compared.AgreeWithFiniteDifferences(Scan, Arguments(5, 2, ScalarType.Float64, batch: 1, keys: 3, values: 2));
    }

    [Test]
    public void OneTokenOfRankTwoBindsTwoPairs()
    {
        using var scope = NewDisposeScope();
        // It writes e_0 → (1, 2) and e_1 → (3, 4); a rank of 1 could write Σ only: no matrix of rank 1 reads so.
        Tensor a = tensor(new double[] { 1, 0, 0, 1 }).view(1, 2, 2),
            b = tensor(new double[] { 1, 2, 3, 4 }).view(1, 2, 2);
        var state = LowRankWrites
            .Step(
                zeros(1, 1, 2, dtype: float64),
                a,
                b,
                full([1, 1], 0.5, dtype: float64),
                ones(1, dtype: float64),
                zeros(1, 1, 2, 2, dtype: float64)
            )
            .State;
        Assert.That(state.flatten().data<double>().ToArray(), Is.EqualTo(new[] { 0.5, 1, 1.5, 2 }));
        // Read at the next token by each of both, which then writes nothing.
        var q = tensor(new double[] { 0, 0, 1, 0, 0, 1 }).view(1, 1, 3, 2);
        var strength = tensor(new double[] { 0.5, 0, 0 }).view(1, 1, 3);
        var (read, _) = LowRankWrites.Scan(
            q,
            a.unsqueeze(2).expand(1, 2, 3, 2),
            b.unsqueeze(2).expand(1, 2, 3, 2),
            strength,
            ones(1, dtype: float64),
            zeros(1, 1, 2, 2, dtype: float64)
        );
        Assert.That(read.flatten().data<double>().ToArray(), Is.EqualTo(new[] { 0, 0, 0.5, 1, 1.5, 2 }));
    }

    [Test]
    public void OfNoTokensNothingIsRead()
    {
        using var scope = NewDisposeScope();
        var arguments = Arguments(0, 2, ScalarType.Float64);
        var found = Scan(arguments);
        Assert.That(found[0].shape, Is.EqualTo(new long[] { 2, 2, 0, 4 }));
        Compared.AreEqual([found[1]], [arguments[5]], 1e-15);
        Assert.That(
            LowRankWrites
                .Step(zeros(0, 2, 5), zeros(0, 4, 5), zeros(0, 4, 4), zeros(0, 2), ones(2), zeros(0, 2, 5, 4))
                .State.shape,
            Is.EqualTo(new long[] { 0, 2, 5, 4 })
        );
    }

    [Test]
    public void ShapesThatDoNotAgreeAreRefused()
    {
        using var scope = NewDisposeScope();
        var good = Arguments(3, 2, ScalarType.Float64);
        void Refused(int which, Tensor wrong, string gist)
        {
            var arguments = good.ToArray();
            arguments[which] = wrong;
            Assert.That(() => Scan(arguments), Throws.ArgumentException.With.Message.Contains(gist));
        }
        Refused(1, zeros(2, 3, 3, 5, dtype: float64), "has 3 pairs a token for 2 heads");
        Refused(1, zeros(2, 0, 3, 5, dtype: float64), "has 0 pairs a token for 2 heads");
        Refused(1, zeros(2, 4, 3, 6, dtype: float64), "has shape (2, 4, 3, 6)");
        Refused(2, zeros(2, 2, 3, 4, dtype: float64), "has shape (2, 2, 3, 4)");
        Refused(2, zeros(2, 4, 3, dtype: float64), "not 4 dimensions");
        Refused(3, zeros(2, 4, 3, dtype: float64), "has shape (2, 4, 3)");
        Refused(4, zeros(4, dtype: float64), "has shape (4)");
        Refused(5, zeros(2, 2, 4, 5, dtype: float64), "has shape (2, 2, 4, 5)");
    }
}
