using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace EmtTorch.Attack;

/// <summary>
/// Ends a run by signals at random moments, goes on with it, and so on until it is done. It must come to what an
/// undisturbed run comes to.
/// </summary>
internal sealed partial class KillAttack(Workshop workshop, double limit) : IAttackKind
{
    private const double Patience = 300;

    public string Name => "kills";

    /// <summary>What is killed.</summary>
    public Scenario[] Victims { get; init; } = Scenarios.All;

    /// <summary>A signal, and how it is sent.</summary>
    /// <param name="Number">Its number.</param>
    /// <param name="Times">How often, without a pause.</param>
    /// <param name="Group">Whether a shell is around the program, and all processes get the signal.</param>
    private sealed record Blow(int Number, int Times, bool Group)
    {
        public override string ToString() =>
            (
                Number switch
                {
                    1 => "SIGHUP",
                    2 => "SIGINT",
                    9 => "SIGKILL",
                    _ => "SIGTERM",
                }
            )
            + (Times > 1 ? " twice" : "")
            + (Group ? " to the whole group" : "");
    }

    public IReadOnlyList<Outcome> Attack(AttackPlace place)
    {
        var scenario = Victims[place.Random.Next(Victims.Length)];
        var undisturbed = workshop.Undisturbed(scenario);
        workshop.Copy(scenario, place.Folder);
        var outcomes = new List<Outcome>();
        bool begun = false,
            over = false;
        for (int kills = place.Random.Next(2, 8); kills > 0 && !over; kills--)
        {
            var command = begun ? scenario.GoOn : scenario.Begin;
            var blow = Draw(place.Random);
            var struck = Strike(scenario, new(place.Folder, command), blow, undisturbed.Seconds, place);
            begun = true;
            over = struck.Over;
            if (struck.Hit || struck.Problem is not null)
                outcomes.Add(new($"kills: {scenario.Name}", struck.Problem));
            if (struck.Problem is not null)
                return outcomes;
        }
        if (Finish(scenario, undisturbed, place) is { } problem)
        {
            // It is one finding, of whichever kill.
            if (outcomes.Count > 0)
                outcomes.RemoveAt(outcomes.Count - 1);
            outcomes.Add(new($"kills: {scenario.Name}", problem));
        }
        return outcomes;
    }

    private static Blow Draw(Random random)
    {
        int number = random.Next(10) switch
        {
            < 4 => Victim.Kill,
            < 6 => Victim.Terminate,
            < 8 => Victim.Interrupt,
            _ => Victim.Hangup,
        };
        return new(number, random.Next(6) == 0 ? 2 : 1, Group: random.Next(3) == 0);
    }

    /// <summary>What came of one blow.</summary>
    /// <param name="Hit">Whether it met a running process.</param>
    /// <param name="Over">Whether the work was done.</param>
    /// <param name="Problem">What was found.</param>
    private sealed record Struck(bool Hit, bool Over, string? Problem);

    private Struck Strike(Scenario scenario, VictimStart start, Blow blow, double seconds, AttackPlace place)
    {
        // A shell that has something to do after the program stays its parent.
        using var victim = Victim.Start(blow.Group ? start with { Shell = "\"$@\"; exit $?" } : start);
        var moment = Wait(victim, place.Folder, seconds, place.Random);
        if (place.Random.Next(8) == 0 && Look(scenario, place) is { } seen)
            return new(Hit: true, Over: false, seen);
        bool ended = victim.HasEnded,
            training = Progress().IsMatch(victim.Text);
        if (!ended)
        {
            for (int i = 0; i < blow.Times; i++)
                victim.Signal(blow.Number, blow.Group);
        }
        var end = victim.End(ended ? 5 : limit, $"end after {blow}");
        place.Note($"{start.Line}\n  {blow} {moment}: exit code {end.Code}\n{Indent(end.Text)}");
        if (Oracle.Crash(end) is { } crash)
            return new(Hit: true, Over: false, crash);
        if (ended || end.Code == 0)
        {
            var why = end.Code == 0 ? null : $"exit code {end.Code} without a signal: {Oracle.Shorten(end.Text)}";
            return new(Hit: false, Over: end.Code == 0, why);
        }
        // A shell that got the signal too has an exit code of its own, and a second SIGINT ends at once.
        var problem =
            blow.Group || (blow.Times > 1 && blow.Number == Victim.Interrupt) || IsDone(place.Folder, scenario)
                ? null
                : Oracle.CodeAfter(end, blow.Number, training);
        problem ??= Lost(place.Folder, polite: training && end.Code == 130 && blow is { Times: 1, Group: false });
        return new(Hit: true, Over: false, problem is null ? null : $"after {blow} {moment}: {problem}");
    }

