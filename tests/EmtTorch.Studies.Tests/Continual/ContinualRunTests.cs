using EmtTorch.Models;
using EmtTorch.Settings;
using EmtTorch.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Studies.Tests;

/// <summary>Stages: what each begins with, what it keeps, and that an interruption changes no bit.</summary>
public sealed class ContinualRunTests : InTemporaryFolder
{
    private ContinualSequence Load(string json, string name)
    {
        var path = Path.Combine(Folder, $"{name}.json");
        File.WriteAllText(path, json);
        return ContinualSequence.Load(path);
    }

    private static SafetensorsFile Last(RunFolder folder) =>
        new CheckpointFolder(folder.Checkpoints, 1, true).FindLatest(_ => { })!.File;

    private static byte[] Bytes(SafetensorsFile file, string name) => file.Tensors[name].ToArray();

    [Test]
    public void AStageBeginsWithTheSharedWeightsOfTheOneBeforeAndItsOwnAnew()
    {
        var sequence = Load(ContinualSamples.Rnn, "rnn");
        var run = new ContinualRun(sequence, sequence.Methods[0], 1);
        Assert.That(run.TrainFirst(default) && run.Train(), Is.True);
        for (int stage = 1; stage < 3; stage++)
        {
            var (before, initial) = (
                Last(run.Folder(stage - 1)),
                SafetensorsFile.Read(Path.Combine(run.Folder(stage).Path, "initial.safetensors"))
            );
            using (Assert.EnterMultipleScope())
            {
                Assert.That(Bytes(initial, "rnn.weight_hh"), Is.EqualTo(Bytes(before, "rnn.weight_hh")));
                Assert.That(Bytes(initial, "rnn.weight_ih"), Is.Not.EqualTo(Bytes(before, "rnn.weight_ih")));
                Assert.That(
                    Bytes(Last(run.Folder(stage)), "rnn.weight_hh"),
                    Is.Not.EqualTo(Bytes(before, "rnn.weight_hh"))
                );
            }
        }
        // The test of an old task is with the new W_hh and its own weights.
        var tests = run.ReadTests()!;
        var by = sequence.Stage(0, 1);
        using var learner = Learner.Create(by, CPU);
        Last(run.Folder(0)).RestoreInto(learner.Network);
        Assert.That(learner.Test(0).Accuracy, Is.EqualTo(tests[0].Accuracy["copy"]));
        using (no_grad())
        using (var shared = StoredTensors.Load(Last(run.Folder(2)), "rnn.weight_hh"))
            ((EmtTorch.Models.ElmanRnn)learner.Network).RecurrentWeights.copy_(shared);
        Assert.That(learner.Test(0).Accuracy, Is.EqualTo(tests[2].Accuracy["copy"]));
        Assert.That(run.ReadRandomTests()!.Accuracy.Keys, Is.EqualTo(new[] { "copy", "signs", "swap" }));
        // While a later task is learned, the earlier ones are tested too.
        Assert.That(
            run.Folder(2).ReadMetrics()[^1].Measures!.Keys,
            Is.EqualTo(new[] { "accuracy.copy", "accuracy.signs" })
        );
    }

    /// <summary>The files of a finished run of which only the accuracies count.</summary>
    private static void Pretend(ContinualSequence sequence, ContinualMethod method, long seed, double accuracy)
    {
        var tests = "{\"accuracy\":{\"copy\":A,\"signs\":A,\"swap\":A},\"loss\":{}}".Replace("A", $"{accuracy}");
        var run = new ContinualRun(sequence, method, seed);
        foreach (var stage in Enumerable.Range(0, run.Stages).Select(s => run.Folder(s).Path))
        {
            Directory.CreateDirectory(stage);
            foreach (var folder in new[] { stage, Path.GetDirectoryName(stage)! })
                File.WriteAllText(Path.Combine(folder, "tests.json"), tests);
        }
        File.WriteAllText(
            Path.Combine(run.Folder(run.Stages - 1).Path, "metrics.jsonl"),
            "{\"step\":1,\"loss\":1,\"accuracy\":1,\"horizon\":1,\"gradient_norm\":1,\"test_accuracy\":1,"
                + "\"steps_per_second\":1,\"seconds\":1,\"measures\":{\"leak\":"
                + (accuracy / 2).ToString(System.Globalization.CultureInfo.InvariantCulture)
                + "}}\n"
        );
    }

