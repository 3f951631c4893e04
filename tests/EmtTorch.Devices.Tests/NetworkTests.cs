using EmtTorch.Kernels;
using EmtTorch.Memory;
using EmtTorch.Models;
using TorchSharp;
using TorchSharp.Modules;
using static EmtTorch.Devices.Tests.TestDevice;
using static TorchSharp.torch;

namespace EmtTorch.Devices.Tests;

/// <summary>Whole networks and their optimizers.</summary>
public sealed class NetworkTests
{
    private const int Vocabulary = 11;

    private static readonly ModelConfiguration Small = new()
    {
        Type = "episodic_transformer",
        HiddenSize = 16,
        Heads = 2,
        Layers = 2,
        MemoryHeads = 2,
    };

    private static IEnumerable<ModelConfiguration> Models() =>
        [
            Small,
            Small with
            {
                Memory = "none",
                Drift = false,
            },
            Small with
            {
                Memory = "none",
                GraphNodes = 4,
                GraphInterval = 6,
            },
            Small with
            {
                Write = "delta",
                Read = "softmax",
                Decay = true,
                Window = 5,
            },
            Small with
            {
                Write = "hypernetwork",
                HypernetworkRank = 3,
                Window = 1,
            },
            Small with
            {
                Attention = false,
                Residual = "seed",
                Gate = false,
            },
            Small with
            {
                Window = 40,
                TieWeights = true,
            },
            Small with
            {
                GraphNodes = 3,
                GraphInterval = 4,
                GraphRead = "seed",
                Window = 7,
            },
            Small with
            {
                Retrieval = new() { Chunk = 8, TopK = 64 },
            },
            // The source's equations: docs/source-forms.md.
            Small with
            {
                Residual = "seed",
                Positions = "none",
                AttentionOutput = false,
                Read = "source",
                UnitKeys = false,
                DriftRate = "shared",
            },
            Small with
            {
                DriftJoin = "concatenate",
                GateInput = "plain",
                Write = "full_hypernetwork",
                Decay = true,
            },
            Small with
            {
                DriftCell = "elman",
                Read = "source",
                Window = 3,
            },
            Small with
            {
                DriftCell = "gru",
                Attention = false,
            },
            Small with
            {
                Retrieval = new()
                {
                    Chunk = 1,
                    TopK = 64,
                    Form = "source",
                    Fuse = "concatenate",
                },
            },
            Small with
            {
                Retrieval = new()
                {
                    Chunk = 8,
                    TopK = 64,
                    Attention = "joint",
                },
            },
            Small with
            {
                Memory = "none",
                Memories =
                [
                    new GraphSettings
                    {
                        Nodes = 4,
                        Interval = 6,
                        Form = "source",
                    },
                ],
            },
            Small with
            {
                Memories =
                [
                    new GraphSettings
                    {
                        Nodes = 4,
                        Interval = 6,
                        Relations = 2,
                        FeedForward = true,
                    },
                ],
            },
        ];

    private static EpisodicTransformer Network(ModelConfiguration model)
    {
        manual_seed(1).Dispose();
        var network = new EpisodicTransformer(Vocabulary, model);
        // New weights of some parts are 0, and would add nothing.
        using (no_grad())
        {
            foreach (var (name, parameter) in network.named_parameters())
            {
                if (name.EndsWith("output.weight", StringComparison.Ordinal))
                    parameter.normal_(0, 0.3);
            }
        }

        return network;
    }

    private static Tensor Tokens(long batch, long length)
    {
        using var generator = new Generator(3);
        return randint(0, Vocabulary, [batch, length], dtype: ScalarType.Int64, generator: generator);
    }

    [Test]
    public void TransformersLogitsStatesAndGradients(
        [ValueSource(nameof(Models))] ModelConfiguration model,
        [Values("float32", "float64")] string dtype
    )
    {
        using var scope = NewDisposeScope();
        Tensor[] On(torch.Device device)
        {
            using var network = Network(model with { Dtype = dtype }).to(device);
            var tokens = Tokens(3, 37).to(device);
            var (first, state) = network.Read(tokens.narrow(1, 0, 14), null);
            var (second, last) = network.Read(tokens.narrow(1, 14, 23), state);
            Tensor[] results =
            [
                network.ReadOut(first),
                network.ReadOut(second),
                .. last.Tensors.Where(t => t.is_floating_point()),
            ];
            Loss(results).backward();
            return
            [
                .. results.Select(t => t.detach().cpu()),
                .. network.parameters().Select(p => (p.grad ?? zeros_like(p)).cpu()),
            ];
        }
        var expected = On(CPU);
        AreNear(Run(On), expected, dtype == "float64" ? 1e-9 : 1e-3);
    }

