using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using EmtTorch.Configuration;
using EmtTorch.Settings;
using EmtTorch.Studies;

namespace EmtTorch.Attack;

/// <summary>
/// Reads wrong and odd configurations, all in this process. Each is accepted, or refused with its problems, within two
/// seconds. Some that are accepted train two steps. If this process itself ends, its folder has the file.
/// </summary>
internal sealed class ConfigurationAttack : IAttackKind
{
    private const double Limit = 2;

    /// <summary>A person has to read it.</summary>
    private const int LongestMessage = 20_000;

    /// <summary>Of the accepted ones with small numbers, one of so many is trained.</summary>
    private const int OneOf = 5;

    private static readonly string[] Runs =
    [
        Scenarios.Elman,
        Scenarios.Transformer(""" "write": "delta" """),
        Scenarios.Transformer(""" "memories": { "fast_weights": {}, "graph": { "nodes": 4 } } """),
        Scenarios.Transformer(""" "memories": { "retrieval": { "top_k": 2, "chunk": 4 } } """),
        Scenarios.Transformer(
            """ "retrieval": { "top_k": 2 } """,
            ", \"consolidation\": { \"interval\": 9 }, \"early_stop\": { \"accuracy\": 0.9 }"
        ),
        Scenarios.Text,
    ];

    public string Name => "configurations";

    /// <summary>Reads a file, and throws if it refuses it.</summary>
    public Action<string, IReadOnlyList<string>>? Reader { get; init; }

    public IReadOnlyList<Outcome> Attack(AttackPlace place)
    {
        var random = place.Random;
        var loader = random.Next(5) switch
        {
            0 => "sweep",
            1 => "continual",
            _ => "training",
        };
        var file = Path.Combine(place.Folder, $"{loader}.json");
        var basis = Runs[random.Next(Runs.Length)];
        bool bySetting = random.Next(2) == 0;
        var text = Draw(loader, basis, bySetting, random);
        File.WriteAllBytes(file, text);
        File.WriteAllText(Path.Combine(place.Folder, "corpus.txt"), Scenarios.Corpus);
        string[] overrides = random.Next(5) == 0 ? [new SettingAbuse(random).Override()] : [];
        place.Note($"{loader}, {string.Join(' ', overrides)}");
        var read = Reader ?? ReaderOf(loader);

        var problem = Read(read, file, overrides, out bool accepted);
        var outcomes = new List<Outcome>
        {
            new($"configurations: {loader}, {(bySetting ? "settings" : "JSON")}", problem),
        };
        if (accepted && loader == "training" && random.Next(OneOf) == 0 && IsSmall(text) && overrides.Length == 0)
            outcomes.Add(new("configurations: two steps", Train(place)));
        return outcomes;
    }

    private static byte[] Draw(string loader, string basis, bool bySetting, Random random)
    {
        if (bySetting)
            basis = new SettingAbuse(random).Change(basis);
        var text = loader switch
        {
            "sweep" => Scenarios.Sweep.Replace("\"elman.json\"", basis, StringComparison.Ordinal),
            "continual" when bySetting => WithBase(basis),
            "continual" => Scenarios.Sequence,
            _ => basis,
        };
        return bySetting ? Encoding.UTF8.GetBytes(text) : new JsonAbuse(random).Abuse(text);
    }

    private static string WithBase(string basis)
    {
        var sequence = JsonNode.Parse(Scenarios.Sequence)!;
        sequence["base"] = JsonNode.Parse(basis);
        return sequence.ToJsonString();
    }

    private static Action<string, IReadOnlyList<string>> ReaderOf(string loader) =>
        loader switch
        {
            "sweep" => (file, overrides) => Sweep.Load(file, overrides),
            "continual" => (file, overrides) => ContinualSequence.Load(file, overrides),
            _ => (file, overrides) => ConfigurationFile.Load(file, overrides),
        };

    private static string? Read(
        Action<string, IReadOnlyList<string>> read,
        string file,
        IReadOnlyList<string> overrides,
        out bool accepted
    )
    {
        Exception? thrown = null;
        double seconds = Time();
        // Another process may have taken the processor; slowness is there again the second time.
        if (seconds is > Limit and < 10 * Limit)
            seconds = Math.Min(seconds, Time());
        accepted = thrown is null;
        if (seconds > Limit)
            return string.Create(CultureInfo.InvariantCulture, $"takes {seconds:0.0} s");
        return thrown switch
        {
            null => null,
            ConfigurationException { Problems.Count: 0 } => "refused without a problem",
            ConfigurationException e when e.Message.Length > LongestMessage =>
                $"a message of {e.Message.Length} characters",
            ConfigurationException => null,
            var e => $"{e.GetType().Name}: {e.Message}\n{e.StackTrace}",
        };

        double Time()
        {
            var clock = Stopwatch.StartNew();
            // The stack is that of a program's first thread.
            var thread = new Thread(
                () =>
                {
                    try
                    {
                        thrown = null;
                        read(file, overrides);
                    }
                    catch (Exception e) // of any kind: that is the question
                    {
                        thrown = e;
                    }
                },
                8 << 20
            )
            {
                IsBackground = true,
            };
            thread.Start();
            thread.Join(TimeSpan.FromSeconds(10 * Limit));
            return clock.Elapsed.TotalSeconds;
        }
    }

    /// <summary>Whether no number in it is large, so that two steps take no time.</summary>
    private static bool IsSmall(byte[] json)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            return IsSmallElement(document.RootElement);
        }
        catch (JsonException)
        {
            return false; // comments and trailing commas are allowed in configurations
        }

        static bool IsSmallElement(JsonElement e) =>
            e.ValueKind switch
            {
                JsonValueKind.Number => Math.Abs(e.GetDouble()) <= 1000,
                JsonValueKind.Array => e.EnumerateArray().All(IsSmallElement),
                JsonValueKind.Object => e.EnumerateObject().All(p => IsSmallElement(p.Value)),
                _ => true,
            };
    }

    private static string? Train(AttackPlace place)
    {
        string[] two = ["training.steps=2", "evaluation.batches=1", "evaluation.batch_size=2", "device=cpu"];
        var start = new VictimStart(
            place.Folder,
            ["training.json", .. two.SelectMany(s => new[] { "--set", s }), "--out", "runs"]
        );
        var end = Victim.Run(start, 120);
        place.Note($"{start.Line}\n  exit code {end.Code}\n{KillAttack.Indent(end.Text)}");
        bool diverged = end.Code == 1 && end.Text.Contains("diverge", StringComparison.OrdinalIgnoreCase);
        return Oracle.Crash(end)
            ?? (
                end.Code == 0 || diverged
                    ? null
                    : $"accepted, and exit code {end.Code}: {Oracle.Shorten(end.Text, 300)}"
            );
    }
}