    [TestCase(
        "0.9 0.8 0.7",
        "The best strength, 1, is the edge of its grid: the smallest that was tried. Its "
            + "average accuracy is 0.900; at 10 it is 0.800. A smaller one may be better."
    )]
    [TestCase(
        "0.7 0.8 0.8125",
        "The best strength, 100, is the edge of its grid: the largest that was tried. Its "
            + "average accuracy is 0.813; at 10 it is 0.800. A larger one may be better."
    )]
    [TestCase("0.7 0.9 0.8", null)]
    [TestCase("0.7 0.7 0.7", null)]
    public void ABestStrengthAtTheEdgeOfItsGridIsNamed(string accuracies, string? sentence)
    {
        var sequence = Load(ContinualSamples.Rnn.Replace("\"strengths\": [5]", "\"strengths\": [10, 1, 100]"), "rnn");
        var ewc = sequence.Methods.Where(m => m.Kind == "ewc").OrderBy(m => m.Strength);
        foreach (var (method, accuracy) in ewc.Zip(accuracies.Split(' ')))
            Pretend(sequence, method, sequence.SweepSeed, double.Parse(accuracy));
        var table = ContinualTable.Read(sequence);
        Assert.That(table.Markdown(), sentence is null ? Does.Not.Contain("edge of its grid") : Does.Contain(sentence));
        Assert.That(
            System.Text.Json.Nodes.JsonNode.Parse(table.Json())!["at_the_edge"]!.AsArray().Select(g => (string?)g),
            sentence is null ? Is.Empty : Is.EqualTo(new[] { "ewc" })
        );
    }

    [Test]
    public void WhatIsLeftOfTheFirstTasksMemoriesIsInTheTables()
    {
        var path = Path.Combine(Folder, "rnn.json");
        File.WriteAllText(path, ContinualSamples.Rnn);
        var sequence = ContinualSequence.Load(path, seeds: [1, 2]);
        Pretend(sequence, sequence.Methods[0], 1, 0.5);
        Pretend(sequence, sequence.Methods[0], 2, 0.75);
        var table = ContinualTable.Read(sequence);
        // 0.25 and 0.375: mean 0.3125, deviation 0.125 / √2.
        Assert.That(table.Markdown(), Does.Contain("| method | leak |\n|:--|--:|\n| naive | 0.31 ± 0.088 |"));
        var lines = table.Csv().Split('\n');
        Assert.That((lines[0].Split(',')[^1], lines[1].Split(',')[^1]), Is.EqualTo(("leak", "0.25")));
    }

    [Test]
    public void WhatEwcKeepsIsTheFisherOfTheTasksBefore()
    {
        var sequence = Load(ContinualSamples.Rnn, "rnn");
        var run = new ContinualRun(sequence, sequence.Methods[1], 1);
        run.Train();
        var (second, third) = (
            SafetensorsFile.Read(Path.Combine(run.Folder(1).Path, "kept.safetensors")),
            SafetensorsFile.Read(Path.Combine(run.Folder(2).Path, "kept.safetensors"))
        );
        Assert.That(
            second.Tensors.Keys,
            Is.EquivalentTo(new[] { "importance.rnn.weight_hh", "anchor.rnn.weight_hh" }),
            "what a task has for itself is not held"
        );
        Assert.That(Bytes(second, "anchor.rnn.weight_hh"), Is.EqualTo(Bytes(Last(run.Folder(0)), "rnn.weight_hh")));
        using var scope = NewDisposeScope();
        Assert.That(
            (
                StoredTensors.Load(third, "importance.rnn.weight_hh")
                - StoredTensors.Load(second, "importance.rnn.weight_hh")
            )
                .min()
                .item<float>(),
            Is.GreaterThanOrEqualTo(0)
        );
    }

    [Test]
    public void SisImportanceIsItsPathIntegralOverTheMoveSquared()
    {
        var sequence = Load(ContinualSamples.Rnn, "rnn");
        var run = new ContinualRun(sequence, sequence.Methods[2], 1);
        run.Train();
        var kept = SafetensorsFile.Read(Path.Combine(run.Folder(1).Path, "kept.safetensors"));
        float[] Of(SafetensorsFile file, string name)
        {
            using var tensor = StoredTensors.Load(file, name);
            return tensor.data<float>().ToArray();
        }
        var (sum, end) = (
            Of(Last(run.Folder(0)), "optimizer.path_integral.rnn.weight_hh"),
            Of(Last(run.Folder(0)), "rnn.weight_hh")
        );
        var start = Of(SafetensorsFile.Read(Path.Combine(run.Folder(0).Path, "initial.safetensors")), "rnn.weight_hh");
        var importance = Of(kept, "importance.rnn.weight_hh");
        for (int i = 0; i < sum.Length; i++)
        {
            Assert.That(
                importance[i],
                Is.EqualTo(2 * Math.Max(sum[i], 0) / (Math.Pow(end[i] - start[i], 2) + 1e-3))
                    .Within(1e-5 + 1e-4 * Math.Abs(importance[i])),
                $"{i}"
            );
        }

        Assert.That(sum, Has.Some.Positive);
    }

