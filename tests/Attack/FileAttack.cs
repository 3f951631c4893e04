using System.Collections.Concurrent;
using System.Text.RegularExpressions;

namespace EmtTorch.Attack;

/// <summary>
/// Damages a file, and runs a command that reads it. The file is named, or the result is that of the whole file.
/// </summary>
internal sealed partial class FileAttack(Workshop workshop) : IAttackKind
{
    /// <summary>Seconds for a command: a busy machine is slow, and what hangs hangs for ever.</summary>
    private const double Limit = 120;

    private readonly ConcurrentDictionary<string, Lazy<Undamaged>> _undamaged = [];

    public string Name => "files";

    /// <summary>What a command comes to without damage.</summary>
    private sealed record Undamaged(VictimEnd End, Contents Contents);

    public IReadOnlyList<Outcome> Attack(AttackPlace place)
    {
        var random = place.Random;
        var exhibit = Exhibit.All[random.Next(Exhibit.All.Length)];
        var use = exhibit.Uses[random.Next(exhibit.Uses.Length)];
        var undamaged = _undamaged
            .GetOrAdd($"{exhibit.Scenario.Name} {use.Line}", _ => new(() => RunUndamaged(exhibit, use)))
            .Value;
        var folder = Path.Combine(place.Folder, "work");
        workshop.Copy(exhibit.Scenario, folder);
        var file = Choose(folder, use, random);
        var kind = KindOf(file);
        var others = FilesOf(folder).Where(f => f != file && KindOf(f) == kind).ToList();
        var damage = Damage.Do(file, others, Path.Combine(place.Folder, "outside"), random);
        var damaged = State(file);
        var outside = damage.Outside is null ? "" : State(damage.Outside);

        var start = new VictimStart(folder, use.Arguments);
        var end = Victim.Run(start, Limit);
        var name = Path.GetRelativePath(folder, file);
        place.Note($"{name}: {damage.Name}\n{start.Line}\n  exit code {end.Code}\n{KillAttack.Indent(end.Text)}");
        var contents = ContentsOf(folder, use, end);
        // What the command did not write is not its result.
        if (State(file) == damaged)
            Forget(name, contents);
        var problem = Judge(name, damage, undamaged, end, contents, State(file) == damaged);
        if (damage.Outside is { } target && State(target) != outside)
            problem ??= "it was written through the link, into another folder";
        return [new($"files: {kind}", problem is null ? null : $"{name}, {damage.Name}; {use.Line}: {problem}")];
    }

    private static string? Judge(
        string file,
        Damage damage,
        Undamaged undamaged,
        VictimEnd end,
        Contents contents,
        bool left
    )
    {
        if ((Oracle.Crash(end) ?? Oracle.Code(end)) is { } crash)
            return crash;
        bool named = Oracle.Names(end, file) || damage.MayBeRight;
        if (end.Code != undamaged.End.Code)
        {
            var end1 = Oracle.Shorten(end.Text, 300);
            return named ? null : $"exit code {end.Code}, and the message does not name the file: {end1}";
        }
        var expected = new Contents();
        foreach (var (key, value) in undamaged.Contents)
            expected[key] = value;
        if (left)
            Forget(file, expected);
        return Oracle.Difference(expected, contents) is { } difference && !named
            ? $"exit code {end.Code} and silently another result: {difference}"
            : null;
    }

    private static void Forget(string file, Contents contents)
    {
        foreach (var key in contents.Keys.Where(k => k.StartsWith(file, StringComparison.Ordinal)).ToList())
            contents.Remove(key);
    }

    private Undamaged RunUndamaged(Exhibit exhibit, Use use)
    {
        var folder = Directory.CreateTempSubdirectory("emttorch-attack-").FullName;
        try
        {
            workshop.Copy(exhibit.Scenario, folder);
            var end = Victim.Run(new(folder, use.Arguments), 300);
            if (end.Code != 0 || end.Trouble is not null)
                throw new InvalidOperationException($"{use.Line} fails undamaged: {end.Trouble}\n{end.Text}");
            return new(end, ContentsOf(folder, use, end));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static Contents ContentsOf(string folder, Use use, VictimEnd end)
    {
        var contents = Contents.Of(folder);
        // The name of the earlier folder has the time in it.
        foreach (var key in contents.Keys.Where(k => k.Contains("/earlier/", StringComparison.Ordinal)).ToList())
            contents.Remove(key);
        if (use.ComparesText)
            contents["what is printed"] = end.Text.Replace(folder, "FOLDER", StringComparison.Ordinal);
        return contents;
    }

    private static IEnumerable<string> FilesOf(string folder) =>
        Directory
            .EnumerateFiles(folder, "*", SearchOption.AllDirectories)
            .Where(f => Path.GetExtension(f) is not (".html" or ".md" or ".csv"))
            .Order(StringComparer.Ordinal);

    /// <summary>A file that the command reads, most of the time; each kind of file as often as any other.</summary>
    private static string Choose(string folder, Use use, Random random)
    {
        var all = FilesOf(folder).ToList();
        var read = all.Where(f =>
                Path.GetRelativePath(folder, f) is var name
                && (
                    name.StartsWith(use.Reads, StringComparison.Ordinal)
                    || use.Arguments.Contains(name)
                    || !name.Contains('/')
                    || (name.EndsWith(".lock", StringComparison.Ordinal))
                )
            )
            .ToList();
        var kinds = (random.Next(8) > 0 ? read : all).GroupBy(KindOf).ToList();
        var kind = kinds[random.Next(kinds.Count)].ToList();
        return kind[random.Next(kind.Count)];
    }

    private static string KindOf(string file)
    {
        var name = Path.GetFileName(file);
        return Numbered().Match(name) is { Success: true } part ? (part.Value == "step" ? "checkpoint" : part.Value)
            : name.EndsWith(".lock", StringComparison.Ordinal) ? "lock"
            : Path.GetFileName(Path.GetDirectoryName(file)!) is "results" ? "results"
            : name;
    }

    /// <summary>What a file is and holds.</summary>
    private static string State(string file)
    {
        if (Directory.Exists(file))
            return "folder";
        var info = new FileInfo(file);
        return info.LinkTarget is { } target ? $"link {target}"
            : !info.Exists ? "nothing"
            : info.Length == 0 ? "empty"
            : Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(File.ReadAllBytes(file)));
    }

    [GeneratedRegex(@"^(step|store)(?=-\d)")]
    private static partial Regex Numbered();
}
