using System.Collections.Concurrent;
using EmtTorch.Configuration;
using EmtTorch.Training;
using Serilog;
using Serilog.Core;
using Serilog.Events;

namespace EmtTorch.Trainer.Tests;

/// <summary>
/// Runs whose networks retrieve: with either store, broken off and gone on with, with a server that goes away.
/// </summary>
[NonParallelizable] // an environment variable, and the memory of the process
public sealed class StoredEpisodesTests : InTemporaryFolder
{
    private const string Variable = "EMTTORCH_TEST_POSTGRES";

    private readonly Dictionary<bool, PgvectorServer> _servers = [];

    [OneTimeTearDown]
    public void StopServers()
    {
        foreach (var server in _servers.Values)
            server.Dispose();
    }

    private PgvectorServer Server(bool native)
    {
        if (!_servers.ContainsKey(native))
            _servers[native] = new(native);
        Environment.SetEnvironmentVariable(Variable, _servers[native].ConnectionString);
        return _servers[native];
    }

    private const string Small = """
        {
          "name": "small", "device": "cpu", "task": { "segment_recall": { "pairs": 2, "segment_length": 7, "keys": 4,
            "values": 3, "noise": 2 } },
          "model": { "type": "episodic_transformer", "hidden_size": 8, "heads": 2, "layers": 2, "window": 4,
            "memory": "none", "retrieval": { "chunk": 4, "top_k": 3 } },
          "training": { "steps": 8, "batch_size": 4, "log_interval": 1, "learning_rate": 0.01, "bptt_segments": 2,
            "curriculum": { "horizons": [1, 2], "threshold": 0.4 } },
          "evaluation": { "horizon": 2, "batches": 1, "batch_size": 3, "interval": 4 }, "checkpoints": { "interval": 4 }
        }
        """;

    private RunConfiguration Configuration(string name, params string[] settings) =>
        ConfigurationFile.Parse(Small, [$"out={Folder}", $"name={name}", .. settings]);

    private static string[] Stored(string store, string scope) =>
        store == "postgres"
            ?
            [
                $"model.retrieval.store=postgres",
                $"model.retrieval.scope={scope}",
                $"model.retrieval.connection={Variable}",
            ]
            : [$"model.retrieval.scope={scope}"];

    private static RunResult? Train(
        RunConfiguration configuration,
        bool resume = false,
        ILogger? log = null,
        Action<TrainingProgress>? progress = null,
        CancellationToken stop = default
    ) =>
        new TrainingRun(configuration, RunFolder.Of(configuration), log ?? Logger.None) { Progress = progress }.Train(
            resume,
            stop
        );

    private static string[] Figures(RunConfiguration configuration) =>
        [
            .. RunFolder
                .Of(configuration)
                .ReadMetrics()
                .Select(m => $"{m.Step} {m.Loss:R} {m.GradientNorm:R} {m.TestLoss:R}"),
        ];

    [Test, Category(Layer.External)]
    public void EitherStoreGivesTheSameRunAlsoWhenItIsBrokenOff(
        [Values("document", "shared")] string scope,
        [Values] bool native
    )
    {
        var server = Server(native);
        var whole = Configuration("whole", Stored("memory", scope));
        Train(whole);
        var expected = Figures(whole);
        Assert.That(expected, Has.Length.EqualTo(8));

        foreach (var store in new[] { "memory", "postgres" })
        {
            var configuration = Configuration($"{store}_{scope}", Stored(store, scope));
            using var stop = new CancellationTokenSource();
            Assert.That(
                Train(
                    configuration,
                    progress: p =>
                    {
                        if (p.Metrics.Step == 6)
                            stop.Cancel();
                    },
                    stop: stop.Token
                ),
                Is.Null
            );
            if (store == "postgres")
            {
                if (scope == "document")
                {
                    Assert.That(
                        server.Ask("SELECT count(*) FROM episodic_entries WHERE run = 'postgres_document/seed-1'"),
                        Is.Zero
                    );
                }
                // What a crash in the next step would leave.
                server.Ask(
                    "INSERT INTO episodic_entries SELECT 'postgres_"
                        + scope
                        + "/seed-1', 0, 6, 0, p, ('[' || repeat('1,', 7) || '1]')::vector, decode(repeat('00', 64), 'hex') FROM generate_series(0, 9) p"
                );
            }
            Train(configuration, resume: true);
            Assert.That(Figures(configuration), Is.EqualTo(expected), store);
        }
        if (scope == "shared")
        {
            // 8 steps of 4 documents, 3 chunks of 4 tokens of the 21 at horizon 1, … : as many as in memory, each once.
            long entries = Directory
                .GetFiles(RunFolder.Of(whole).Checkpoints, "store-*.safetensors")
                .Sum(file => SafetensorsFile.Read(file).Tensors["store.1.keys"].Shape[0]);
            Assert.That(
                server.Ask("SELECT count(*) FROM episodic_entries WHERE run = 'postgres_shared/seed-1' AND block = 1"),
                Is.EqualTo(entries).And.GreaterThan(300L)
            );
        }
    }

