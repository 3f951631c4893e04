using System.Text.Json;
using EmtTorch.Analysis.Runs;
using EmtTorch.Configuration;
using EmtTorch.Studies;
using EmtTorch.Tasks;
using EmtTorch.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Tests;

/// <summary>
/// Networks that did not learn, are broken, or don't fit: what can't be computed is said, and no number stands in its
/// place.
/// </summary>
public sealed class DegenerateNetworksTests : InTemporaryFolder
{
    private const string T1 = """{ "name": "t1" }""";

    private static string Copy(int d, int s) => $$"""{ "name": "repeat_copy", "d": {{d}}, "s": {{s}} }""";

    private static LinearBinding Binding(string task) => Settings(task).Task.ToLinearBinding();

    private static RunConfiguration Settings(string task) =>
        ConfigurationFile.Parse($$"""{ "name": "degenerate", "task": {{task}} }""");

    private (RunAnalysis Analysis, JsonElement Json) Analyze(NetworkWeights weights, string task) =>
        WrittenAnalysis.Of(weights, Settings(task), Folder);

    private static NetworkWeights Random(int h, int d, double size = 1, long seed = 1)
    {
        using var generator = new Generator((ulong)seed, CPU);
        Tensor Normal(params long[] shape) =>
            randn(shape, dtype: ScalarType.Float64, generator: generator).mul_(size / Math.Sqrt(h));
        return new(Normal(h, d), Normal(h, h), Normal(d, h));
    }

    private static Tensor Orthogonal(int n, long seed = 1)
    {
        using var generator = new Generator((ulong)seed, CPU);
        return linalg.svd(randn([n, n], dtype: ScalarType.Float64, generator: generator)).U.contiguous();
    }

    private static Tensor Jordan(int n, double value) =>
        eye(n, dtype: ScalarType.Float64) * value + diag(ones(n - 1, dtype: ScalarType.Float64), 1);

    /// <summary>The same map in another orthonormal basis.</summary>
    private static Tensor Turned(Tensor matrix)
    {
        var turn = Orthogonal((int)matrix.shape[0], 5);
        return matmul(turn, matmul(matrix, turn.t())).contiguous();
    }

    /// <summary>
    /// The circuit's network at a resting state h* other than 0: W_hh = D⁻¹ g Ψ Φ Ψ*, b = artanh h* − W_hh h*, D =
    /// diag(1 − h*²), so that the Jacobian there is g Ψ Φ Ψ*.
    /// </summary>
    private static NetworkWeights Biased(double gain, double epsilon = 1e-4, int h = 16)
    {
        var circuit = new Circuit(Binding(Copy(2, 3)), Orthogonal(h).narrow(1, 0, 6));
        using var generator = new Generator(4, CPU);
        // Outside of what Ψ* sees: the network starts at h = 0, and the variables are to be empty there.
        var rest = rand(h, dtype: ScalarType.Float64, generator: generator).sub_(0.5);
        rest -= matmul(circuit.Basis, matmul(circuit.Dual, rest));
        var slope = (1 - rest.square()).unsqueeze(1);
        var weightHh = circuit.WeightHh / slope * gain;
        return new(
            circuit.WeightIh * epsilon / slope,
            weightHh,
            circuit.Readout / epsilon,
            rest.atanh() - matmul(weightHh, rest),
            -matmul(circuit.Readout, rest) / epsilon
        );
    }

