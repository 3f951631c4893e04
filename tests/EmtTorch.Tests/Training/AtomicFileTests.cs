using EmtTorch.Training;

namespace EmtTorch.Tests;

/// <summary>What several processes do in one folder when they start a sweep together; here threads do it.</summary>
public sealed class AtomicFileTests : InTemporaryFolder
{
    [Test]
    public void SeveralMayWriteOneFileAtATime()
    {
        var file = Path.Combine(Folder, "sweep.json");
        var text = new string('x', 10_000);
        AtSameTime(() => AtomicFile.WriteText(file, text));
        Assert.That(File.ReadAllText(file), Is.EqualTo(text));
        Assert.That(Directory.GetFiles(Folder), Has.Length.EqualTo(1));
    }

    [Test]
    public void SeveralMayAskWhetherAFolderCanBeWrittenAtATime()
    {
        AtSameTime(() => Assert.That(new RunFolder(Path.Combine(Folder, "a", "b")).WhyNotWritable(), Is.Null));
    }

    private static void AtSameTime(Action action)
    {
        var failures = new List<Exception>();
        var threads = Enumerable
            .Range(0, 4)
            .Select(_ => new Thread(() =>
            {
                try
                {
                    for (int i = 0; i < 50; i++)
                        action();
                }
                catch (Exception e)
                {
                    lock (failures)
                        failures.Add(e);
                }
            }))
            .ToList();
        threads.ForEach(t => t.Start());
        threads.ForEach(t => t.Join());
        Assert.That(failures, Is.Empty);
    }
}