    [Test]
    public void AProjectedStageLeavesTheDirectionsOfOldStatesAlone()
    {
        var sequence = Load(ContinualSamples.Rnn, "rnn");
        var run = new ContinualRun(sequence, sequence.Methods[3], 1);
        run.Train();
        using var scope = NewDisposeScope();
        var kept = SafetensorsFile.Read(Path.Combine(run.Folder(2).Path, "kept.safetensors"));
        var from = StoredTensors.Load(kept, "from");
        var change = (
            StoredTensors.Load(Last(run.Folder(2)), "rnn.weight_hh")
            - StoredTensors.Load(Last(run.Folder(1)), "rnn.weight_hh")
        ).to(ScalarType.Float64);
        Assert.That(matmul(change, from).abs().max().item<double>(), Is.LessThan(1e-6));
        Assert.That(
            (matmul(from.t(), from) - eye(from.shape[1], dtype: ScalarType.Float64)).abs().max().item<double>(),
            Is.LessThan(1e-12)
        );
    }

    [Test]
    public void AllAtOnceTheNetworksShareTheirWeightsBitForBit()
    {
        var sequence = Load(ContinualSamples.Rnn, "rnn");
        var run = new ContinualRun(sequence, sequence.Methods[4], 1);
        run.Train();
        var last = Last(run.Folder(0));
        using (Assert.EnterMultipleScope())
        {
            foreach (int j in new[] { 1, 2 })
            {
                Assert.That(Bytes(last, $"tasks.{j}.rnn.weight_hh"), Is.EqualTo(Bytes(last, "tasks.0.rnn.weight_hh")));
                Assert.That(
                    Bytes(last, $"tasks.{j}.rnn.weight_ih"),
                    Is.Not.EqualTo(Bytes(last, "tasks.0.rnn.weight_ih"))
                );
            }
        }
    }

    [Test]
    public void TheGradientOfAllTasksAtOnceIsTheMeanOfTheirs()
    {
        using var scope = NewDisposeScope();
        var sequence = Load(ContinualSamples.Rnn, "rnn");
        var tasks = Enumerable.Range(0, 3).Select(j => sequence.Stage(j, 1)).ToArray();
        using var joint = new JointLearner(tasks[0], tasks, sequence.OwnParameters, CPU);
        using var data = new Generator(4);
        joint.ComputeGradients(4, data);
        var found = joint.Network.named_parameters().ToDictionary(p => p.name, p => p.parameter.grad!.clone());

        using var again = new Generator(4);
        var sum = zeros(12, 12);
        for (int j = 0; j < 3; j++)
        {
            using var learner = Learner.Create(tasks[j], CPU);
            var named = learner.Network.named_parameters().ToDictionary(p => p.name, p => p.parameter);
            using (no_grad())
            {
                named["rnn.weight_hh"]
                    .copy_(joint.Network.named_parameters().First(p => p.name == "tasks.0.rnn.weight_hh").parameter);
            }

            learner.ComputeGradients(4, again);
            sum.add_(named["rnn.weight_hh"].grad!);
            Assert.That(
                (found[$"tasks.{j}.readout.weight"] - named["readout.weight"].grad! / 3).abs().max().item<float>(),
                Is.LessThan(1e-7)
            );
        }
        foreach (int j in new[] { 0, 1, 2 })
            Assert.That((found[$"tasks.{j}.rnn.weight_hh"] - sum / 3).abs().max().item<float>(), Is.LessThan(1e-7));
    }