    [Test, Category(Layer.External)]
    public void AServerThatGoesAwayIsWaitedForOrTheRunEndsWithACheckpointAndGoesOnLater([Values] bool native)
    {
        var server = Server(native);
        var whole = Configuration("whole", Stored("memory", "shared"));
        Train(whole);
        var expected = Figures(whole);

        var said = new ConcurrentQueue<string>();
        using var log = new LoggerConfiguration().WriteTo.Sink(new Said(said)).CreateLogger();
        var waits = Configuration("waits", Stored("postgres", "shared"));
        Train(
            waits,
            log: log,
            progress: p =>
            {
                if (p.Metrics.Step != 3)
                    return;
                server.Kill();
                new Thread(() =>
                {
                    while (!said.Any(s => s.StartsWith("PostgreSQL is away", StringComparison.Ordinal)))
                        Thread.Sleep(20);
                    server.Start();
                })
                {
                    IsBackground = true, // a run that says nothing must not keep the process
                }.Start();
            }
        );
        Assert.That(Figures(waits), Is.EqualTo(expected));
        Assert.That(
            said,
            Has.Exactly(1).StartsWith("PostgreSQL is away").And.Exactly(1).StartsWith("PostgreSQL is back after")
        );

        foreach (int at in new[] { 2, 3 }) // in a step; in one that is tested and saved
        {
            var ends = Configuration($"ends_{at}", [.. Stored("postgres", "shared"), "model.retrieval.wait=0"]);
            Assert.That(
                () =>
                    Train(
                        ends,
                        progress: p =>
                        {
                            if (p.Metrics.Step == at)
                                server.Kill();
                        }
                    ),
                Throws.InstanceOf<TrainingException>().With.Message.Contains("PostgreSQL has been away")
            );
            Assert.That(new CheckpointFolder(RunFolder.Of(ends).Checkpoints, 3, true).LastStep, Is.EqualTo(at));
            server.Start();
            Train(ends, resume: true);
            Assert.That(Figures(ends), Is.EqualTo(expected), $"{at}");
        }
        // No file of a run knows how to get in.
        foreach (var file in Directory.EnumerateFiles(Folder, "*", SearchOption.AllDirectories))
            Assert.That(File.ReadAllBytes(file).AsSpan().IndexOf("not-to-be-seen"u8), Is.Negative, file);

        server.Ask("DELETE FROM episodic_entries WHERE run = 'waits/seed-1' AND generation = 5");
        Assert.That(
            () => Train(waits with { Training = waits.Training with { Steps = 9 } }, resume: true),
            Throws.InstanceOf<InvalidDataException>().With.Message.Contains("and the checkpoint counted")
        );
    }

    [Test, Category(Layer.Process)]
    public void ARunWhoseStoreCanNotBeUsedWritesNothing()
    {
        var configuration = Path.Combine(Folder, "c.json");
        File.WriteAllText(configuration, Configuration("never", Stored("postgres", "document")).ToJson());
        using (
            var trainer = Command.Start(
                Folder,
                "dotnet",
                [Command.TrainerFile, configuration, "--out", "runs"],
                (Variable, "")
            )
        )
        {
            var (code, _, error) = trainer.End();
            Assert.That((code, error), Is.EqualTo((2, error)));
            Assert.That(
                error,
                Does.Contain($"model.retrieval.connection: the environment variable {Variable} is not set")
            );
        }
        using (
            var trainer = Command.Start(
                Folder,
                "dotnet",
                [Command.TrainerFile, configuration, "--out", "runs"],
                (Variable, "Host=127.0.0.1;Port=1;Username=u;Password=not-to-be-seen;Database=d")
            )
        )
        {
            var (code, output, error) = trainer.End();
            Assert.That((code, error), Is.EqualTo((2, error)));
            Assert.That(
                error,
                Does.Contain("model.retrieval: PostgreSQL cannot be used").And.Not.Contain("not-to-be-seen")
            );
        }
        Assert.That(Directory.Exists(Path.Combine(Folder, "runs")), Is.False);
    }

    [Test, Category(Layer.Slow)] // memory that leaks is seen after many documents
    public void MemoryIsNoLargerAfterManyDocuments()
    {
        // A step stores two megabytes of documents, and 60 steps 120. The process itself may grow by some 20.
        var configuration = Configuration(
            "flat",
            "training.steps=80",
            "evaluation.interval=80",
            "checkpoints.interval=80",
            "training.batch_size=64",
            "training.bptt_segments=1",
            "model.hidden_size=64",
            "training.curriculum.horizons=[2]"
        );
        var sizes = new List<double>();
        Train(
            configuration,
            progress: p =>
            {
                if (p.Metrics.Step is not (20 or 80))
                    return;
                GC.Collect();
                GC.WaitForPendingFinalizers();
                sizes.Add(Environment.WorkingSet / 1e6);
            }
        );
        TestContext.Out.WriteLine($"{sizes[0]:F1} MB, {sizes[1]:F1} MB");
        Assert.That(sizes[1], Is.LessThan(sizes[0] + 60));
    }

    private sealed class Said(ConcurrentQueue<string> lines) : ILogEventSink
    {
        public void Emit(LogEvent logEvent) => lines.Enqueue(logEvent.RenderMessage().Trim('"'));
    }
}
