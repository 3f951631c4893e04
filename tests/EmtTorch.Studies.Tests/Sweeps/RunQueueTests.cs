using EmtTorch.Configuration;
using EmtTorch.Training;
using Serilog;
using Serilog.Core;
using Serilog.Debugging;
using Serilog.Events;

namespace EmtTorch.Studies.Tests;

public sealed class RunQueueTests : InTemporaryFolder
{
    private RunConfiguration Configuration(int seed) =>
        ConfigurationFile.Parse(
            """
            {
              "name": "small", "device": "cpu", "task": { "name": "repeat_copy", "d": 2, "s": 2 },
              "model": { "hidden_size": 8 }, "training": { "steps": 3, "batch_size": 4 },
              "evaluation": { "horizon": 3, "batches": 1, "batch_size": 4 }
            }
            """,
            [$"out={Folder}", $"seed={seed}"]
        );

    private RunConfiguration[] Seeds => [Configuration(1), Configuration(2), Configuration(3)];

    private static Logger NoLog => new LoggerConfiguration().CreateLogger();

    private static RunEnd[] Ends(RunOutcome[] outcomes) => [.. outcomes.Select(o => o.End)];

    /// <summary>A log on a full disk: what is left in its buffer cannot be written when it is closed.</summary>
    private sealed class FullDisk : ILogEventSink, IDisposable
    {
        public void Emit(LogEvent logEvent) { }

        public void Dispose() => throw new IOException("No space left on device");
    }

    [Test]
    public void ALogThatCannotBeClosedEndsNoRunAndIsTold([Values] bool together)
    {
        var told = new List<string>();
        SelfLog.Enable(text =>
        {
            lock (told)
                told.Add(text);
        });
        try
        {
            var queue = new RunQueue
            {
                Log = (_, _) => new LoggerConfiguration().WriteTo.Sink(new FullDisk()).CreateLogger(),
                Together = together,
                Jobs = 2,
            };
            Assert.That(Ends(queue.Train(Seeds)), Is.All.EqualTo(RunEnd.Done));
        }
        finally
        {
            SelfLog.Disable();
        }
        Assert.That(told, Has.Count.EqualTo(3).And.All.Contains("No space left on device"));
    }

    [Test]
    public void AnyExceptionOfARunEndsOnlyThatRun([Values] bool together)
    {
        var queue = new RunQueue
        {
            Log = (run, _) => run.Seed == 2 ? throw new NotSupportedException("no log") : NoLog,
            Progress = (run, _) =>
            {
                if (run.Seed == 3)
                    throw new NotSupportedException("no progress");
            },
            Together = together,
            Jobs = 2,
        };
        var outcomes = queue.Train(Seeds);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(Ends(outcomes), Is.EqualTo(new[] { RunEnd.Done, RunEnd.Failed, RunEnd.Failed }));
            Assert.That(outcomes.Select(o => o.Failure), Is.EqualTo(new[] { null, "no log", "no progress" }));
        }
    }

    [Test]
    public void WhatThrowsWhenItIsToldOfAnEndThrowsAfterAllRuns([Values] bool together)
    {
        var queue = new RunQueue
        {
            Log = (_, _) => NoLog,
            Ended = (_, _) => throw new NotSupportedException("not told"),
            Together = together,
            Jobs = 2,
        };
        Assert.That(() => queue.Train(Seeds), Throws.TypeOf<NotSupportedException>());
        foreach (var run in Seeds)
            Assert.That(RunFolder.Of(run).ReadResult(), Is.Not.Null);
    }

    [Test]
    public void WeightsAreReadBeforeARunIsSetAside([Values] bool together)
    {
        var queue = new RunQueue { Log = (_, _) => NoLog, Together = together };
        queue.Train(Seeds);
        var weights = Path.Combine(Folder, "weights.safetensors");
        File.WriteAllText(weights, "damaged");
        var outcomes = (queue with { Weights = weights }).Train(Seeds);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(Ends(outcomes), Is.All.EqualTo(RunEnd.Failed));
            Assert.That(outcomes[0].Failure, Does.Contain(weights));
            Assert.That(Directory.Exists(Path.Combine(Folder, "small", "earlier")), Is.False);
            foreach (var run in Seeds)
                Assert.That(RunFolder.Of(run).ReadResult()!.Steps, Is.EqualTo(3));
        }
    }
}
