using EmtTorch.Training;

namespace EmtTorch.Tests;

public sealed class CheckpointFolderTests : InTemporaryFolder
{
    private readonly List<string> _warnings = [];

    [SetUp]
    public void ForgetWarnings() => _warnings.Clear();

    private CheckpointFolder Checkpoints(int keepLast = 3, bool keepBest = true) => new(Folder, keepLast, keepBest);

    private static void Save(CheckpointFolder folder, long step, double? score = null) =>
        folder.Save(
            step,
            new Dictionary<string, SafetensorsTensor>
            {
                ["optimizer.step"] = new("I64", [1], BitConverter.GetBytes(step)),
            },
            new Dictionary<string, string> { ["step"] = $"{step}" },
            score
        );

    private static void Save(
        CheckpointFolder folder,
        long step,
        Dictionary<string, string> additions,
        double? score = null
    )
    {
        folder.Add(
            "store",
            step - 1,
            step,
            new Dictionary<string, SafetensorsTensor>
            {
                ["store.0.keys"] = new("I64", [1], BitConverter.GetBytes(step)),
            },
            additions
        );
        folder.Save(
            step,
            new Dictionary<string, SafetensorsTensor>
            {
                ["optimizer.step"] = new("I64", [1], BitConverter.GetBytes(step)),
            },
            additions,
            score
        );
    }

    private string[] Additions => [.. Directory.GetFiles(Folder, "store-*").Select(f => Path.GetFileName(f)).Order()];

    private string[] Steps => [.. Directory.GetFiles(Folder, "step-*").Select(f => Path.GetFileName(f)[5..13]).Order()];

    private string FileOf(int step) => Path.Combine(Folder, $"step-{step:D8}.safetensors");

    private LoadedCheckpoint? Load() => Checkpoints().LoadLatest(_warnings.Add);