    private static IEnumerable<TestCaseData> All()
    {
        TestCaseData Case(string name, string task, Func<NetworkWeights> weights) =>
            new TestCaseData(task, weights).SetArgDisplayNames(name);
        yield return Case("untrained", T1, () => Random(64, 8));
        yield return Case("zeros", T1, () => Random(64, 8, 0));
        yield return Case("H = 32", T1, () => Random(32, 8));
        yield return Case("H = 32 orthogonal", T1, () => Random(32, 8) with { WeightHh = Orthogonal(32) });
        foreach (double z in (double[])[1, 0, 0.9, 0.99, -0.9, -0.99, 1.5])
        {
            foreach (int h in (int[])[6, 12])
                yield return Case($"Jordan {z} {h}", Copy(2, 3), () => Random(h, 2) with { WeightHh = Jordan(h, z) });
        }

        foreach (double z in (double[])[1, -1, 0.9, 0.99, 0.5])
        {
            foreach (int h in (int[])[6, 12])
            {
                yield return Case(
                    $"identity {z} {h}",
                    Copy(2, 3),
                    () => Random(h, 2) with { WeightHh = eye(h, dtype: ScalarType.Float64) * z }
                );
            }
        }

        foreach (int h in (int[])[6, 16])
            yield return Case($"orthogonal {h}", Copy(2, 3), () => Random(h, 2) with { WeightHh = Orthogonal(h) });
        foreach (double size in (double[])[1e3, 1e10, 1e155, 1e200, 1e300, 1e-200])
        {
            foreach (int h in (int[])[6, 16])
                yield return Case($"size {size} {h}", Copy(2, 3), () => Random(h, 2, size));
        }

        foreach (double size in (double[])[1e155, 1e200, 1e300])
        {
            foreach (int h in (int[])[2, 4])
            {
                foreach (int s in (int[])[1, 2])
                    yield return Case($"size {size} {h} d2 s{s}", Copy(2, s), () => Random(h, 2, size));
            }
        }

        foreach (double z in (double[])[1, 0, 0.9, 0.99, 0.91, 0.89, 1.5])
        {
            foreach (int h in (int[])[6, 12, 32])
            {
                yield return Case(
                    $"Turned Jordan {z} {h}",
                    Copy(2, 3),
                    () => Random(h, 2) with { WeightHh = Turned(Jordan(h, z)) }
                );
            }
        }

        yield return Case(
            "W_hh 1e200 circuit",
            Copy(2, 3),
            () =>
            {
                var w = new Circuit(Binding(Copy(2, 3)), Random(16, 6).WeightIh).ToWeights();
                return w with { WeightHh = w.WeightHh * 1e200 };
            }
        );
        yield return Case(
            "readout 0",
            Copy(2, 3),
            () =>
            {
                var w = new Circuit(Binding(Copy(2, 3)), Random(16, 6).WeightIh).ToWeights();
                return w with { Readout = w.Readout * 0 };
            }
        );
        yield return Case(
            "readout rank 1",
            Copy(2, 3),
            () =>
            {
                var w = new Circuit(Binding(Copy(2, 3)), Random(16, 6).WeightIh).ToWeights();
                return w with { Readout = cat([w.Readout[0].unsqueeze(0), w.Readout[0].unsqueeze(0)]) };
            }
        );
        yield return Case(
            "input 0",
            Copy(2, 3),
            () =>
            {
                var w = new Circuit(Binding(Copy(2, 3)), Random(16, 6).WeightIh).ToWeights();
                return w with { WeightIh = w.WeightIh * 0 };
            }
        );
        yield return Case("κ mismatch", T1, () => Random(64, 3));
        foreach (int d in (int[])[1, 2])
        {
            foreach (int s in (int[])[1, 2])
            {
                foreach (int h in (int[])[1, 2, 3])
                {
                    yield return Case($"random d{d} s{s} H{h}", Copy(d, s), () => Random(h, d));
                    yield return Case(
                        $"2·1 d{d} s{s} H{h}",
                        Copy(d, s),
                        () => Random(h, d) with { WeightHh = eye(h, dtype: ScalarType.Float64) * 2 }
                    );
                }
            }
        }

        yield return Case(
            "bias random",
            Copy(2, 3),
            () => Random(16, 2) with { Bias = randn(16, dtype: ScalarType.Float64) }
        );
        yield return Case(
            "bias huge",
            Copy(2, 3),
            () => Random(16, 2) with { Bias = randn(16, dtype: ScalarType.Float64) * 1e200 }
        );
        yield return Case(
            "bias W 1e200",
            Copy(2, 3),
            () => Random(16, 2, 1e200) with { Bias = randn(16, dtype: ScalarType.Float64) }
        );
        yield return Case(
            "bias big, no fixed point?",
            Copy(2, 3),
            () => Random(16, 2, 30) with { Bias = randn(16, dtype: ScalarType.Float64) }
        );
        yield return Case(
            "only readout bias",
            Copy(2, 3),
            () => Random(16, 2) with { ReadoutBias = ones(2, dtype: ScalarType.Float64) }
        );
    }

