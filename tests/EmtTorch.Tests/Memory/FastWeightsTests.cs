using System.Diagnostics;
using EmtTorch.Kernels;
using EmtTorch.Memory;
using EmtTorch.Settings;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

/// <summary>All of it by the kernel, and by Torch's operators.</summary>
[TestFixture(true), TestFixture(false)]
public sealed class FastWeightsTests(bool kernel)
{
    [SetUp]
    public void Choose() => Simd.Used = kernel;

    [TearDown]
    public void Restore() => Simd.Used = true;

    private static Tensor[] Arguments(
        long tokens,
        ScalarType type,
        double? decay = null,
        bool empty = false,
        long batch = 2,
        long heads = 3,
        long keys = 5,
        long values = 4
    )
    {
        var k = randn([batch, heads, tokens, keys], dtype: float64);
        Tensor[] arguments =
        [
            randn([batch, heads, tokens, keys], dtype: float64),
            tokens == 0 ? k : k / k.norm(-1, keepdim: true),
            randn([batch, heads, tokens, values], dtype: float64),
            rand([batch, heads, tokens], dtype: float64),
            decay is { } same ? full([heads], same, dtype: float64) : linspace(0.8, 0.99, heads, dtype: float64),
            empty
                ? zeros([batch, heads, keys, values], dtype: float64)
                : randn([batch, heads, keys, values], dtype: float64),
        ];
        return arguments.Select(t => t.to(type)).ToArray();
    }

    private static Func<Tensor[], Tensor[]> Scan(WriteRule rule, long chunk = 64) =>
        t =>
        {
            var (read, state) = FastWeights.Scan(t[0], t[1], t[2], t[3], t[4], t[5], rule, chunk);
            return [read, state];
        };

    private static Func<Tensor[], Tensor[]> Sequential(WriteRule rule) =>
        t =>
        {
            var (read, state) = FastWeights.Sequential(t[0], t[1], t[2], t[3], t[4], t[5], rule);
            return [read, state];
        };

    [Test]
    public void ScanIsTheSequenceOfSteps(
        [Values] WriteRule rule,
        [Values(1, 2, 63, 64, 65, 200)] int tokens,
        [Values(1.0, null)] double? decay,
        [Values] bool empty
    )
    {
        using var scope = NewDisposeScope();
        using var seed = manual_seed(tokens);
        var arguments = Arguments(tokens, ScalarType.Float64, decay, empty);
        var expected = Compared.ResultsAndGradients(Sequential(rule), arguments);
        foreach (int chunk in new[] { 1, 16, 64 })
            Compared.AreEqual(Compared.ResultsAndGradients(Scan(rule, chunk), arguments), expected, 1e-9);
    }

    [Test]
    public void InFloat32ToRounding(
        [Values] WriteRule rule,
        [Values(65, 200)] int tokens,
        [Values(1.0, null)] double? decay
    )
    {
        using var scope = NewDisposeScope();
        using var seed = manual_seed(tokens);
        var exact = Arguments(tokens, ScalarType.Float64, decay);
        var found = Compared.ResultsAndGradients(Scan(rule), exact.Select(t => t.to(ScalarType.Float32)).ToArray());
        Compared.AreEqual(
            found.Select(t => t.to(ScalarType.Float64)).ToArray(),
            Compared.ResultsAndGradients(Sequential(rule), exact),
            1e-4
        );
    }

    /// <summary>
    /// Several parts, the last one shorter: 2^18 numbers are 64 chunks of 64², of 6 sequences 10 each.
    /// </summary>
    [Test]
    public void LongSequencesGoInParts([Values] WriteRule rule)
    {
        using var scope = NewDisposeScope();
        using var seed = manual_seed(5);
        var arguments = Arguments(64 * 10 * 2 + 200, ScalarType.Float64, decay: 0.999);
        Compared.AreEqual(
            Compared.ResultsAndGradients(Scan(rule), arguments),
            Compared.ResultsAndGradients(Sequential(rule), arguments),
            1e-9
        );
    }

    [Test]
    public void GatesShutAndOpen([Values] WriteRule rule, [Values(0.0, 1.0)] double gate)
    {
        using var scope = NewDisposeScope();
        using var seed = manual_seed(3);
        var arguments = Arguments(70, ScalarType.Float64);
        arguments[3].fill_(gate);
        Compared.AreEqual(
            Compared.ResultsAndGradients(Scan(rule, 16), arguments),
            Compared.ResultsAndGradients(Sequential(rule), arguments),
            1e-9
        );
        if (gate == 0)
        {
            var (_, state) = FastWeights.Scan(
                arguments[0],
                arguments[1],
                arguments[2],
                arguments[3],
                ones(3, dtype: float64),
                arguments[5],
                rule
            );
            Assert.That(state.Equals(arguments[5]), "nothing is written");
        }
    }

