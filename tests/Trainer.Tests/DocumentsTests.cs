using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using EmtTorch.Configuration;
using EmtTorch.Studies;
using EmtTorch.Training;

namespace EmtTorch.Trainer.Tests;

/// <summary>
/// What the documents point at exists: the files and headings of links; the verbs, options, settings and files of
/// commands. Verbs and options are those of the program.
/// </summary>
public sealed partial class DocumentsTests
{
    private const int LongestReadme = 150;

    /// <summary>The verb of a command that trains: it has none.</summary>
    private const string Train = "";

    private static readonly string Root = FindRoot();
    private static readonly Dictionary<string, Dictionary<string, bool>> Verbs = ReadVerbs();

    /// <summary>Verbs whose --set takes the settings of a run.</summary>
    private static readonly string[] SetARun = [Train, "sweep", "continual"];

    internal static IEnumerable<string> Documents() =>
        new[] { "README.md", "CONTRIBUTING.md", "CHANGELOG.md" }
            .Concat(Found("docs", "*.md"))
            .Concat(Found("experiments", "README.md"))
            .Concat(Found("src", "README.md"));

    [TestCaseSource(nameof(Documents))]
    public void LinksLeadToFilesAndHeadings(string document) =>
        Assert.That(BrokenLinks(document, Read(document)), Is.Empty);

    [TestCaseSource(nameof(Documents))]
    public void CommandsNameWhatExists(string document) => Assert.That(WrongCommands(Read(document)), Is.Empty);

    [Test]
    public void TheReadmeIsShort() =>
        Assert.That(File.ReadAllLines(In("README.md")), Has.Length.LessThanOrEqualTo(LongestReadme));

    [TestCaseSource(nameof(Documents))]
    public void CommandsReadInOrderWork(string document) =>
        Assert.That(Conflicts(Read(document), document == "README.md" ? "" : Read("README.md")), Is.Empty);

    [Test]
    public void NoDocumentTakesTheRunsOfAnother() =>
        Assert.That(Conflicts(string.Join('\n', Documents().Select(Read)), ""), Is.Empty);

    [TestCase("dotnet run --project Trainer -- configs/t1.json --set model.hidden_size=9", "is another experiment")]
    [TestCase("dotnet run --project Trainer -- configs/t1.json --set training.steps=9", null)]
    [TestCase("dotnet run --project Trainer -- configs/t1.json --set model.hidden_size=9 --seed 2", null)]
    [TestCase("dotnet run --project Trainer -- configs/t1.json --set model.hidden_size=9 --set name=a", null)]
    [TestCase("dotnet run --project Trainer -- analyze runs/t1/seed-*", null)]
    [TestCase("dotnet run --project Trainer -- analyze runs/t1/seed-2", "nothing has trained runs/t1/seed-2")]
    public void ACommandInTheWayOfAnotherIsFound(string command, string? problem)
    {
        var found = Conflicts($"```\nscripts/train.sh configs/t1.json\n{command}\n```", "");
        Assert.That(found, problem is null ? Is.Empty : Has.One.Contains(problem));
    }

    [TestCase("[a](no-such.md)", "no-such.md")]
    [TestCase("[a](README.md#no-such-heading)", "README.md#no-such-heading")]
    [TestCase("![a](docs/no-such.png)", "docs/no-such.png")]
    public void ABrokenLinkIsFound(string text, string link) =>
        Assert.That(BrokenLinks("README.md", text), Is.EqualTo(new[] { link }));

    [Test]
    public void LinksInCodeAreNone() =>
        Assert.That(BrokenLinks("README.md", "`[a](b.md)`\n```\n[a](b.md)\n```\n[a](https://b.md)"), Is.Empty);

    [TestCase("dotnet run --project Trainer -- analyse runs/t1/seed-1", "analyse is no verb and no configuration")]
    [TestCase("dotnet run --project Trainer -- configs/t1.json --sed=1", "there is no option --sed")]
    [TestCase("dotnet run --project Trainer -- configs/t9.json", "there is no configs/t9.json")]
    [TestCase("dotnet run --project Trainer -- configs/t1.json --set model.size=1", "there is no setting model.size")]
    [TestCase("scripts/sweep.sh experiments/table1/sweep.json --seeds 1-3", "sweep: there is no option --seeds")]
    [TestCase("scripts/no-such.sh", "there is no scripts/no-such.sh")]
    [TestCase("scripts/setup.sh --gpu", "scripts/setup.sh knows no --gpu")]
    [TestCase("dotnet run --project tests/Benchmarks -- stairs", "Benchmarks knows no stairs")]
    public void AWrongCommandIsFound(string command, string problem) =>
        Assert.That(WrongCommands($"```\n{command}   # a comment\n```"), Has.One.Items.And.One.Contains(problem));