    /// <summary>What holds of every network, however broken.</summary>
    [TestCaseSource(nameof(All))]
    public void NothingIsThrownAndNoNumberStandsWhereNoneCanBeHad(string task, Func<NetworkWeights> weights)
    {
        var (analysis, json) = Analyze(weights(), task);
        double? Number(string key) =>
            json.GetProperty(key) is { ValueKind: JsonValueKind.Number } value ? value.GetDouble() : null;
        bool sameCount = Number("eigenvalues_theory") is { } theory && theory == Number("eigenvalues_learned");
        using (Assert.EnterMultipleScope())
        {
            Assert.That(
                analysis.Lines.Concat(analysis.Problems),
                Has.None.Contains("NaN times").And.None.Contains("∞")
            );
            Assert.That(
                Number("spectral_error") is not null,
                Is.EqualTo(sameCount),
                "a spectral error where the counts agree, and only there"
            );
            Assert.That(sameCount || Number("phi_error") is null, "no Φ error where the counts differ");
            Assert.That(Number("phi_error") is < 1 || analysis.Problems.Count > 0, "a large Φ error is a problem");
            Assert.That(Number("condition") is null or < 1e10, "no basis of dependent columns");
            bool grounded = json.GetProperty("grounding").ValueKind != JsonValueKind.Null;
            foreach (
                var key in (string[])
                    ["phi_error", "phi_error_unscaled", "gain", "condition", "intervention_accuracy", "live_entries"]
            )
            {
                Assert.That(grounded || Number(key) is null, $"{key} without a grounding");
            }

            Assert.That(
                json.GetProperty("problems").EnumerateArray().Select(p => p.GetString()),
                Is.EqualTo(analysis.Problems)
            );
            Assert.That(analysis.Row.Problems, Is.EqualTo(analysis.Problems.Count));
        }
    }

    [Test]
    public void ABrokenTensorIsNamed(
        [Values(double.NaN, double.PositiveInfinity, double.NegativeInfinity, 1e200)] double bad,
        [Range(0, 4)] int which
    )
    {
        var weights = Random(16, 2) with
        {
            Bias = zeros(16, dtype: ScalarType.Float64),
            ReadoutBias = zeros(2, dtype: ScalarType.Float64),
        };
        Tensor[] all = [weights.WeightIh, weights.WeightHh, weights.Readout, weights.Bias!, weights.ReadoutBias!];
        all[which].view(-1)[1] = bad;
        var (analysis, _) = Analyze(weights, Copy(2, 3));
        Assert.That(analysis.Problems, Has.Count.EqualTo(1));
        Assert.That(
            analysis.Problems[0],
            Does.StartWith(new[] { "W_uh", "W_hh", "W_r", "The bias", "The readout's bias" }[which])
                .And.Contain(double.IsFinite(bad) ? "1E+200" : "not finite")
        );
        Assert.That(analysis.Lines, Is.Empty);
    }

    [Test]
    public void ANetworkThatForgetsSaysSo()
    {
        foreach (var weights in (NetworkWeights[])[Random(64, 8, 0), Random(64, 8) with { WeightHh = Jordan(64, 0) }])
        {
            var (analysis, json) = Analyze(weights, T1);
            Assert.That(
                analysis.Problems,
                Has.Some.Contains("theory has 64 of the eigenvalues, the network 0")
                    .And.Some.Contains("forgets everything")
            );
            Assert.That(json.GetProperty("eigenvalues_learned").GetInt32(), Is.Zero);
        }
    }

    [Test]
    public void TooFewUnitsForTheCircuitAreSaid() =>
        Assert.That(
            Analyze(Random(32, 8) with { WeightHh = Orthogonal(32) }, T1).Analysis.Problems,
            Has.Some.Contains("32 hidden units").And.Some.Contains("64 dimensions")
        );

    [Test]
    public void AnotherDimensionThanTheTasksIsSaid() =>
        Assert.That(
            Analyze(Random(64, 3), T1).Analysis.Problems,
            Is.EqualTo(
                new[] { "Nothing can be compared: the network's inputs have 3 numbers, the task's variables 8." }
            )
        );

