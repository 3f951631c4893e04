using System.Diagnostics;
using EmtTorch.Settings;
using EmtTorch.Studies;

namespace EmtTorch.Trainer.Tests;

/// <summary>
/// scripts/slurm/sweep.sbatch: on a cluster of one node, which tests/slurm/local.sh starts, and by itself.
/// </summary>
[Category(Layer.External)]
public sealed class SlurmTests
{
    private static readonly string Script = Path.Combine("scripts", "slurm", "sweep.sbatch");

    private const string Sweep = """
        {
          "name": "small",
          "base": {
            "device": "cpu", "task": { "name": "repeat_copy", "d": 2, "s": 2 }, "model": { "hidden_size": 16 },
            "training": { "steps": 8000, "batch_size": 8, "log_interval": 50,
              "curriculum": { "horizons": [3, 5], "threshold": 0.6 } },
            "evaluation": { "horizon": 9, "batches": 2, "batch_size": 8, "interval": 500 },
            "checkpoints": { "interval": 250 }
          },
          "axes": { "training.weight_decay": [0, 0.001] },
          "seeds": "1-2"
        }
        """;

    // Part 1/2 is seed 1, part 2/2 seed 2.
    private static readonly string[] Runs =
    [
        "weight_decay_0/seed-1",
        "weight_decay_0/seed-2",
        "weight_decay_0.001/seed-1",
        "weight_decay_0.001/seed-2",
    ];

    private string _folder = "",
        _cluster = "",
        _slurmConf = "";
    private string? _none;
    private Lazy<string> _whole = null!;

    [OneTimeSetUp]
    public void StartACluster()
    {
        _folder = Directory.CreateTempSubdirectory("emttorch-slurm-").FullName;
        _cluster = Path.Combine(_folder, "cluster");
        _whole = new(() => Train("whole", "--array=1-2"));
        var (code, output, error) = Run(
            Path.Combine(Repository.Root, "tests", "slurm", "local.sh"),
            ["start", _cluster]
        );
        if (code == 3)
            _none = error.Trim();
        else
            Assert.That(code, Is.Zero, error);
        _slurmConf = output.Trim();
    }

    [OneTimeTearDown]
    public void StopTheCluster()
    {
        Run(Path.Combine(Repository.Root, "tests", "slurm", "local.sh"), ["stop", _cluster]);
        Directory.Delete(_folder, recursive: true);
    }

    private void RequireACluster()
    {
        if (_none is not null)
            Requirement.IsMissing(_none);
    }

    private (int Code, string Output, string Error) Run(
        string program,
        string[] arguments,
        params (string Name, string Value)[] environment
    )
    {
        using var command = Command.Start(
            Repository.Root,
            program,
            arguments,
            [("SLURM_CONF", _slurmConf), ("EMTTORCH_TRAINER", Command.TrainerFile), .. environment]
        );
        // Longer than all of it takes, also where apt-get waits for another one.
        return command.End(TimeSpan.FromMinutes(4), Logs);
    }

    /// <summary>Submits the sweep, with its runs in a folder of its own.</summary>
    /// <returns>The job's number.</returns>
    private string Submit(string name, string[] options, params (string, string)[] environment)
    {
        var sweep = Path.Combine(_folder, name, "sweep.json");
        Directory.CreateDirectory(Path.GetDirectoryName(sweep)!);
        File.WriteAllText(sweep, Sweep);
        var (code, output, error) = Run(
            "sbatch",
            [
                "--parsable",
                "--cpus-per-task=1",
                "--output",
                Path.Combine(_folder, name, "%A_%a.log"),
                .. options,
                Script,
                sweep,
            ],
            environment
        );
        Assert.That(code, Is.Zero, error + Logs());
        return output.Trim();
    }

    /// <summary>Submits the sweep and waits for its end.</summary>
    /// <returns>The folder of its runs.</returns>
    private string Train(string name, string array, params (string, string)[] environment)
    {
        Submit(name, [array], environment);
        UntilNoJob();
        return RunsOf(name);
    }

    private string RunsOf(string name) => Path.Combine(_folder, name, "runs");