    [TestCase("Beside `nn.RNN`", "beside-nnrnn")]
    [TestCase("From C#", "from-c")]
    [TestCase("By id, terms or matrix", "by-id-terms-or-matrix")]
    public void HeadingsHaveTheAnchorsThatGitHubGivesThem(string heading, string anchor) =>
        Assert.That(Anchor(heading), Is.EqualTo(anchor));

    private static List<string> BrokenLinks(string document, string text)
    {
        var prose = InlineCode().Replace(string.Join('\n', Lines(text).Where(l => !l.IsCode).Select(l => l.Text)), "");
        var folder = Path.GetDirectoryName(In(document))!;
        return
        [
            .. Link()
                .Matches(prose)
                .Select(m => m.Groups[1].Value)
                .Where(link => !link.Contains("://", StringComparison.Ordinal))
                .Where(link =>
                {
                    var parts = link.Split('#');
                    var target = parts[0].Length == 0 ? In(document) : Path.Combine(folder, parts[0]);
                    return !Exists(target)
                        || (parts.Length > 1 && !Anchors(File.ReadAllText(target)).Contains(parts[1]));
                }),
        ];
    }

    private static List<string> WrongCommands(string text) =>
        [.. Commands(text).SelectMany(command => Problems(command).Select(p => $"{string.Join(' ', command)}: {p}"))];

    /// <summary>
    /// Commands of a text that, after those before them, train another experiment into the folder of a run, or read a
    /// run that none has trained.
    /// </summary>
    /// <param name="before">A text that was read before.</param>
    private static List<string> Conflicts(string text, string before)
    {
        var problems = new List<string>();
        var runs = new Dictionary<string, string>();
        foreach (
            var (command, isBefore) in Commands(before)
                .Select(c => (c, true))
                .Concat(Commands(text).Select(c => (c, false)))
        )
        {
            if (Arguments(command) is not { Count: > 0 } words || words.Any(w => w.Contains('…')))
                continue;
            var line = string.Join(' ', words);
            if (words[0].EndsWith(".json", StringComparison.Ordinal))
            {
                foreach (var (folder, experiment) in Trained(words))
                {
                    if (runs.TryGetValue(folder, out var other) && other != experiment && !isBefore)
                        problems.Add($"{line} is another experiment than an earlier one in {folder}");
                    runs[folder] = experiment;
                }
            }
            foreach (var place in words[0] is "analyze" or "generate" ? words.Where(w => w.StartsWith("runs/")) : [])
            {
                var pattern = $"^{Regex.Escape(place).Replace(@"\*", "[^/]*")}(/|$)";
                if (!isBefore && !runs.Keys.Any(folder => Regex.IsMatch(folder, pattern)))
                    problems.Add($"{line}: nothing has trained {place}");
            }
        }
        return problems;
    }

    /// <summary>A command's words after the program; null if the program is not Trainer.</summary>
    private static List<string>? Arguments(List<string> command)
    {
        int dashes = command.IndexOf("--");
        return command.Contains("Trainer") && dashes > 0 ? command[(dashes + 1)..]
            : command[0] == "scripts/train.sh" ? command[1..]
            : command[0] == "scripts/sweep_seeds.sh" && command.Count >= 4
                ? [command[1], "--seeds", $"{command[2]}-{command[3]}", .. command[4..]]
            : null;
    }

    /// <summary>1-3 as 1, 2, 3.</summary>
    private static IEnumerable<int> Range(string seeds)
    {
        var ends = seeds.Split('-').Select(int.Parse).ToList();
        return Enumerable.Range(ends[0], ends[^1] - ends[0] + 1);
    }

    /// <summary>The folders of the runs that a command trains, and what tells their experiment from another.</summary>
    private static IEnumerable<(string Folder, string Experiment)> Trained(List<string> words)
    {
        List<string> Values(string option) =>
            [.. words.Zip(words.Skip(1)).Where(w => w.First == option).Select(w => w.Second)];
        // The reader's own text; any will do.
        var set = Values("--set")
            .Select(s => s.Replace("=my.txt", $"={In("src/EmtTorch/PublicAPI.Shipped.txt")}"))
            .Concat(Values("--out").Select(o => $"out={o}"));
        foreach (var config in words.TakeWhile(w => w.EndsWith(".json", StringComparison.Ordinal)))
        {
            var seeds = Values("--seeds").Concat(Values("--seed")).Take(1).SelectMany(Range);
            foreach (var seed in seeds.Select(s => (int?)s).DefaultIfEmpty())
            {
                var run = new RunConfiguration { Task = new(), Name = Path.GetFileNameWithoutExtension(config) };
                // Some of the files are the reader's own.
                if (File.Exists(In(config)))
                    run = ConfigurationFile.Load(In(config), [.. set]);
                run = run with { Seed = seed ?? run.Seed };
                var same = run with { Seed = 0, Device = "cpu", Training = run.Training with { Steps = 1 } };
                yield return (RunFolder.Of(run).Path, same.ToJson());
            }
        }
    }

