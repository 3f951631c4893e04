using System.Globalization;
using EmtTorch.Configuration;
using EmtTorch.Models;
using EmtTorch.Training;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

/// <summary>The networks of an ensemble against the same networks alone.</summary>
public sealed class ElmanEnsembleTests
{
    /// <summary>
    /// Sizes κ, H, B, S, whether there are biases, the first output that counts, and each member's horizon.
    /// </summary>
    private static IEnumerable<TestCaseData> Shapes() =>
        [
            new(3, 7, 5, 4, false, 4, new[] { 9 }),
            new(3, 7, 5, 4, true, 4, new[] { 9, 9, 9 }),
            new(8, 16, 4, 3, false, 3, new[] { 11, 7, 7, 1 }),
            new(2, 33, 3, 5, true, 5, new[] { 13, 12, 4, 4, 1 }),
            new(1, 5, 1, 1, true, 1, new[] { 1, 1 }),
            new(4, 9, 6, 2, false, 6, new[] { 5, 3 }), // steps without input or target in between
            new(3, 6, 2, 8, true, 0, new[] { 8, 8, 8 }), // as in flip_flop: every output counts
            new(3, 6, 2, 1, false, 0, new[] { 1, 1 }),
        ];

    /// <summary>Networks, with input (n, S, B, κ) and target (n, horizon, B, κ).</summary>
    private static (List<ElmanRnn> Networks, Tensor Input, Tensor Target) Random(
        int n,
        int width,
        int hidden,
        bool bias,
        int batch,
        int inputSteps,
        int longest
    ) =>
        (
            [.. Enumerable.Range(0, n).Select(_ => new ElmanRnn(width, hidden, bias, ScalarType.Float64))],
            randn(n, inputSteps, batch, width, dtype: ScalarType.Float64),
            randn(n, longest, batch, width, dtype: ScalarType.Float64)
        );

    private static Tensor GradientOf(ElmanRnn network) =>
        cat(network.parameters().Select(p => p.grad!.reshape(-1)).ToArray());

    [TestCaseSource(nameof(Shapes))]
    public void EachMembersLossAccuracyAndGradientAreItsOwn(
        int width,
        int hidden,
        int batch,
        int inputSteps,
        bool bias,
        int from,
        int[] horizons
    )
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(11);
        int n = horizons.Length,
            longest = horizons[0];
        var (networks, input, target) = Random(n, width, hidden, bias, batch, inputSteps, longest);
        // What lies behind a member's horizon must not reach it.
        for (int i = 0; i < n; i++)
            target[i].narrow(0, horizons[i], longest - horizons[i]).fill_(double.PositiveInfinity);

