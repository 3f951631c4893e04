using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json;

namespace EmtTorch.Attack;

/// <summary>One attack's outcome.</summary>
/// <param name="What">Its row in the table: "kill: elman" or "file: latest, truncated".</param>
/// <param name="Problem">What was found; null where all held.</param>
internal sealed record Outcome(string What, string? Problem = null);

/// <summary>What one attack is given.</summary>
/// <param name="Number">Its number. With the campaign's seed it decides everything that is drawn.</param>
/// <param name="Random">Draws what the attack does.</param>
/// <param name="Folder">An empty folder. It is kept if something is found.</param>
internal sealed record AttackPlace(long Number, Random Random, string Folder)
{
    private readonly List<string> _notes = [];

    /// <summary>What was done, step by step, for attack.txt.</summary>
    public IReadOnlyList<string> Notes => _notes;

    public void Note(string text) => _notes.Add(text);
}

/// <summary>A kind of attacks.</summary>
internal interface IAttackKind
{
    string Name { get; }

    /// <summary>Attacks once. A try that missed, such as a kill after the end, gives no outcome.</summary>
    IReadOnlyList<Outcome> Attack(AttackPlace place);
}

/// <summary>How much is attacked.</summary>
/// <param name="Seed">The seed of all attacks.</param>
/// <param name="First">The number of the first attack of each kind.</param>
/// <param name="Count">How many outcomes of each kind are wanted; null: as many as the time allows.</param>
/// <param name="Seconds">The time for each kind; null: no limit.</param>
/// <param name="Jobs">How many attacks run at the same time.</param>
/// <param name="Out">The folder of templates, findings and tables.</param>
internal sealed record CampaignSettings(long Seed, long First, int? Count, double? Seconds, int Jobs, string Out);

/// <summary>Attacks by kinds, counts what held, and keeps what reproduces each finding.</summary>
internal sealed class Campaign(CampaignSettings settings)
{
    private readonly record struct Tally(int Tried, int Found);

    private sealed record Finding(string Kind, long Number, string What, string Problem, string Folder, string Again);

    private readonly SortedDictionary<string, Tally> _rows = new(StringComparer.Ordinal);
    private readonly List<Finding> _findings = [];
    private readonly Lock _lock = new();

    private volatile bool _stopped;

    /// <summary>Begins no further attack.</summary>
    public void Stop() => _stopped = true;

    /// <summary>How many findings there are.</summary>
    public int Found => _findings.Count;

    public void Run(IAttackKind kind)
    {
        var clock = Stopwatch.StartNew();
        long next = settings.First - 1;
        int wanted = settings.Count ?? int.MaxValue,
            tried = 0;
        void Work()
        {
            while (!_stopped && Volatile.Read(ref tried) < wanted && !(clock.Elapsed.TotalSeconds > settings.Seconds))
            {
                long number = Interlocked.Increment(ref next);
                Interlocked.Add(ref tried, Once(kind, number));
            }
        }
        var workers = Enumerable.Range(1, settings.Jobs).Select(_ => new Thread(Work)).ToList();
        workers.ForEach(w => w.Start());
        workers.ForEach(w => w.Join());
        Console.WriteLine($"{kind.Name}: {tried} tried in {clock.Elapsed.TotalSeconds:0} s");
    }

    /// <summary>Attacks once, and returns how many tries that was.</summary>
    private int Once(IAttackKind kind, long number)
    {
        var folder = Path.Combine(settings.Out, $"{kind.Name}-{number}");
        if (Directory.Exists(folder))
            Directory.Delete(folder, recursive: true);
        Directory.CreateDirectory(folder);
        var place = new AttackPlace(number, new Random(SeedOf(kind.Name, number)), folder);
        IReadOnlyList<Outcome> outcomes;
        try
        {
            outcomes = kind.Attack(place);
        }
        catch (Exception e) // an attack that fails by itself is a finding too: of this program
        {
            outcomes = [new($"{kind.Name}: the attack itself", e.ToString())];
        }
        lock (_lock)
        {
            foreach (var outcome in outcomes)
                Add(kind, place, outcome);
        }
        if (outcomes.All(o => o.Problem is null))
            Directory.Delete(folder, recursive: true);
        return outcomes.Count;
    }

    private void Add(IAttackKind kind, AttackPlace place, Outcome outcome)
    {
        var before = _rows.GetValueOrDefault(outcome.What);
        _rows[outcome.What] = new(before.Tried + 1, before.Found + (outcome.Problem is null ? 0 : 1));
        if (outcome.Problem is not { } problem)
            return;
        var again = $"--kind {kind.Name} --seed {settings.Seed} --first {place.Number} --count 1 --jobs 1";
        _findings.Add(new(kind.Name, place.Number, outcome.What, problem, place.Folder, again));
        File.WriteAllLines(
            Path.Combine(place.Folder, "attack.txt"),
            [outcome.What, problem, $"Again: {again}", "", .. place.Notes]
        );
        Console.WriteLine($"FOUND {outcome.What}: {Oracle.Shorten(problem, 400)}\n  {place.Folder}; {again}");
    }

    /// <summary>The same on every machine, which HashCode is not.</summary>
    private int SeedOf(string kind, long number)
    {
        ulong hash = 14695981039346656037;
        foreach (char c in string.Create(CultureInfo.InvariantCulture, $"{kind} {settings.Seed} {number}"))
            hash = unchecked((hash ^ c) * 1099511628211);
        return (int)(hash >> 33);
    }

    /// <summary>Writes attack.md and attack.json, and prints the table.</summary>
    public void Report()
    {
        var table = new StringBuilder("| attack | tried | held | found |\n|:--|--:|--:|--:|\n");
        var kinds = _rows.GroupBy(r => r.Key[..r.Key.IndexOf(':', StringComparison.Ordinal)]);
        void Row(string name, Tally t) => table.Append($"| {name} | {t.Tried} | {t.Tried - t.Found} | {t.Found} |\n");
        foreach (var kind in kinds)
        {
            foreach (var (name, tally) in kind)
                Row(name, tally);
            Row($"**{kind.Key}**", new(kind.Sum(r => r.Value.Tried), kind.Sum(r => r.Value.Found)));
        }
        foreach (var f in _findings)
            table.Append($"\n- {f.What}: {Oracle.Shorten(f.Problem, 400)}\n  `Attack {f.Again}`, kept in {f.Folder}");
        if (_findings.Count > 0)
            table.Append('\n');
        Console.Write($"\n{table}");
        File.WriteAllText(Path.Combine(settings.Out, "attack.md"), table.ToString());
        var json = new
        {
            settings.Seed,
            Rows = _rows.Select(r => new
            {
                Attack = r.Key,
                r.Value.Tried,
                Held = r.Value.Tried - r.Value.Found,
                r.Value.Found,
            }),
            Findings = _findings,
        };
        var options = new JsonSerializerOptions
        {
            WriteIndented = true,
            PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        };
        File.WriteAllText(Path.Combine(settings.Out, "attack.json"), JsonSerializer.Serialize(json, options) + "\n");
    }
}