    /// <summary>Waits for the moment of a blow, and returns its description.</summary>
    private static string Wait(Victim victim, string folder, double seconds, Random random)
    {
        var clock = Stopwatch.StartNew();
        int pause = random.Next(0, 40),
            kind = random.Next(6);
        if (kind < 3)
        {
            // Any time, and more often early: what goes on after a stop takes less time.
            double until = seconds * 1.1 * (kind == 0 ? 1 : random.NextDouble()) * random.NextDouble();
            while (clock.Elapsed.TotalSeconds < until && !victim.HasEnded)
                Thread.Sleep(2);
        }
        else
        {
            var (name, writes) = (kind == 3 ? "metrics.jsonl" : "latest", random.Next(1, 6));
            for (var before = LastWrite(folder, name); writes > 0 && !victim.HasEnded; Thread.Sleep(4))
            {
                if (LastWrite(folder, name) is var write && write != before)
                    (before, writes) = (write, writes - 1);
                if (clock.Elapsed.TotalSeconds > Patience)
                    break;
            }
            Thread.Sleep(pause);
        }
        return string.Create(CultureInfo.InvariantCulture, $"after {clock.Elapsed.TotalSeconds:0.000} s");
    }

    private static DateTime LastWrite(string folder, string name) =>
        Directory
            .EnumerateFiles(folder, name, SearchOption.AllDirectories)
            .Select(File.GetLastWriteTimeUtc)
            .DefaultIfEmpty()
            .Max();

    /// <summary>Reads the runs while they are written, by `table` or `analyze`.</summary>
    private static string? Look(Scenario scenario, AttackPlace place)
    {
        if (scenario.Runs.Length == 0)
            return null;
        string[] command =
            place.Random.Next(2) == 0
                ? ["table", "runs", "--out", "read"]
                : ["analyze", scenario.Runs[0], "--out", "read"];
        var start = new VictimStart(place.Folder, command);
        var end = Victim.Run(start, Patience);
        place.Note($"{start.Line}\n  while it is written: exit code {end.Code}\n{Indent(end.Text)}");
        return (Oracle.Crash(end) ?? Oracle.Code(end)) is { } problem ? $"{start.Line}: {problem}" : null;
    }

    private static bool IsDone(string folder, Scenario scenario) =>
        scenario.Runs.Any(run => File.Exists(Path.Combine(folder, run, "result.json")));

    /// <summary>Steps that were logged and that no checkpoint has, more than a stop may cost.</summary>
    public static string? Lost(string folder, bool polite)
    {
        int allowed = polite ? 0 : Scenario.CheckpointInterval;
        foreach (var file in Directory.EnumerateFiles(folder, "metrics.jsonl", SearchOption.AllDirectories))
        {
            var checkpoints = Path.Combine(Path.GetDirectoryName(file)!, "checkpoints");
            if (!Directory.Exists(checkpoints))
                continue;
            long kept = Directory
                .EnumerateFiles(checkpoints, "step-*.safetensors")
                .Select(f => long.Parse(Path.GetFileNameWithoutExtension(f)[5..], CultureInfo.InvariantCulture))
                .DefaultIfEmpty()
                .Max();
            long logged = File.ReadLines(file).Select(Step).DefaultIfEmpty().Max();
            if (logged - kept > allowed)
                return $"{Path.GetRelativePath(folder, file)} has step {logged}, and the last checkpoint step {kept}";
        }
        return null;
    }

    private static long Step(string line)
    {
        try
        {
            return (long)JsonNode.Parse(line)!["step"]!;
        }
        catch (JsonException)
        {
            return 0; // a kill may cut the last line
        }
    }

    private static string? Finish(Scenario scenario, Undisturbed undisturbed, AttackPlace place)
    {
        var start = new VictimStart(place.Folder, scenario.GoOn);
        var end = Victim.Run(start, Patience);
        place.Note($"{start.Line}\n  to the end: exit code {end.Code}\n{Indent(end.Text)}");
        if (Oracle.Crash(end) is { } crash)
            return crash;
        if (end.Code != 0)
            return $"going on fails, exit code {end.Code}: {Oracle.Shorten(end.Text, 300)}";
        var found = Contents.Of(place.Folder);
        // `table` has looked at a finished run, and kept what it found.
        foreach (var name in found.Keys.Where(k => k.EndsWith("analysis.json", StringComparison.Ordinal)).ToList())
        {
            if (!undisturbed.Contents.ContainsKey(name))
                found.Remove(name);
        }
        return scenario.OnlyNames
            ? Oracle.Difference(Names(undisturbed.Contents), Names(found))
            : Oracle.Difference(undisturbed.Contents, found);
    }

    private static Contents Names(Contents contents)
    {
        var names = new Contents();
        foreach (var name in contents.Keys)
            names[name] = "";
        return names;
    }

    internal static string Indent(string text) => "    " + text.TrimEnd().Replace("\n", "\n    ");

    [GeneratedRegex(@"\bstep \d+ of \d+")]
    private static partial Regex Progress();
}