    /// <summary>γ^199 is 0 in float32 from γ = 0.6 on down; 0 and 1e-30 are far below.</summary>
    [Test]
    public void MemoriesThatHardlyLast([Values] WriteRule rule, [Values(0.0, 1e-30, 0.05)] double decay)
    {
        using var scope = NewDisposeScope();
        using var seed = manual_seed(4);
        var arguments = Arguments(200, ScalarType.Float32, decay);
        Compared.AreEqual(
            Compared.ResultsAndGradients(Scan(rule), arguments),
            Compared.ResultsAndGradients(Sequential(rule), arguments),
            1e-4
        );
    }

    /// <summary>
    /// Odd lengths, whose last chunk is short: of 9 chunks on, neighbours are paired, of 300 five times. γ and the last
    /// state with a gradient and without.
    /// </summary>
    [Test]
    public void OfAnyNumberOfChunks(
        [Values] WriteRule rule,
        [Values(1, 2, 3, 9, 33, 300)] int chunks,
        [Values] bool ofDecay,
        [Values] bool ofState
    )
    {
        using var scope = NewDisposeScope();
        using var seed = manual_seed(chunks);
        const int Chunk = 4;
        var arguments = Arguments(chunks * Chunk - 1, ScalarType.Float64);
        Tensor[] Gradients(Func<Tensor[], Tensor[]> function)
        {
            var leaves = arguments.Select((t, i) => t.detach().clone().requires_grad_(i != 4 || ofDecay)).ToArray();
            var results = function(leaves);
            Compared.Loss(ofState ? results : results[..1]).backward();
            Assert.That(leaves[4].grad is not null, Is.EqualTo(ofDecay));
            return [.. results.Select(t => t.detach()), .. leaves.Select(t => t.grad).OfType<Tensor>()];
        }
        Compared.AreEqual(Gradients(Scan(rule, Chunk)), Gradients(Sequential(rule)), 1e-10);
    }

    /// <summary>
    /// With β|k|² > 2 a value that is overwritten comes back larger and with the other sign, so that states grow.
    /// </summary>
    [Test]
    public void LongKeysMakeStatesGrow([Values(8, 33, 70)] int chunks, [Values(1.0, null)] double? decay)
    {
        using var scope = NewDisposeScope();
        using var seed = manual_seed(chunks);
        const int Chunk = 4;
        var arguments = Arguments(chunks * Chunk - 1, ScalarType.Float64, decay);
        arguments[1] = arguments[1] * 2.5;
        var expected = Compared.ResultsAndGradients(Sequential(WriteRule.Delta), arguments);
        Assert.That(expected[1].abs().max().ToDouble(), Is.GreaterThan(1e3).And.LessThan(1e150));
        Compared.AreEqual(Compared.ResultsAndGradients(Scan(WriteRule.Delta, Chunk), arguments), expected, 1e-10);
        // In float32 the products over several chunks stay finite, too.
        if (chunks > 33)
            return;
        var found = Compared.ResultsAndGradients(
            Scan(WriteRule.Delta, Chunk),
            [.. arguments.Select(t => t.to(ScalarType.Float32))]
        );
        Assert.That(found.All(t => t.isfinite().all().item<bool>()));
    }

    /// <summary>A short last chunk, three pairings of 33 chunks, and padding to 40.</summary>
    [Test]
    public void GradientsThroughPairsAgreeWithFiniteDifferences([Values] WriteRule rule)
    {
        using var scope = NewDisposeScope();
        using var seed = manual_seed(2);
        Compared.AgreeWithFiniteDifferences(
            Scan(rule, 2),
            Arguments(65, ScalarType.Float64, batch: 2, heads: 1, keys: 2, values: 2)
        );
    }

    [Test]
    public void GradientsAgreeWithFiniteDifferences([Values] WriteRule rule)
    {
        using var scope = NewDisposeScope();
        using var seed = manual_seed(1);
        Compared.AgreeWithFiniteDifferences(
            Scan(rule, 3),
            Arguments(8, ScalarType.Float64, batch: 1, heads: 2, keys: 3, values: 2)
        );
    }

    [Test]
    public void CarriedOverACutItIsTheSame([Values] WriteRule rule, [Values(1, 16, 50, 89)] int cut)
    {
        using var scope = NewDisposeScope();
        using var seed = manual_seed(cut);
        var arguments = Arguments(90, ScalarType.Float64);
        Tensor[] Cut(Tensor[] t)
        {
            Tensor[] Part(long start, long length, Tensor state) =>
                [.. t[..4].Select(x => x.narrow(2, start, length)), t[4], state];
            var first = Scan(rule, 16)(Part(0, cut, t[5]));
            var second = Scan(rule, 16)(Part(cut, 90 - cut, first[1]));
            return [cat([first[0], second[0]], 2), second[1]];
        }
        Compared.AreEqual(
            Compared.ResultsAndGradients(Cut, arguments),
            Compared.ResultsAndGradients(Scan(rule, 16), arguments),
            1e-9
        );
    }