    [Test]
    public void AnEigenvalueOnTheThresholdIsSaid([Values(0.9, -0.9, 0.99, -0.99)] double value, [Values] bool defective)
    {
        var matrix = defective
            ? Jordan(12, value)
            : diag(cat([ones(6, dtype: ScalarType.Float64), full([6], value, dtype: ScalarType.Float64)]));
        var grounding = Math.Abs(value) == 0.9 ? Grounding.Realization : Grounding.Output;
        var problem = Assert.Throws<AnalysisException>(() =>
            VariableMemories.Find(
                Random(12, 2) with
                {
                    WeightHh = matrix,
                },
                Binding(Copy(2, 3)),
                new() { Grounding = grounding }
            )
        );
        Assert.That(problem!.Message, Does.Contain(FormattableString.Invariant($"|λ| = {Math.Abs(value)}")));
    }

    [Test]
    public void WhereRoundingDecidesThereIsNoProjector(
        [Values(6, 12, 32)] int size,
        [Values(0.89, 0.9, 0.91)] double value
    )
    {
        // A Jordan block of n dimensions in a turned basis: rounding moves its eigenvalues by 1e-16 to the power of
        // 1/n.
        Assert.That(
            () => SpectralProjector.Compute(Turned(Jordan(size, value)), 0.9, "A"),
            Throws.InstanceOf<AnalysisException>().With.Message.Contains("rounding decides")
        );
    }

    [Test]
    public void AJordanBlockAtOneIsNoCircuit()
    {
        // Eigenvalues of the circuit: 1, exp(±2πi/3), each twice. Of the block: 1, six times. (4 · 2π/3) / 6.
        var (analysis, json) = Analyze(Random(6, 2) with { WeightHh = Jordan(6, 1) }, Copy(2, 3));
        Assert.That(json.GetProperty("spectral_error").GetDouble(), Is.EqualTo(4 * Math.PI / 9).Within(1e-9));
        Assert.That(
            json.GetProperty("phi_error") is { ValueKind: JsonValueKind.Number } error
                ? error.GetDouble()
                : double.PositiveInfinity,
            Is.GreaterThan(1)
        );
        Assert.That(analysis.Problems, Is.Not.Empty);
        Assert.That(analysis.Lines, Has.None.Contains("It keeps"));
    }

    [Test]
    public void TheIdentityIsTheCircuitOfOneVariable([Values(1, 2, 3)] int d, [Values(1.0, 1.25)] double gain)
    {
        var (analysis, json) = Analyze(
            Random(d, d) with
            {
                WeightHh = eye(d, dtype: ScalarType.Float64) * gain,
            },
            Copy(d, 1)
        );
        using (Assert.EnterMultipleScope())
        {
            Assert.That(json.GetProperty("spectral_error").GetDouble(), Is.Zero);
            Assert.That(json.GetProperty("live_entries").GetInt32(), Is.EqualTo(d));
            Assert.That(json.GetProperty("phi_error").GetDouble(), Is.EqualTo(0).Within(1e-12));
            Assert.That(json.GetProperty("phi_error_unscaled").GetDouble(), Is.EqualTo(gain - 1).Within(1e-12));
            Assert.That(json.GetProperty("gain").GetDouble(), Is.EqualTo(gain).Within(1e-12));
            Assert.That(
                analysis.Problems.Where(p => !p.StartsWith("The basis is badly conditioned", StringComparison.Ordinal)),
                Is.Empty
            );
        }
    }

    [Test]
    public void ANetworkThatRestsBesideZeroIsReadThere([Values(1, 1.05, 1.2)] double gain)
    {
        var (analysis, json) = Analyze(Biased(gain), Copy(2, 3));
        double Number(string key) => json.GetProperty(key).GetDouble();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(analysis.Problems, Is.Empty);
            Assert.That(Number("spectral_error"), Is.EqualTo(0).Within(1e-8));
            Assert.That(
                (Number("eigenvalues_theory"), Number("eigenvalues_learned"), Number("live_entries")),
                Is.EqualTo((6, 6, 6))
            );
            Assert.That(Number("phi_error"), Is.EqualTo(0).Within(1e-7));
            Assert.That(Number("phi_error_unscaled"), Is.EqualTo(gain - 1).Within(1e-7));
            Assert.That(Number("intervention_accuracy"), Is.EqualTo(1));
            if (gain == 1)
                Assert.That(Number("test_accuracy"), Is.EqualTo(1));
        }
    }
}