        using var ensemble = new ElmanEnsemble(networks, CPU);
        var (scores, gradient) = ensemble.Score(input, target, from, horizons, gradients: true);
        var quiet = ensemble.Score(input, target, from, horizons, gradients: false);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(quiet.Gradient, Is.Null);
            for (int i = 0; i < n; i++)
            {
                var output = networks[i].forward(input[i], from + horizons[i], from);
                var wanted = target[i].narrow(0, 0, horizons[i]);
                var loss = nn.functional.mse_loss(output, wanted);
                networks[i].zero_grad();
                loss.backward();
                Assert.That(scores[i, 0].item<double>(), Is.EqualTo(loss.item<double>()).Within(1e-12).Percent);
                Assert.That(
                    scores[i, 1].item<double>(),
                    Is.EqualTo(output.ge(0).eq(wanted.ge(0)).to(ScalarType.Float64).mean().item<double>()).Within(1e-12)
                );
                Assert.That(quiet.Scores[i].allclose(scores[i]), Is.True);
                var own = GradientOf(networks[i]);
                Assert.That(
                    (gradient![i] - own).abs().max().item<double>(),
                    Is.LessThan(1e-13 * (1 + own.abs().max().item<double>())),
                    $"member {i}"
                );
            }
        }
    }

    [Test]
    public void TheGradientIsTheDifferenceQuotient()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        var (networks, input, target) = Random(3, 2, 4, bias: true, batch: 5, inputSteps: 3, longest: 6);
        int[] horizons = [6, 6, 2];
        using var ensemble = new ElmanEnsemble(networks, CPU);
        var gradient = ensemble.Score(input, target, 3, horizons, gradients: true).Gradient!;
        const double step = 1e-5;
        for (long p = 0; p < gradient.shape[1]; p++)
        {
            Tensor Losses(double by)
            {
                ensemble.Parameters.narrow(1, p, 1).add_(by);
                return ensemble.Score(input, target, 3, horizons, gradients: false).Scores.select(1, 0);
            }
            var quotient = (Losses(step) - Losses(-2 * step)) / (2 * step);
            Losses(step);
            Assert.That(
                (quotient - gradient.select(1, p)).abs().max().item<double>(),
                Is.LessThan(1e-9),
                $"parameter {p}"
            );
        }
    }

    [Test]
    public void EachMembersSpectralPenaltyIsItsOwn()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(8);
        var (networks, input, target) = Random(3, 2, 6, bias: true, batch: 5, inputSteps: 3, longest: 4);
        double[] betas = [0.3, 0, 2];
        using var ensemble = new ElmanEnsemble(networks, CPU);
        var gradient = ensemble.Score(input, target, 3, [4, 4, 4], gradients: true).Gradient!;
        ensemble.AddSpectralPenalty(gradient, tensor(betas).view(3, 1, 1));
        for (int i = 0; i < 3; i++)
        {
            networks[i].Score(input[i], target[i], 3, gradients: true);
            networks[i].AddSpectralPenalty(betas[i]);
            Assert.That(
                (gradient[i] - GradientOf(networks[i])).abs().max().item<double>(),
                Is.LessThan(1e-13),
                $"member {i}"
            );
        }
    }

    [Test]
    public void EachMemberIsClippedAndMovedAsTorchMovesItAlone([Values] bool noisy)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(5);
        AdamSettings[] settings =
        [
            new(1e-3, 0, 1),
            new(0.02, 0.1, 0.3),
            new(5e-4, 10, 1e9),
            new(0.1, 0.001, 0.01, DecoupledDecay: true),
        ];
        long[] begun = [0, 7, 2500, 0];
        var alone = settings.Select(_ => new Parameter(randn(23, dtype: ScalarType.Float64))).ToArray();
        var optimizers = settings
            .Select(
                (s, i) =>
                    s.DecoupledDecay
                        ? (OptimizerHelper)optim.AdamW([alone[i]], lr: s.LearningRate, weight_decay: s.WeightDecay)
                        : optim.Adam([alone[i]], lr: s.LearningRate, weight_decay: s.WeightDecay)
            )
            .ToArray();
        for (int i = 0; i < begun.Length; i++)
        {
            if (begun[i] == 0)
                continue;
            var state = (Adam.State)optimizers[i].state_dict().State.Single();
            state.step = begun[i];
            state.exp_avg_sq.copy_(state.exp_avg.copy_(randn(23, dtype: ScalarType.Float64)).square());
        }
        Tensor Moments(Func<Adam.State, Tensor> of) =>
            stack(
                optimizers.Select(o =>
                    o.state_dict().State.Single() is Adam.State s ? of(s) : zeros(23, dtype: ScalarType.Float64)
                )
            );
        var together = stack(alone.Select(p => p.detach().clone()));
        using var adam = new EnsembleAdam(Moments(s => s.exp_avg), Moments(s => s.exp_avg_sq), settings, begun);
        int[] members = [0, 1, 2, 3];
        for (int step = 0; step < 230; step++)
        {
            if (step == 120)
            {
                // Another order, and one of them gone.
                members = [3, 0, 1];
                var rows = tensor(new long[] { 3, 0, 1 });
                adam.Choose(members, rows);
                together = together.index_select(0, rows);
            }
            var gradient = randn(4, 23, dtype: ScalarType.Float64) * (step % 3);
            var noise = randn(4, 23, dtype: ScalarType.Float64);
            var norms = adam.Step(
                together,
                stack(members.Select(i => gradient[i])),
                noisy ? stack(members.Select(i => noise[i])) : null
            );
            for (int row = 0; row < members.Length; row++)
            {
                int i = members[row];
                alone[i].grad = gradient[i].clone();
                double norm = nn.utils.clip_grad_norm_([alone[i]], settings[i].MaxGradNorm);
                if (noisy)
                    alone[i].grad!.add_(noise[i]);
                optimizers[i].step();
                Assert.That(norms[row].item<double>(), Is.EqualTo(norm).Within(1e-11).Percent);
                Assert.That(
                    (together[row] - alone[i]).abs().max().item<double>(),
                    Is.LessThan(1e-11),
                    $"member {i}, step {step}"
                );
            }
        }
        Assert.That(adam.Steps, Is.EqualTo(new long[] { 230, 230, 237 }));
    }

    [Test]
    public void TheBatchesAreTheOnesEachWouldDrawAlone(
        [Values("repeat_copy", "t4", "xor", "flip_flop")] string name,
        [Values] bool single
    )
    {
        using var scope = NewDisposeScope();
        var dtype = single ? ScalarType.Float32 : ScalarType.Float64;
        var size = name switch
        {
            "t4" => "",
            "flip_flop" => ", \"d\": 3",
            _ => ", \"d\": 3, \"s\": 5",
        };
        var task = ConfigurationFile
            .Parse($$"""{ "name": "x", "task": { "name": "{{name}}"{{size}} }, "model": { "bias": true } }""", [])
            .Task;
        using var batches = new EnsembleBatches(task, dtype, CPU);
        var own = task.ToSequenceTask(dtype, CPU);
        using var held = own as IDisposable;
        List<Generator> together = [],
            alone = [];
        foreach (ulong seed in new ulong[] { 1, 2, 9 })
        {
            together.Add(new Generator(seed));
            alone.Add(new Generator(seed));
        }
        foreach (var horizons in new[] { new[] { 6, 6, 6 }, [9, 4, 1], [12, 12, 5] })
        {
            var (input, target) = batches.Batch(7, horizons, together);
            for (int i = 0; i < 3; i++)
            {
                var (ownInput, ownTarget) = own.Batch(7, horizons[i], alone[i]);
                Assert.That(
                    input[i].narrow(0, 0, ownInput.shape[0]).eq(ownInput).all().item<bool>(),
                    Is.True,
                    string.Create(CultureInfo.InvariantCulture, $"input of {i}")
                );
                Assert.That(
                    target[i].narrow(0, 0, horizons[i]).eq(ownTarget).all().item<bool>(),
                    Is.True,
                    string.Create(CultureInfo.InvariantCulture, $"target of {i}")
                );
            }
        }
    }
}