    /// <summary>
    /// Keys e_1, e_2: both values come back; then e_1 anew: under delta the newest counts, under Hebb the sum.
    /// </summary>
    [Test]
    public void PairsStoredAreReadBack([Values] WriteRule rule)
    {
        using var scope = NewDisposeScope();
        var keys = tensor(new double[] { 1, 0, 0, 1, 1, 0, 0, 0 }).view(1, 1, 4, 2); // e_1, e_2, e_1, no more
        var queries = tensor(new double[] { 1, 0, 1, 0, 0, 1, 1, 0 }).view(1, 1, 4, 2);
        var values = tensor(new double[] { 3, -1, 2, 5, 7, 7, 0, 0 }).view(1, 1, 4, 2);
        var (read, state) = FastWeights.Scan(
            queries,
            keys,
            values,
            ones([1, 1, 4], dtype: float64),
            ones(1, dtype: float64),
            zeros([1, 1, 2, 2], dtype: float64),
            rule
        );
        double[] rebound = rule == WriteRule.Delta ? [7, 7] : [10, 6];
        Assert.That(read.data<double>().ToArray(), Is.EqualTo((double[])[0, 0, 3, -1, 2, 5, .. rebound]));
        Assert.That(state.data<double>().ToArray(), Is.EqualTo((double[])[.. rebound, 2, 5]));
    }

    [Test]
    public void ReadsHaveTheQueriesTypeAndTheStateItsOwn([Values] WriteRule rule)
    {
        using var scope = NewDisposeScope();
        using var seed = manual_seed(9);
        var half = Arguments(100, ScalarType.BFloat16);
        half[5] = half[5].to(ScalarType.Float32);
        var found = Compared.ResultsAndGradients(Scan(rule), half);
        var types = Enumerable.Repeat(ScalarType.BFloat16, 5);
        Assert.That(
            found.Select(t => t.dtype),
            Is.EqualTo((ScalarType[])[ScalarType.BFloat16, ScalarType.Float32, .. types, ScalarType.Float32])
        );
        // The state has no rounding but of the arguments: it is that of the same numbers in float32.
        var (_, state) = FastWeights.Scan(
            half[0].to(float32),
            half[1].to(float32),
            half[2].to(float32),
            half[3].to(float32),
            half[4].to(float32),
            half[5],
            rule
        );
        Assert.That(found[1].Equals(state));
    }

    [TestCase(0, 2)]
    [TestCase(3, 0)]
    [TestCase(70, 0)]
    public void NothingInNothingOut(int tokens, int batch)
    {
        using var scope = NewDisposeScope();
        foreach (var rule in Enum.GetValues<WriteRule>())
        {
            var arguments = Arguments(tokens, ScalarType.Float64, batch: batch);
            foreach (var function in (Func<Tensor[], Tensor[]>[])[Scan(rule), Sequential(rule)])
            {
                var found = Compared.ResultsAndGradients(function, arguments);
                Assert.That(found[0].shape, Is.EqualTo((long[])[batch, 3, tokens, 4]));
                Assert.That(found[1].Equals(arguments[5]));
                Assert.That(found[6].abs().sum().ToDouble(), Is.Zero, "the decay's gradient");
            }
        }
    }

    [Test]
    public void ShapesThatDoNotAgreeAreNamed()
    {
        using var scope = NewDisposeScope();
        var good = Arguments(6, ScalarType.Float32);
        string[] names = ["q", "k", "v", "strength", "decay", "state"];
        for (int i = 0; i < good.Length; i++)
        {
            var bad = good.ToArray();
            bad[i] = i == 0 ? bad[i].narrow(0, 0, 1)[0] : bad[i].narrow(0, 0, 1);
            string name = names[i];
            Assert.That(
                () => Scan(WriteRule.Delta)(bad),
                Throws.ArgumentException.With.Property("ParamName").EqualTo(name)
            );
            Assert.That(
                () => Sequential(WriteRule.Delta)(bad),
                Throws.ArgumentException.With.Property("ParamName").EqualTo(name)
            );
        }
        Assert.That(
            () => Scan(WriteRule.Delta, 0)(good),
            Throws.ArgumentException.With.Property("ParamName").EqualTo("chunk")
        );
    }

    [Test]
    public void NothingIsLeftBehind([Values] WriteRule rule)
    {
        using var scope = NewDisposeScope();
        // About 10 MB of intermediates in a call
        var leaves = Arguments(2000, ScalarType.Float32).Select(t => t.requires_grad_()).ToArray();
        void Call()
        {
            using var inner = NewDisposeScope();
            int before = inner.DisposablesCount;
            var results = Scan(rule)(leaves);
            Assert.That(inner.DisposablesCount - before, Is.EqualTo(2), "tensors that are not the results");
            Compared.Loss(results).backward();
            foreach (var leaf in leaves)
                leaf.grad!.zero_();
        }
        long Resident()
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
            using var process = Process.GetCurrentProcess();
            return process.WorkingSet64;
        }
        for (int i = 0; i < 10; i++)
            Call();
        long before = Resident();
        int count = scope.DisposablesCount;
        for (int i = 0; i < 40; i++)
            Call();
        Assert.That(scope.DisposablesCount, Is.EqualTo(count));
        Assert.That(Resident() - before, Is.LessThan(200 << 20), "bytes more after 40 calls, which make 400 MB");
    }
}