    [Test]
    public void TheNewestAreKeptAndTheBest()
    {
        var folder = Checkpoints(keepLast: 2);
        Save(folder, 1, 0.5);
        Save(folder, 2, 0.9);
        Save(folder, 3, 0.9);
        Save(folder, 4);
        Save(folder, 5, 0.7);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(Steps, Is.EqualTo(new[] { "00000002", "00000004", "00000005" }));
            Assert.That(
                File.ReadAllText(Path.Combine(Folder, "latest")).Trim(),
                Is.EqualTo("step-00000005.safetensors")
            );
        }
        // The best is known after a restart, too.
        var again = Checkpoints(keepLast: 1);
        again.LoadLatest(_warnings.Add);
        Save(again, 6, 0.8);
        Assert.That(Steps, Is.EqualTo(new[] { "00000002", "00000006" }));
    }

    [Test]
    public void TheBestWhoseStoreIsDamagedIsNeitherUsedNorTakenForTheBest()
    {
        var additions = new Dictionary<string, string>();
        var folder = Checkpoints(keepLast: 3);
        Save(folder, 1, additions, 0.5);
        Save(folder, 2, additions, 0.9);
        var store = Path.Combine(Folder, "store-00000001-00000002.safetensors");
        var bytes = File.ReadAllBytes(store);
        bytes[^1] ^= 1;
        File.WriteAllBytes(store, bytes);
        var again = Checkpoints(keepLast: 1);
        Assert.That(again.LoadLatest(_warnings.Add)!.Step, Is.EqualTo(1));
        Save(again, 3, score: 0.4);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(Steps, Is.EqualTo(new[] { "00000001", "00000002", "00000003" }));
            Assert.That(Additions, Has.Length.EqualTo(2), "what the damaged one names is not known");
        }
    }

    [Test]
    public void NothingIsNull()
    {
        Assert.That(Load(), Is.Null);
        Directory.Delete(Folder);
        Assert.That(Load(), Is.Null);
        Directory.CreateDirectory(Folder);
    }

    [TestCase("flipped"), TestCase("cut"), TestCase("empty"), TestCase("checksum's name")]
    public void ADamagedNewestIsNamedAndTheOneBeforeIsUsed(string damage)
    {
        var folder = Checkpoints();
        Save(folder, 1);
        Save(folder, 2);
        var bytes = File.ReadAllBytes(FileOf(2));
        switch (damage)
        {
            case "flipped":
                bytes[^3] ^= 4;
                break;
            case "cut":
                bytes = bytes[..^5];
                break;
            case "empty":
                bytes = [];
                break;
            default:
                bytes[bytes.AsSpan().IndexOf("sha256"u8)] ^= 1;
                break;
        }
        File.WriteAllBytes(FileOf(2), bytes);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(Load()!.Step, Is.EqualTo(1));
            Assert.That(_warnings, Has.Exactly(1).Contains("step-00000002.safetensors"));
            Assert.That(File.Exists(FileOf(2)), Is.True, "it is left for a look");
        }
        var next = Checkpoints();
        next.LoadLatest(_ => { });
        Save(next, 2);
        Assert.That(Load()!.Step, Is.EqualTo(2), "and replaced when its step comes again");
    }

    [Test]
    public void WhenAllAreDamagedEachIsNamed()
    {
        var folder = Checkpoints();
        Save(folder, 1);
        Save(folder, 2);
        foreach (int step in new[] { 1, 2 })
            File.WriteAllText(FileOf(step), "x");
        Assert.That(
            () => Load(),
            Throws
                .TypeOf<CheckpointException>()
                .With.Message.Contains("step-00000001")
                .And.Message.Contains("step-00000002")
                .And.Message.Contains("--resume")
        );
    }

    [
        TestCase(null),
        TestCase(""),
        TestCase("../../elsewhere"),
        TestCase("step-00000009.safetensors"),
        TestCase("\0\u0001")
    ]
    public void ALatestThatIsWrongIsAWarning(string? text)
    {
        Save(Checkpoints(), 4);
        var latest = Path.Combine(Folder, "latest");
        if (text is null)
            File.Delete(latest);
        else
            File.WriteAllText(latest, text);
        Assert.That(Load()!.Step, Is.EqualTo(4));
        Assert.That(_warnings, Has.Count.EqualTo(1));
    }

    [Test]
    public void AKillBetweenTheCheckpointAndLatestLosesNothing()
    {
        var folder = Checkpoints();
        Save(folder, 1);
        var before = File.ReadAllText(Path.Combine(Folder, "latest"));
        Save(folder, 2);
        File.WriteAllText(Path.Combine(Folder, "latest"), before);
        Assert.That(Load()!.Step, Is.EqualTo(2));
    }

    [Test]
    public void WhatAKillLeftUnfinishedIsRemoved()
    {
        Save(Checkpoints(), 1);
        File.WriteAllText(FileOf(2) + ".tmp", "half of it");
        Assert.That(Load()!.Step, Is.EqualTo(1));
        Assert.That(
            Directory.GetFiles(Folder).Select(Path.GetFileName),
            Is.EquivalentTo(new[] { "step-00000001.safetensors", "latest" })
        );
    }

    [Test]
    public void WeightsThatPythonWroteAreACheckpoint()
    {
        // Without a checksum, as Python writes them.
        var header = """{"rnn.weight_hh":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}      """u8.ToArray();
        File.WriteAllBytes(FileOf(3), [.. BitConverter.GetBytes((long)header.Length), .. header, 0, 0, 128, 63]);
        Assert.That(Load()!.File.Tensors.Keys, Is.EqualTo(new[] { "rnn.weight_hh" }));
    }

    [Test]
    public void AdditionsAreWrittenOnceAndNamedByAllLaterCheckpoints()
    {
        var folder = Checkpoints(keepLast: 1);
        var named = new Dictionary<string, string>();
        Save(folder, 1, named);
        var written = File.GetLastWriteTimeUtc(Path.Combine(Folder, Additions.Single()));
        Save(folder, 2, named);
        Assert.That(Steps, Is.EqualTo(new[] { "00000002" }));
        Assert.That(
            Additions,
            Is.EqualTo(new[] { "store-00000000-00000001.safetensors", "store-00000001-00000002.safetensors" })
        );
        Assert.That(File.GetLastWriteTimeUtc(Path.Combine(Folder, Additions[0])), Is.EqualTo(written));
        Assert.That(
            Load()!.Additions.Select(a => BitConverter.ToInt64(a.Tensors["store.0.keys"].ToArray())),
            Is.EqualTo(new[] { 1L, 2L }),
            "oldest first"
        );
        Assert.That(Checkpoints().FindLatest(_warnings.Add, _ => false)!.Additions, Is.Empty, "not wanted");
        // A checkpoint that names none of them: they are removed.
        var later = Checkpoints(keepLast: 1);
        later.LoadLatest(_warnings.Add);
        Save(later, 3);
        Assert.That(Additions, Is.Empty);
    }

    [TestCase(true), TestCase(false)]
    public void ADamagedOrMissingAdditionIsNamedAndTheCheckpointBeforeIsUsed(bool missing)
    {
        var folder = Checkpoints();
        var named = new Dictionary<string, string>();
        Save(folder, 1, named);
        Save(folder, 2, named);
        var second = Path.Combine(Folder, Additions[1]);
        if (missing)
        {
            File.Delete(second);
        }
        else
        {
            var bytes = File.ReadAllBytes(second);
            bytes[^1] ^= 1;
            File.WriteAllBytes(second, bytes);
        }
        Assert.That(Load()!.Step, Is.EqualTo(1));
        Assert.That(_warnings.Single(), Does.Contain("store-00000001-00000002.safetensors"));
    }

    [Test]
    public void AnAdditionOutsideOfTheFolderIsRefused()
    {
        Save(Checkpoints(), 1, new Dictionary<string, string> { ["additions"] = "../secret" });
        Assert.That(() => Load(), Throws.TypeOf<CheckpointException>().With.Message.Contains("../secret"));
    }

    [TestCase(true), TestCase(false)]
    public void ANewerDamagedCheckpointTakesNoGoodOnesPlace(bool keepBest)
    {
        Save(Checkpoints(), 6);
        Save(Checkpoints(), 8);
        File.WriteAllText(FileOf(8), "damaged");
        var folder = Checkpoints(keepLast: 1, keepBest);
        Assert.That(folder.LoadLatest(_warnings.Add)!.Step, Is.EqualTo(6));
        Save(folder, 7);
        Assert.That(Steps, Is.EqualTo(new[] { "00000007", "00000008" }));
        Assert.That(Load()!.Step, Is.EqualTo(7));
    }
}