    /// <summary>
    /// To another type in place of another device, which there may not be: the same way through TorchSharp.
    /// </summary>
    [Test]
    public void ANetworkThatIsMovedIsMovedWholeAndStays()
    {
        using var scope = NewDisposeScope();
        var (elman, transformer) = (
            new ElmanRnn(3, 8, true),
            new EpisodicTransformer(Vocabulary, Small with { GraphNodes = 4, Read = "softmax", Decay = true })
        );
        int parameters = elman.parameters().Count() + transformer.parameters().Count();
        using (NewDisposeScope())
        {
            elman.to(ScalarType.Float64);
            transformer.to(ScalarType.Float64);
        }
        var moved = elman.named_parameters().Concat(transformer.named_parameters()).ToList();
        Assert.That(moved, Has.Count.EqualTo(parameters));
        foreach (var (name, parameter) in moved)
            Assert.That((parameter.dtype, parameter.requires_grad), Is.EqualTo((ScalarType.Float64, true)), name);
        BackwardCall.Run(
            elman.forward(Random(1, ScalarType.Float64, 5, 2, 3)).sum() + transformer.forward(Tokens(2, 5)).sum()
        );
        foreach (var (name, parameter) in moved)
            Assert.That(parameter.grad, Is.Not.Null, name);
        elman.Dispose();
        transformer.Dispose();
    }

    [Test]
    public void GenerationGivesTheSameTokens()
    {
        using var scope = NewDisposeScope();
        long[] On(torch.Device device)
        {
            using var network = Network(Small with { Dtype = "float64" }).to(device);
            using var generator = new Generator(5);
            return [.. network.Generate(Tokens(2, 9).to(device), 20, 1, generator).cpu().reshape(-1).data<long>()];
        }
        Assert.That(Run(On), Is.EqualTo(On(CPU)));
    }

    [Test]
    public void AnElmanNetworksScoreAndGradients([Values("float32", "float64")] string dtype, [Values] bool bias)
    {
        using var scope = NewDisposeScope();
        var type = dtype == "float64" ? ScalarType.Float64 : ScalarType.Float32;
        Tensor[] On(torch.Device device)
        {
            manual_seed(2).Dispose();
            using var network = new ElmanRnn(5, 48, bias, type).to(device);
            var (loss, accuracy) = network.Score(
                Random(1, type, 6, 7, 5).to(device),
                Random(2, type, 9, 7, 5).to(device),
                6,
                gradients: true
            );
            return [tensor(new[] { loss, accuracy }), .. network.parameters().Select(p => p.grad!.cpu())];
        }
        var expected = On(CPU);
        AreNear(Run(On), expected, Rounding(type));
    }

    [Test]
    public void AnEnsemblesScoresAndGradients([Values("float32", "float64")] string dtype)
    {
        using var scope = NewDisposeScope();
        var type = dtype == "float64" ? ScalarType.Float64 : ScalarType.Float32;
        int[] horizons = [11, 7, 7, 1];
        Tensor[] On(torch.Device device)
        {
            manual_seed(2).Dispose();
            ElmanRnn[] networks = [.. horizons.Select(_ => new ElmanRnn(4, 32, true, type))];
            using var ensemble = new ElmanEnsemble(networks, device);
            var (scores, gradient) = ensemble.Score(
                Random(1, type, 4, 5, 6, 4).to(device),
                Random(2, type, 4, 11, 6, 4).to(device),
                5,
                horizons,
                gradients: true
            );
            return [scores.cpu(), gradient!.cpu()];
        }
        var expected = On(CPU);
        AreNear(Run(On), expected, Rounding(type));
    }

    [Test]
    public void TwentyStepsOfAdam([Values] bool decoupled)
    {
        using var scope = NewDisposeScope();
        Tensor[] On(torch.Device device)
        {
            Parameter[] parameters =
            [
                .. Enumerable
                    .Range(0, 3)
                    .Select(i => new Parameter(Random((ulong)i, float64, 5, 7).to(device).clone())),
            ];
            using var adam = optim.Adam(parameters, lr: 0.02, weight_decay: decoupled ? 0 : 0.1);
            var clipped = new ClippedAdam(adam, parameters, decoupled ? 0.1 : 0);
            for (int step = 0; step < 20; step++)
            {
                foreach (var parameter in parameters)
                    parameter.grad = (parameter.detach() - 1) * (step + 1);
                clipped.Step(largestNorm: 1);
            }
            return [.. parameters.Select(p => p.detach().cpu())];
        }
        var expected = On(CPU);
        AreNear(Run(On), expected, 1e-9);
    }
}
