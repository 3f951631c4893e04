using System.Diagnostics;
using System.Globalization;

namespace EmtTorch.Attack;

/// <summary>
/// Calls commands in wrong and odd ways. Each ends at once with 0, 1 or 2, or trains and ends when it is told to; with
/// 2 nothing is written.
/// </summary>
internal sealed class CommandAttack(Workshop workshop, double limit) : IAttackKind
{
    private static readonly Scenario Folder = new(
        "commands",
        new Dictionary<string, string>
        {
            ["run.json"] = Scenarios.Elman.Replace("600", "20"),
            ["elman.json"] = Scenarios.Elman.Replace("600", "20"),
            ["text.json"] = Scenarios.Text.Replace("60", "20"),
            ["recall.json"] = Scenarios.Recall.Replace("60", "20"),
            ["corpus.txt"] = Scenarios.Corpus,
            ["sweep.json"] = Scenarios.Sweep,
            ["sequence.json"] = Scenarios.Sequence.Replace("\"steps\": 60", "\"steps\": 20"),
            ["consolidation.json"] = Scenarios.Consolidation,
            ["gsemm.json"] = Scenarios.Gsemm,
            ["empty.json"] = "",
            ["arguments"] = "--help\n@arguments\n",
        },
        []
    )
    {
        Before =
        [
            ["run.json"],
            ["text.json"],
            ["recall.json"],
        ],
    };

    /// <summary>A command line that is right, and the options that the command has.</summary>
    private sealed record Verb(string Name, string[] Right, string[] Options);

    private static readonly Verb[] Verbs =
    [
        new(
            "train",
            ["run.json"],
            ["--seed", "--seeds", "--jobs", "--device", "--set", "--out", "--resume", "--weights", "--extensions"]
        ),
        new("sweep", ["sweep", "sweep.json"], ["--jobs", "--shard", "--device", "--set", "--out", "--dry-run"]),
        new("table", ["table", "runs"], ["--out"]),
        new(
            "analyze",
            ["analyze", "runs/run/seed-1"],
            ["--config", "--checkpoint", "--grounding", "--alpha", "--persistence", "--input", "--time", "--out"]
        ),
        new(
            "generate",
            ["generate", "runs/text/seed-1", "--tokens", "5"],
            ["--prompt", "--tokens", "--temperature", "--seed", "--checkpoint"]
        ),
        new("gsemm", ["gsemm", "gsemm.json"], ["--set", "--grid", "--out"]),
        new("consolidate", ["consolidate", "consolidation.json"], ["--set", "--out", "--threads"]),
        new(
            "continual",
            ["continual", "sequence.json"],
            ["--seeds", "--jobs", "--device", "--set", "--out", "--table"]
        ),
        new("schema", ["schema"], ["--extensions"]),
    ];

    private static readonly string[] Values =
    [
        "",
        " ",
        "0",
        "-1",
        "1",
        "2",
        "1.5",
        "x",
        "NaN",
        "-NaN",
        "Infinity",
        "1e309",
        "2147483648",
        "9223372036854775807",
        "9223372036854775808",
        "99999999999999999999999",
        "1-3",
        "3-1",
        "1-9223372036854775807",
        "9223372036854775807",
        "9223372036854775806-9223372036854775807",
        "0-100000",
        "1,1,1",
        "1,",
        ",",
        "1-2-3",
        "--",
        "-",
        "best",
        "latest",
        "20",
        "1/2",
        "0/2",
        "3/2",
        "1/0",
        "1/99999999999",
        "cuda",
        "cuda:99",
        "cuda:x",
        "auto",
        "cpu",
        "realization",
        "algorithm1",
        "[1]",
        "[[1,0],[0,1]]",
        "[[NaN]]",
        "3141",
        "é",
        "𝄞",
        "a\nb",
        "\u001b[31m",
        "%s",
        "$(id)",
        "*",
        "training.steps=3",
        "training.steps=",
        "=",
        "=3",
        "training.steps=1e3",
        "training.steps=\"x\"",
        "out=x",
        "name=",
        "name=earlier",
        "training=1",
        "training.curriculum.horizons=[]",
        "task.d=3",
        "seed=[1,2]",
        "seed=[]",
        "steps=1",
        "model.hidden_size=65536",
        "evaluation.horizon=1000000",
        "evaluation.batch_size=1048576",
        "features=1e9",
        "integration.length=1e12",
        "facts=[1]",
        "facts=[1000000]",
        "threads=1025",
        "training.batch_size=1048576",
    ];

    private static readonly string[] Paths =
    [
        "",
        " ",
        ".",
        "..",
        "nowhere",
        "nowhere/at/all",
        "run.json/x",
        "run.json",
        "empty.json",
        "runs",
        "runs/run",
        "runs/run/seed-1",
        "runs/run/seed-1/checkpoints",
        "runs/run/seed-1/checkpoints/latest",
        "corpus.txt",
        "/dev/null",
        "/dev/null/x",
        "/dev/zero",
        "/proc/self/mem",
        "/proc/nowhere",
        "pipe",
        "loop",
        "~",
        "file:///x",
        "a\nb",
        "\u001b[2J",
        "runs/text/seed-1",
        "sweep.json",
        "sequence.json",
        "gsemm.json",
        "consolidation.json",
        "-",
        "@arguments",
        "@nowhere",
        "[diagram]",
        "[suggest]",
        "[env:X=1]",
        "runs/run/seed-1/checkpoints/step-00000020.safetensors",
    ];