    /// <summary>The commands in blocks of code without a language, and in code within a line.</summary>
    private static IEnumerable<List<string>> Commands(string text)
    {
        foreach (var line in Lines(text))
        {
            if (line.IsCode && line.Language is not ("" or "bash" or "sh"))
                continue;
            var sources = line.IsCode ? [line.Text] : InlineCode().Matches(line.Text).Select(m => m.Groups[1].Value);
            foreach (var source in sources.Where(s => line.IsCode || Command().IsMatch(s)))
            {
                var words = Word().Matches(source).Select(m => m.Value).TakeWhile(w => w[0] != '#').ToList();
                for (int end; words.Count > 0; words.RemoveRange(0, Math.Min(end + 1, words.Count)))
                {
                    end = words.FindIndex(w => w is "&&" or "|" or ";");
                    end = end < 0 ? words.Count : end;
                    yield return [.. words[..end].SkipWhile(w => Variable().IsMatch(w)).Select(Unquoted)];
                }
            }
        }
    }

    private static IEnumerable<string> Problems(List<string> command)
    {
        for (int i = 0; i < command.Count; i++)
        {
            bool written = i > 0 && command[i - 1] is "--out" or "-o" or ">";
            // Git has no pages: an earlier command of the document writes them.
            var place = command[i].EndsWith(".html") ? Path.GetDirectoryName(command[i])! : command[i];
            if (!written && Place().IsMatch(command[i]) && !Exists(In(place)))
                yield return $"there is no {command[i]}";
        }
        int project = command.IndexOf("--project");
        int dashes = command.IndexOf("--");
        if (project >= 0 && dashes > project)
        {
            var arguments = command[(dashes + 1)..];
            var problems =
                command[project + 1] == "Trainer" ? OfTrainer(arguments)
                : command[project + 1] == "tests/Benchmarks" ? OfBenchmarks(arguments)
                : [];
            foreach (var problem in problems)
                yield return problem;
        }
        int script = command.FindIndex(w => w.StartsWith("scripts/", StringComparison.Ordinal) && File.Exists(In(w)));
        if (script >= 0)
        {
            foreach (var problem in OfScript(command[script], command[(script + 1)..]))
                yield return problem;
        }
    }

    private static IEnumerable<string> OfTrainer(List<string> arguments)
    {
        var verb = arguments.Count > 0 && Verbs.ContainsKey(arguments[0]) ? arguments[0] : Train;
        var options = Verbs[verb];
        for (int i = verb == Train ? 0 : 1; i < arguments.Count; i++)
        {
            var word = arguments[i];
            if (word == ">")
                yield break;
            if (!word.StartsWith("--", StringComparison.Ordinal))
            {
                bool configuration = word.EndsWith(".json", StringComparison.Ordinal) || word.Contains('…');
                if (verb != Train || configuration)
                    continue;
                yield return $"{word} is no verb and no configuration";
                yield break;
            }
            var name = word.Split('=')[0];
            if (name == "--help")
                continue;
            if (!options.TryGetValue(name, out bool hasValue))
            {
                yield return $"{verb}: there is no option {name}";
                continue;
            }
            if (!hasValue)
                continue;
            var value = name == word ? arguments.ElementAtOrDefault(++i) ?? "" : word[(name.Length + 1)..];
            if (name == "--set" && SetARun.Contains(verb) && !IsSetting(value.Split('=')[0]))
                yield return $"there is no setting {value.Split('=')[0]}";
        }
    }

    private static IEnumerable<string> OfScript(string script, List<string> arguments) =>
        Path.GetFileName(script) switch
        {
            "train.sh" => OfTrainer(arguments),
            "sweep.sh" or "sweep.sbatch" => OfTrainer(["sweep", .. arguments]),
            "sweep_seeds.sh" => OfTrainer([.. arguments.Take(1), .. arguments.Skip(3)]),
            _ => Unknown(script, File.ReadAllText(In(script)), arguments),
        };