    private string Logs() =>
        string.Concat(
            Directory
                .GetFiles(_folder, "*.log", SearchOption.AllDirectories)
                .Where(f => !f.StartsWith(_cluster, StringComparison.Ordinal))
                .Select(f => $"\n{f}:\n{File.ReadAllText(f)}")
        );

    private void Until(Func<bool> condition, string what)
    {
        var clock = Stopwatch.StartNew();
        while (!condition())
        {
            if (clock.Elapsed > TimeSpan.FromMinutes(2))
                Assert.Fail($"{what}: not within two minutes.\n{Logs()}");
            Thread.Sleep(50);
        }
    }

    private void UntilTraining(string runs, string run) =>
        Until(() => File.Exists(Path.Combine(runs, run, "checkpoints", "latest")), $"{run} has a checkpoint");

    private void UntilNoJob() => Until(() => Run("squeue", ["--noheader"]).Output.Length == 0, "the queue is empty");

    private string State(string job) => Run("scontrol", ["show", "job", job]).Output;

    private static string[] MetricsOf(string runs, string run) =>
        [
            .. File.ReadLines(Path.Combine(runs, run, "metrics.jsonl"))
                .Select(line => line[..line.IndexOf(",\"steps_per_second\"", StringComparison.Ordinal)]),
        ];

    private void AssertTheSameAsTheWhole(string runs)
    {
        using (Assert.EnterMultipleScope())
        {
            foreach (var run in Runs)
            {
                Assert.That(File.Exists(Path.Combine(runs, run, "result.json")), Is.True, run);
                Assert.That(MetricsOf(runs, run), Is.EqualTo(MetricsOf(_whole.Value, run)), run);
            }
        }
    }

    [Test]
    public void AnArrayTrainsTheWholeSweep()
    {
        RequireACluster();
        var runs = _whole.Value;
        using (Assert.EnterMultipleScope())
        {
            Assert.That(Run("squeue", ["--noheader"]).Output, Is.Empty);
            foreach (var run in Runs)
                Assert.That(File.Exists(Path.Combine(runs, run, "result.json")), Is.True, run + Logs());
            Assert.That(Logs(), Does.Contain("part 1/2").And.Contain("part 2/2"));
        }
    }

