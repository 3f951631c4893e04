using System.Text.Json;
using EmtTorch.Settings;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Studies.Tests;

public sealed class ConsolidationExperimentTests : InTemporaryFolder
{
    /// <summary>The network made by hand, as a file. Its feed-forward network adds 0, but can learn.</summary>
    private string HandMade(params string[] settings)
    {
        using var scope = NewDisposeScope();
        using var seed = manual_seed(1);
        var configuration = HandMadeNetwork.Configuration(settings);
        using var network = HandMadeNetwork.Of(configuration);
        using (no_grad())
            network.named_parameters().Single(p => p.name == "blocks.0.expand.weight").parameter.normal_(0, 0.5);
        var tensors = network
            .named_parameters()
            .ToDictionary(
                p => p.name,
                p => new SafetensorsTensor("F64", p.parameter.shape, p.parameter.detach().bytes.ToArray())
            );
        var path = Path.Combine(Folder, "hand.safetensors");
        SafetensorsFile.Write(
            path,
            tensors,
            new Dictionary<string, string> { ["configuration"] = configuration.ToJson(), ["format"] = "pt" }
        );
        return path;
    }

    private ConsolidationConfiguration Settings(params string[] settings) =>
        new()
        {
            Runs = [HandMade(settings)],
            Facts = [4],
            FactsPerDocument = 2,
            Steps = 150,
            BatchSize = 8,
            SegmentLength = 8,
            LearningRate = 0.02,
            TestAnswers = 64,
            Nights =
            [
                new()
                {
                    Name = "none",
                    Replay = "none",
                    Rehearsal = "none",
                },
                new(),
            ],
        };

    [Test]
    public void WhatWasToldByDayIsKnownInTheMorning()
    {
        var outcomes = ConsolidationExperiment.Run(Settings()).Outcomes;
        var (idle, night) = (outcomes[0], outcomes[1]);
        // Without a night the memory is all that knows. Without it all logits are those of the key alone, so that one
        // value at most is guessed right by each.
        Assert.That((idle.Evening, idle.NewBefore, idle.ReboundBefore), Is.EqualTo((1.0, 1.0, 1.0)));
        Assert.That(
            (idle.WipedBefore, idle.NewAfter, idle.ReboundAfter, idle.ReboundOld),
            Is.EqualTo((idle.Morning, 1.0, 1.0, 0.0))
        );
        Assert.That(idle.Morning, Is.LessThan(0.6));
        Assert.That((night.Evening, night.WipedBefore, night.Morning), Is.EqualTo((1.0, idle.WipedBefore, 1.0)));
        Assert.That((night.CuesFound, night.CuesWrong), Is.EqualTo((1.0, 0)));
        Assert.That(night.NewAfter, Is.GreaterThan(0.9));
        Assert.That(night.ReboundAfter, Is.GreaterThan(0.9));
    }

    [Test]
    public void TheSameAgainIsTheSame()
    {
        var settings = Settings() with { Steps = 5, DocumentsPerNight = 1 };
        var (one, two) = (ConsolidationExperiment.Run(settings), ConsolidationExperiment.Run(settings));
        Assert.That(two.ToJson(), Is.EqualTo(one.ToJson()));
        Assert.That(two.ToMarkdown(), Is.EqualTo(one.ToMarkdown()).And.Contain("| night | 4 | 100.0 |"));
        Assert.That(one.Figures.Select(f => f.Spec["data"]!["values"]!.AsArray().Count), Is.All.EqualTo(2));
        Assert.That(ConsolidationExperiment.Run(settings with { Seed = 2 }).ToJson(), Is.Not.EqualTo(one.ToJson()));
    }

    [Test]
    public void WhatWasBrokenOffGoesOnToTheSame()
    {
        var settings = Settings() with { Steps = 5 };
        var whole = ConsolidationExperiment.Run(settings);
        ConsolidationResult half = null!;
        using var stop = new CancellationTokenSource();
        Assert.That(
            () =>
                ConsolidationExperiment.Run(
                    settings,
                    progress: soFar =>
                    {
                        half = soFar;
                        stop.Cancel();
                    },
                    stop: stop.Token
                ),
            Throws.InstanceOf<OperationCanceledException>()
        );
        var before = ConsolidationResult.ParseUnfinished(half.ToJson(), settings)!;
        int Made(ConsolidationResult given, out string json)
        {
            int made = 0;
            json = ConsolidationExperiment.Run(settings, given, _ => made++).ToJson();
            return made;
        }
        Assert.That((Made(before, out var gone), gone), Is.EqualTo((1, whole.ToJson())));
        // Of another network it is of no use.
        Assert.That(
            (Made(before with { Outcomes = [before.Outcomes[0] with { ParameterNorm = 1 }] }, out gone), gone),
            Is.EqualTo((2, whole.ToJson()))
        );
        Assert.That(ConsolidationResult.ParseUnfinished(half.ToJson(), settings with { Steps = 6 }), Is.Null);
        Assert.That(
            ConsolidationResult.ParseUnfinished(whole.ToJson(), settings),
            Is.Null,
            "all is done: it is done anew"
        );
        foreach (var damaged in new[] { "", "{}", "null", half.ToJson()[..^9] })
        {
            Assert.That(
                () => ConsolidationResult.ParseUnfinished(damaged, settings),
                Throws.InstanceOf<JsonException>(),
                damaged
            );
        }
    }

    [Test]
    public void AnotherNetworkThanOneThatRecallsPairsIsRefusedWithAllItsReasons()
    {
        string Reason(ConsolidationConfiguration settings) =>
            Assert.Throws<ConfigurationException>(() => ConsolidationExperiment.Run(settings))!.Message;
        Assert.That(
            Reason(Settings() with { Facts = [8] }),
            Does.Contain("runs[0]").And.Contain("knows 4 keys: 8 facts")
        );
        Assert.That(Reason(Settings("task.segment_recall.both_ways=true")), Does.Contain("both ways"));
        Assert.That(
            Reason(new() { Runs = ["nowhere", "nothing"] }),
            Does.Contain("runs[0]").And.Contain("nowhere").And.Contain("runs[1]")
        );
        Assert.That(
            () => ConsolidationExperiment.Run(Settings(), stop: new CancellationToken(canceled: true)),
            Throws.InstanceOf<OperationCanceledException>()
        );
    }
}