    private static IEnumerable<string> OfBenchmarks(List<string> arguments)
    {
        var source = File.ReadAllText(In("tests/Benchmarks/Program.cs"));
        var verb = arguments.FirstOrDefault() ?? "";
        return source.Contains($"case \"{verb}\"", StringComparison.Ordinal)
            ? Unknown("Benchmarks", source, arguments)
            : [$"Benchmarks knows no {verb}"];
    }

    /// <summary>Options that do not even occur in a program's text.</summary>
    private static IEnumerable<string> Unknown(string program, string text, List<string> arguments) =>
        from word in arguments
        where word.StartsWith("--", StringComparison.Ordinal)
        let name = word.Split('=')[0]
        where name != "--help" && !Regex.IsMatch(text, $"{name}(?![a-z-])")
        select $"{program} knows no {name}";

    private static bool IsSetting(string path)
    {
        var node = JsonNode.Parse(File.ReadAllText(In("configs/schema.json")));
        foreach (var key in path.Split('.'))
            node = node?["properties"]?[key];
        return node is not null;
    }

    /// <summary>Of each verb its options, and whether an option has a value.</summary>
    private static Dictionary<string, Dictionary<string, bool>> ReadVerbs()
    {
        var root = CommandLine.Create();
        Dictionary<string, bool> OptionsOf(System.CommandLine.Command command) =>
            command
                .Options.Concat(root.Options.Where(o => o.Recursive))
                .DistinctBy(o => o.Name)
                .ToDictionary(o => o.Name, o => o.ValueType != typeof(bool));
        var verbs = root.Subcommands.ToDictionary(c => c.Name, OptionsOf);
        verbs[Train] = OptionsOf(root);
        return verbs;
    }

    /// <summary>The lines of a document; of those in a block of code, its language.</summary>
    private static IEnumerable<(string Text, bool IsCode, string Language)> Lines(string text)
    {
        string? language = null;
        foreach (var line in text.Split('\n'))
        {
            if (line.TrimStart().StartsWith("```", StringComparison.Ordinal))
                language = language is null ? line.Trim()[3..] : null;
            else
                yield return (line, language is not null, language ?? "");
        }
    }

    private static HashSet<string> Anchors(string text) =>
        [
            .. Lines(text)
                .Where(l => !l.IsCode && l.Text.StartsWith('#'))
                .GroupBy(l => Anchor(l.Text.TrimStart('#').Trim()))
                .SelectMany(g => g.Select((_, i) => i == 0 ? g.Key : $"{g.Key}-{i}")),
        ];

    /// <summary>What GitHub makes of a heading: letters, digits and hyphens.</summary>
    private static string Anchor(string heading) =>
        string.Concat(
            heading
                .ToLowerInvariant()
                .Where(c => char.IsLetterOrDigit(c) || c is ' ' or '-' or '_')
                .Select(c => c == ' ' ? '-' : c)
        );

    private static string Unquoted(string word) =>
        word.Length > 1 && word[0] is '\'' or '"' && word[^1] == word[0] ? word[1..^1] : word;

    private static bool Exists(string path) => File.Exists(path) || Directory.Exists(path);

    internal static string In(string path) => Path.Combine(Root, path);

    internal static string Read(string document) => File.ReadAllText(In(document));

    private static IEnumerable<string> Found(string folder, string pattern) =>
        Directory
            .EnumerateFiles(In(folder), pattern, SearchOption.AllDirectories)
            .Select(file => Path.GetRelativePath(Root, file).Replace('\\', '/'))
            .Where(file => !file.Split('/').Intersect(["runs", "bin", "obj"]).Any())
            .Order(StringComparer.Ordinal);

    private static string FindRoot()
    {
        var at = TestContext.CurrentContext.TestDirectory;
        while (!File.Exists(Path.Combine(at, "EmtTorch.sln")))
            at = Path.GetDirectoryName(at)!;
        return at;
    }

    [GeneratedRegex(@"\[[^\]]*\]\(([^)\s]+)\)")]
    private static partial Regex Link();

    [GeneratedRegex("`([^`]+)`")]
    private static partial Regex InlineCode();

    /// <summary>Code within a line that is a command.</summary>
    [GeneratedRegex("^(dotnet run |scripts/|sbatch )")]
    private static partial Regex Command();

    [GeneratedRegex("""(?:'[^']*'|"[^"]*"|[^\s'"])+""")]
    private static partial Regex Word();

    /// <summary>A variable before a command.</summary>
    [GeneratedRegex("^[A-Z_]+=")]
    private static partial Regex Variable();

    /// <summary>A place in the repository; not one that runs make, and not several.</summary>
    [GeneratedRegex(@"^(configs|docs|experiments|scripts|src|tests)/(?!.*(\bruns\b|[*…{<=]))")]
    private static partial Regex Place();
}