    private static readonly string[] Shells =
    [
        "exec \"$@\" >&-",
        "exec \"$@\" 2>&-",
        "exec \"$@\" >&- 2>&- <&-",
        "exec \"$@\" <&-",
        "exec \"$@\" >/dev/full",
        "exec \"$@\" 2>/dev/full",
        "\"$@\" | head -1",
        "\"$@\" | true",
        "\"$@\" 2>&1 | head -c 10",
        "trap '' XFSZ; ulimit -f 64; DOTNET_EnableWriteXorExecute=0 exec \"$@\"",
        "ulimit -n 96; exec \"$@\"",
        "mkdir gone; cd gone; rmdir ../gone; exec \"$@\"",
        "exec env -i PATH=\"$PATH\" \"$@\"",
        "TERM=dumb COLUMNS=1 exec \"$@\"",
        "TERM= LANG=xx exec \"$@\"",
        "exec \"$@\" <run.json",
    ];

    private static readonly string[] Commands =
    [
        "Train",
        "tables",
        "help",
        "sweep",
        "schema",
        "--version",
        "-h",
        "/?",
        "--help",
    ];

    public string Name => "commands";

    public IReadOnlyList<Outcome> Attack(AttackPlace place)
    {
        var random = place.Random;
        var verb = Verbs[random.Next(Verbs.Length)];
        var folder = Path.Combine(place.Folder, "work");
        workshop.Copy(Folder, folder);
        File.CreateSymbolicLink(Path.Combine(folder, "loop"), "loop");
        using (var made = Process.Start("mkfifo", [Path.Combine(folder, "pipe")]))
            made.WaitForExit();
        var shell = random.Next(4) == 0 ? Shells[random.Next(Shells.Length)] : null;
        var start = new VictimStart(folder, Abuse(verb, shell is not null, random)) { Shell = shell };
        var before = Snapshot(folder);

        using var victim = Victim.Start(start);
        var wait = Wait(victim);
        if (!victim.HasEnded)
            victim.Signal(Victim.Interrupt, group: true);
        var end = victim.End(limit, "end after SIGINT");
        place.Note($"{start.Line}\n  exit code {end.Code}\n{KillAttack.Indent(end.Text)}");
        // What has much to do is interrupted. What waits for something, or reads without an end, should not.
        bool endless = start.Arguments.Any(a => a is "/dev/zero" or "pipe" or "@arguments");
        var hang = wait is not null && (endless || wait == Waiting) ? wait : null;
        bool asTold = wait is not null && end.Code == 130;
        var problem = Oracle.Crash(end) ?? hang ?? (asTold ? null : Oracle.Code(end)) ?? WrittenBy(end, folder, before);
        return [new($"commands: {verb.Name}", problem is null ? null : $"{start.Line}: {problem}")];
    }

    private const string Waiting = "it waits for something, for ever";

    /// <summary>Waits for its end. What it does if it does not end; null if it has ended.</summary>
    private string? Wait(Victim victim)
    {
        var clock = Stopwatch.StartNew();
        while (!victim.HasEnded && clock.Elapsed.TotalSeconds < limit)
            Thread.Sleep(20);
        var before = victim.Worked;
        for (clock.Restart(); !victim.HasEnded && clock.Elapsed.TotalSeconds < 2; )
            Thread.Sleep(20);
        return victim.HasEnded ? null
            : victim.Worked - before < TimeSpan.FromMilliseconds(20) ? Waiting
            : $"no end within {limit} s";
    }

    private static string? WrittenBy(VictimEnd end, string folder, HashSet<string> before) =>
        Oracle.Written(end, before, Snapshot(folder));

    /// <summary>A right command line with some abuses.</summary>
    private static List<string> Abuse(Verb verb, bool mayBeRight, Random random)
    {
        string Any(string[] pool) =>
            random.Next(40) == 0 ? new string('x', random.Next(1, 100_000)) : pool[random.Next(pool.Length)];
        var arguments = verb.Right.ToList();
        for (int i = random.Next(mayBeRight ? 0 : 1, 4); i > 0; i--)
        {
            switch (random.Next(10))
            {
                case 0: // another path
                    arguments[Math.Min(1, arguments.Count - 1)] = Any(Paths);
                    break;
                case 1: // one argument more
                    arguments.Insert(random.Next(arguments.Count + 1), Any(Paths));
                    break;
                case 2: // an option that there is not
                    arguments.Insert(random.Next(arguments.Count + 1), random.Next(2) == 0 ? "--unknown" : "--sed=1");
                    break;
                case 3: // an option without its value
                    arguments.Add(Any(verb.Options));
                    break;
                case 4: // another command
                    arguments[0] = Any(Commands);
                    break;
                case 5 when arguments.Count > 1:
                    arguments.RemoveAt(random.Next(arguments.Count));
                    break;
                default: // an option with an odd value
                    var option = Any(verb.Options);
                    bool path = option is "--out" or "--config" or "--weights" or "--extensions";
                    arguments.AddRange([option, Any(path ? Paths : Values)]);
                    break;
            }
        }
        return arguments;
    }

    /// <summary>All that is in a folder, with times and lengths.</summary>
    private static HashSet<string> Snapshot(string folder) =>
        [
            .. new DirectoryInfo(folder)
                .EnumerateFileSystemInfos("*", SearchOption.AllDirectories)
                .Select(f =>
                    f is FileInfo { LinkTarget: null } file
                        ? string.Create(
                            CultureInfo.InvariantCulture,
                            $"{Path.GetRelativePath(folder, f.FullName)} {file.Length} {f.LastWriteTimeUtc.Ticks}"
                        )
                        : Path.GetRelativePath(folder, f.FullName)
                ),
        ];
}