    // Interrupted in its first, in the middle of its second and at the very end of a stage.
    [Test]
    public void AnInterruptionChangesNoBit(
        [Values("rnn:ewc", "rnn:si", "rnn:project-states", "rnn:joint", "transformer:ewc", "transformer:si")]
            string which
    )
    {
        var (kind, name) = (which.Split(':')[0], which.Split(':')[1]);
        var json = kind == "rnn" ? ContinualSamples.Rnn : ContinualSamples.Transformer;
        ContinualSequence whole = Load(json, "whole"),
            parts = Load(json, "parts");
        var method = whole.Methods.Single(m => m.Name == name);
        Assert.That(new ContinualRun(whole, method, 1).Train(), Is.True);
        int interruptions = 0;
        for (bool done = false; !done; )
        {
            using var stop = new CancellationTokenSource();
            int lines = 0;
            done = new ContinualRun(parts, method, 1)
            {
                Progress = (_, _) =>
                {
                    if (++lines == 2 + interruptions % 2)
                        stop.Cancel();
                },
            }.Train(stop.Token);
            if (!done)
                interruptions++;
            Assert.That(interruptions, Is.LessThan(20));
        }
        Assert.That(interruptions, Is.GreaterThan(1));
        ContinualRun a = new(whole, method, 1),
            b = new(parts, method, 1);
        for (int stage = 0; stage < a.Stages; stage++)
        {
            SafetensorsFile one = Last(a.Folder(stage)),
                two = Last(b.Folder(stage));
            foreach (var tensor in one.Tensors.Keys)
                Assert.That(Bytes(two, tensor), Is.EqualTo(Bytes(one, tensor)), $"{stage}: {tensor}");
            Assert.That(
                File.ReadAllText(Path.Combine(b.Folder(stage).Path, "tests.json")),
                Is.EqualTo(File.ReadAllText(Path.Combine(a.Folder(stage).Path, "tests.json")))
            );
        }
    }

    [TestCase(
        "\"own\": [\"rnn.weight_ih\", \"readout.weight\"]",
        "\"own\": [\"readout\"]",
        "own: found readout, which is no parameter of the network; allowed: rnn.weight_ih, rnn.weight_hh, "
            + "readout.weight"
    )]
    [TestCase(
        "\"own\": [\"rnn.weight_ih\", \"readout.weight\"]",
        "\"own\": [\"rnn.weight_ih\", \"readout.weight\", \"rnn.weight_hh\"]",
        "own: has all parameters: nothing is left for the tasks to share"
    )]
    [TestCase(
        "\"name\": \"repeat_copy\", \"d\": 2, \"s\": 3 }",
        "\"name\": \"repeat_copy\", \"d\": 4, \"s\": 3 }",
        null
    )]
    [TestCase("\"steps\": 30", "\"steps\": 0", "training.steps: found 0")]
    [TestCase("\"strengths\": [5]", "\"strengths\": [5, 6], \"name\": \"x\"", null)]
    [TestCase("\"seeds\": [1]", "\"seeds\": [1], \"sweep_seed\": 1", null)]
    [TestCase(
        "\"strengths\": [5] }, { \"method\": \"si\"",
        "\"strengths\": [5, 6] }, { \"name\": \"s\", \"method\": \"si\"",
        "sweep_seed: found 1, which is one of the seeds",
        "\"seeds\": [1]",
        "\"seeds\": [1], \"sweep_seed\": 1"
    )]
    [TestCase("\"name\": \"signs\"", "\"name\": \"copy\"", "tasks: has copy 2 times")]
    [TestCase("\"name\": \"signs\"", "\"name\": \"../x\"", "tasks: found the name ../x")]
    [TestCase(
        "{ \"method\": \"naive\" }",
        "{ \"method\": \"naive\", \"name\": \"first\" }",
        "methods[0].name: found \"first\""
    )]
    [TestCase(
        "{ \"method\": \"naive\" }",
        "{ \"method\": \"naive\" }, { \"method\": \"naive\" }",
        "methods: 2 are called naive"
    )]
    public void WhatCantBeTrainedIsRefused(string from, string to, string? message, string also = "", string by = "")
    {
        var json = ContinualSamples.Rnn.Replace(from, to);
        if (also.Length > 0)
            json = json.Replace(also, by);
        Assert.That(json, Is.Not.EqualTo(ContinualSamples.Rnn));
        string problems = "";
        try
        {
            problems = string.Join('\n', ContinualRun.Check(Load(json, "any")));
        }
        catch (ConfigurationException e)
        {
            problems = string.Join('\n', e.Problems);
        }
        if (message is null)
            Assert.That(problems, Is.Empty);
        else
            Assert.That(problems, Does.StartWith(message));
    }

    [Test]
    public void ADamagedLastCheckpointOfAStageIsNamedAndNoEarlierOneIsTaken()
    {
        var sequence = Load(ContinualSamples.Rnn, "rnn");
        var run = new ContinualRun(sequence, sequence.Methods[0], 1);
        run.TrainFirst(default);
        var file = Path.Combine(run.Folder(0).Checkpoints, "step-00000030.safetensors");
        var bytes = File.ReadAllBytes(file);
        bytes[^5] ^= 4;
        File.WriteAllBytes(file, bytes);
        Assert.That(
            () => run.Train(),
            Throws
                .TypeOf<CheckpointException>()
                .With.Message.Contains("1-copy is finished, but the checkpoint of its last step is missing or damaged")
        );
    }
}