    [Test]
    public void AfterAKillAndACancelTheArraySubmittedAgainComesToTheSameBits()
    {
        RequireACluster();
        var runs = RunsOf("killed");
        var job = Submit("killed", ["--array=1-2"]);
        UntilTraining(runs, Runs[0]);
        UntilTraining(runs, Runs[1]);
        Run("kill", ["-KILL", TrainerOf("killed", "1/2")]);
        Run("scancel", [$"{job}_2"]);
        UntilNoJob();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(State($"{job}_1"), Does.Contain("JobState=FAILED").And.Contain("ExitCode=137:0"));
            Assert.That(State($"{job}_2"), Does.Contain("JobState=CANCELLED").And.Contain("Restarts=0"));
            Assert.That(
                File.ReadAllText(Path.Combine(_folder, "killed", $"{job}_2.log")),
                Does.Contain("it was interrupted").And.Not.Contain("queue")
            );
            foreach (var run in Runs[2..])
                Assert.That(File.Exists(Path.Combine(runs, run, "result.json")), Is.False, run);
        }
        // Modulo 2 these are the tasks from before.
        Train("killed", "--array=5,8", ("SHARDS", "2"));
        AssertTheSameAsTheWhole(runs);
    }

    [Test]
    public void WhenItsTimeIsUpAJobGoesBackIntoTheQueueAndComesToTheSameBits()
    {
        RequireACluster();
        var runs = RunsOf("requeued");
        var job = Submit("requeued", ["--array=0-1"]);
        UntilTraining(runs, Runs[0]);
        // What Slurm sends before the time limit. The array's last task has the array's own number.
        Run("scancel", ["--batch", "--signal=USR1", $"{job}_1"]);
        // There it would wait for two minutes. In the second of its first end Slurm would not start it.
        Until(
            () => State($"{job}_1").Contains("JobState=PENDING", StringComparison.Ordinal),
            "the job is back in the queue"
        );
        Run("scontrol", ["update", $"JobId={job}_1", "StartTime=now+3"]);
        UntilNoJob();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(State($"{job}_0"), Does.Contain("JobState=COMPLETED").And.Contain("Restarts=0"));
            Assert.That(State($"{job}_1"), Does.Contain("JobState=COMPLETED").And.Contain("Restarts=1"));
            Assert.That(
                File.ReadAllText(Path.Combine(_folder, "requeued", $"{job}_1.log")),
                Does.Match("(?s)part 1/2.*it was interrupted.*goes back into the queue.*part 1/2.*2 of 2 runs done")
            );
        }
        AssertTheSameAsTheWhole(runs);
    }

    /// <summary>The number of the process that trains a part of a sweep.</summary>
    private string TrainerOf(string name, string part)
    {
        foreach (
            var folder in Directory.EnumerateDirectories("/proc").Where(f => char.IsAsciiDigit(Path.GetFileName(f)[0]))
        )
        {
            try
            {
                var arguments = File.ReadAllText(Path.Combine(folder, "cmdline")).Split('\0');
                if (
                    arguments[0].EndsWith("dotnet", StringComparison.Ordinal)
                    && arguments.Contains(Path.Combine(_folder, name, "sweep.json"))
                    && arguments.Contains(part)
                )
                {
                    return Path.GetFileName(folder);
                }
            }
            catch (IOException)
            { /* it has ended */
            }
        }
        throw new InvalidOperationException($"nobody trains part {part} of {name}.\n{Logs()}");
    }

    [TestCase("1-8", 1, null, "1/8")]
    [TestCase("1-8", 8, null, "8/8")]
    [TestCase("0-7", 0, null, "8/8")]
    [TestCase("0-7", 7, null, "7/8")]
    [TestCase("3,5", 5, "8", "5/8")]
    [TestCase("11-18", 18, "8", "2/8")]
    [TestCase("1-1", 1, null, "1/1")]
    [TestCase("3,5", 5, null, null)]
    [TestCase("3-4", 3, null, null)]
    [TestCase("1-8", 1, "eight", null)]
    public void ATasksNumberSaysItsPart(string array, int task, string? shards, string? part)
    {
        // In place of dotnet, what would be run.
        var programs = Path.Combine(_folder, "programs");
        Directory.CreateDirectory(programs);
        File.WriteAllText(Path.Combine(programs, "dotnet"), "#!/bin/sh\necho \"$@\" on $DOTNET_PROCESSOR_COUNT\n");
        Run("chmod", ["+x", Path.Combine(programs, "dotnet")]);
        var ends = array.Split('-', ',');
        int first = int.Parse(ends[0]),
            last = int.Parse(ends[1]),
            tasks = array.Contains(',') ? 2 : last - first + 1;
        var (code, output, error) = Run(
            "bash",
            [Script, "sweep.json", "--device", "cuda"],
            ("PATH", $"{programs}:{Environment.GetEnvironmentVariable("PATH")}"),
            ("SHARDS", shards ?? ""),
            ("SLURM_CPUS_PER_TASK", "3"),
            ("SLURM_ARRAY_JOB_ID", "9"),
            ("SLURM_ARRAY_TASK_ID", $"{task}"),
            ("SLURM_ARRAY_TASK_MIN", $"{first}"),
            ("SLURM_ARRAY_TASK_MAX", $"{last}"),
            ("SLURM_ARRAY_TASK_COUNT", $"{tasks}")
        );
        Assert.That(code, Is.EqualTo(part is null ? 2 : 0), error);
        if (part is null)
            Assert.That(error, Does.Contain("SHARDS"));
        else
            Assert.That(output, Does.Contain($"Trainer.dll sweep sweep.json --device cuda --shard {part} on 3"));
    }

    [Test]
    public void OutsideTheCheckoutTheScriptSaysWhereToSubmit()
    {
        var (code, _, error) = Run(
            "bash",
            ["-c", $"cd / && bash '{Path.Combine(Repository.Root, Script)}' sweep.json"]
        );
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.EqualTo(2));
            Assert.That(error, Does.Contain("--chdir"));
        }
    }
}
