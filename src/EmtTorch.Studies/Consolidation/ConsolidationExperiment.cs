using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using EmtTorch.Analysis;
using EmtTorch.Analysis.Charts;
using EmtTorch.Memory;
using EmtTorch.Models;
using EmtTorch.Settings;
using EmtTorch.Tasks;
using EmtTorch.Training;
using TorchSharp;
using static EmtTorch.Analysis.Charts.Channel;
using static TorchSharp.torch;

namespace EmtTorch.Studies;

/// <summary>One network after one kind of night. Recall and the rest are shares of right answers.</summary>
/// <param name="Run">The network's name.</param>
/// <param name="Night">The kind of night.</param>
/// <param name="Facts">Facts of the day.</param>
/// <param name="Evening">Recall with the fast memory, in the document that told the fact.</param>
/// <param name="WipedBefore">Recall with F = 0, before any night.</param>
/// <param name="Morning">Recall with F = 0, after the last night.</param>
/// <param name="NewBefore">Answers in new episodes, pairs at random over the whole vocabulary, before the
/// night…</param>
/// <param name="NewAfter">…and after it.</param>
/// <param name="ReboundBefore">Answers in new episodes that bind the day's keys to other values, before the
/// night…</param>
/// <param name="ReboundAfter">…and after it: the new value is right.</param>
/// <param name="ReboundOld">The share of these that the day's value is given for.</param>
/// <param name="Stored">Writes kept, in all blocks.</param>
/// <param name="CuesFound">The share of facts whose key the last night found to be a cue of the fact's
/// document.</param>
/// <param name="CuesWrong">Cues of another document, or of no fact.</param>
/// <param name="ReplayLoss">In the last step.</param>
/// <param name="RehearsalLoss">In the last step.</param>
/// <param name="ParameterNorm">‖θ‖ of the network before the night, by which it is known again.</param>
public sealed record ConsolidationOutcome(
    string Run,
    string Night,
    int Facts,
    double Evening,
    double WipedBefore,
    double Morning,
    double NewBefore,
    double NewAfter,
    double ReboundBefore,
    double ReboundAfter,
    double ReboundOld,
    int Stored,
    double? CuesFound,
    int? CuesWrong,
    double? ReplayLoss,
    double? RehearsalLoss,
    double ParameterNorm
);

/// <summary>
/// Consolidation measured: by day a trained network, its slow weights fixed, reads documents with facts, and each
/// block's reservoir keeps the writes with the highest gates; at night these are replayed
/// (<see cref="Consolidation"/>); in the
/// morning the fast memory is wiped, and the same facts are asked. What it costs is measured on new episodes.
/// </summary>
/// <example><code>
/// var result =
/// ConsolidationExperiment.Run(ConsolidationConfiguration.Load("experiments/outer-memories/consolidation/consolidation.json"));
/// Console.WriteLine(result.ToMarkdown());
/// </code></example>
public sealed class ConsolidationExperiment
{
    private readonly ConsolidationConfiguration _settings;
    private readonly RunConfiguration _run;
    private readonly SegmentRecallConfiguration _task;
    private readonly EpisodicTransformer _network;
    private readonly Generator _generator;
    private readonly int _between;

    private ConsolidationExperiment(
        ConsolidationConfiguration settings,
        RunConfiguration run,
        EpisodicTransformer network,
        Generator generator
    )
    {
        (_settings, _run, _task, _network, _generator) = (
            settings,
            run,
            (SegmentRecallConfiguration)run.Task.Own!,
            network,
            generator
        );
        _between = run.Training.Curriculum.Horizons[^1];
    }

    /// <summary>Runs all of it: each network, each kind of night, each number of facts.</summary>
    /// <param name="settings">What to do.</param>
    /// <param name="before">What was done of it already, with the same settings: of networks that are still the same it
    /// is not done again.</param>
    /// <param name="progress">Told of each new outcome, with all those so far.</param>
    /// <param name="stop">Ends it early.</param>
    /// <exception cref="ConfigurationException">A run is not there, or can't be consolidated: all problems.</exception>
    /// <exception cref="OperationCanceledException">It was told to stop.</exception>
    public static ConsolidationResult Run(
        ConsolidationConfiguration settings,
        ConsolidationResult? before = null,
        Action<ConsolidationResult>? progress = null,
        CancellationToken stop = default
    )
    {
        if (Problems(settings) is { Count: > 0 } problems)
            throw new ConfigurationException(problems);
        var outcomes = new List<ConsolidationOutcome>();
        foreach (var night in settings.Nights)
        {
            foreach (int facts in night.Facts ?? settings.Facts)
            {
                foreach (var path in settings.Runs)
                {
                    using var scope = NewDisposeScope();
                    // Each night begins with the trained weights and the same day.
                    using var network = TrainedNetwork.Load(path);
                    double norm = network.ParameterNorm;
                    if (
                        before?.Outcomes.FirstOrDefault(o =>
                            (o.Run, o.Night, o.Facts, o.ParameterNorm) == (network.Name, night.Name, facts, norm)
                        ) is
                        { } done
                    )
                    {
                        outcomes.Add(done);
                        continue;
                    }
                    using var generator = new Generator(
                        unchecked(
                            (ulong)settings.Seed * 1_000_003 + (ulong)network.Configuration.Seed * 7919 + (ulong)facts
                        )
                    );
                    outcomes.Add(
                        new ConsolidationExperiment(
                            settings,
                            network.Configuration,
                            network.Transformer!,
                            generator
                        ).Live(network.Name, norm, night, facts, stop)
                    );
                    progress?.Invoke(new(settings, [.. outcomes]));
                }
            }
        }

        return new(settings, outcomes);
    }

    /// <summary>The runs that are not there, or can't be consolidated, and why.</summary>
    public static IReadOnlyList<ConfigurationProblem> Problems(ConsolidationConfiguration settings)
    {
        var problems = new List<ConfigurationProblem>();
        for (int i = 0; i < settings.Runs.Count; i++)
        {
            try
            {
                using var network = TrainedNetwork.Load(settings.Runs[i]);
                if (WhyNot(network.Configuration, settings) is { } reason)
                    problems.Add($"runs[{i}]", $"{network.Name} {reason}");
            }
            catch (ConfigurationException e)
            {
                problems.Add($"runs[{i}]", e.Problems[0].Message);
            }
        }
        return problems;
    }

    private static string? WhyNot(RunConfiguration run, ConsolidationConfiguration settings)
    {
        if (run.Task.Own is not SegmentRecallConfiguration task)
            return $"learned {run.Task.Label}: facts are pairs of segment_recall";
        if (run.Model.Memory == "none")
            return "has no fast weights: there is nothing to consolidate";
        int most = settings.Facts.Concat(settings.Nights.SelectMany(n => n.Facts ?? [])).Max();
        if (task.Keys < most)
            return $"knows {task.Keys} keys: {most} facts need as many distinct ones";
        if (task.BothWays || task.Distractors > 0 || task.Vocabularies > 1)
            return "was trained with distractors, both ways, or on one of several vocabularies: facts are plain pairs";
        if (task.SegmentLength < 2 * settings.FactsPerDocument)
        {
            return $"has segments of {task.SegmentLength} tokens: {settings.FactsPerDocument} facts in a document "
                + $"need {2 * settings.FactsPerDocument}";
        }
        return null;
    }

    private ConsolidationOutcome Live(
        string name,
        double norm,
        NightConfiguration night,
        int facts,
        CancellationToken stop
    )
    {
        using var scope = NewDisposeScope();
        var (keys, values) = Facts(facts);
        int documents = facts / _settings.FactsPerDocument,
            group = Math.Min(documents, _settings.DocumentsPerNight ?? documents);
        // Documents that bind the same keys to other values, several for each of the day's.
        var again = Enumerable.Range(0, (_settings.TestAnswers + facts - 1) / facts);
        var other = Documents([.. again.SelectMany(_ => keys)], [.. again.SelectMany(_ => Others(values))]);
        var fresh = FreshEpisodes();
        var (newBefore, reboundBefore) = (Right(fresh), Right(other));

        var reservoirs = _network.Memories.Select(_ => new WriteReservoir(_settings.Capacity)).ToArray();
        var consolidation = new Consolidation(_network, _task, _settings, _generator);
        var asked = new List<(EpisodicState State, TokenBatch Questions)>();
        double evening = 0,
            wiped = 0;
        NightResult? last = null;
        try
        {
            for (int from = 0; from < documents; from += group)
            {
                int count = Math.Min(group, documents - from),
                    first = from * _settings.FactsPerDocument,
                    n = count * _settings.FactsPerDocument;
                var day = Documents(keys[first..(first + n)], values[first..(first + n)]);
                var state = Read(day[..^1], reservoirs, from);
                evening += n * Right(day[^1], state);
                wiped += n * Right(day[^1], Consolidation.Wipe(state));
                asked.Add((state, day[^1]));
                last = consolidation.Night(night, reservoirs, stop);
            }
            double morning =
                asked.Sum(a => a.Questions.Input.shape[0] * Right(a.Questions, Consolidation.Wipe(a.State)))
                / documents;
            var old = keys.Zip(values).ToDictionary(p => p.First, p => p.Second);
            var told = last!.Cues.ToHashSet();
            int found = Enumerable.Range(0, facts).Count(i => told.Contains((keys[i], i / _settings.FactsPerDocument)));
            bool hasCues = night.Replay == "distilled";
            return new(
                name,
                night.Name,
                facts,
                evening / facts,
                wiped / facts,
                morning,
                newBefore,
                Right(fresh),
                reboundBefore,
                Right(other),
                Right(other, old),
                reservoirs.Sum(r => r.Count),
                hasCues ? (double)found / facts : null,
                hasCues ? told.Count - found : null,
                last.ReplayLoss,
                last.RehearsalLoss,
                norm
            );
        }
        finally
        {
            foreach (var reservoir in reservoirs)
                reservoir.Dispose();
        }
    }

    // ---- Documents

    private ITokenTask Task(int pairs) =>
        new SegmentRecall(pairs, _between, _task.SegmentLength, _task.Keys, _task.Values, _task.Noise, CPU);

    private int FirstKey => 1 + _task.Noise;

    private int FirstValue => 1 + _task.Noise + _task.Keys;

    private long[] Numbers(long first, int below, int count) =>
        [.. randint(first, first + below, [count], dtype: ScalarType.Int64, generator: _generator).data<long>()];

    private (long[] Keys, long[] Values) Facts(int count)
    {
        using var scope = NewDisposeScope();
        long[] keys =
        [
            .. rand([_task.Keys], generator: _generator)
                .argsort()
                .narrow(0, 0, count)
                .add(FirstKey)
                .contiguous()
                .data<long>(),
        ];
        return (keys, Numbers(FirstValue, _task.Values, count));
    }

    /// <summary>A value for each that is not it.</summary>
    private long[] Others(long[] values) =>
        [
            .. values.Zip(
                Numbers(1, Math.Max(1, _task.Values - 1), values.Length),
                (v, step) => FirstValue + (v - FirstValue + step) % _task.Values
            ),
        ];

    private IReadOnlyList<TokenBatch> FreshEpisodes() =>
        Task(_task.Pairs).Batch((_settings.TestAnswers + _task.Pairs - 1) / _task.Pairs, _generator);

    /// <summary>
    /// Documents of the task with these facts in the place of its own pairs, so many in each, in their order.
    /// </summary>
    private TokenBatch[] Documents(long[] keys, long[] values)
    {
        int per = _settings.FactsPerDocument;
        var segments = Task(per)
            .Batch(keys.Length / per, _generator)
            .Select(s => new TokenBatch(s.Input.clone(), s.Target.clone()))
            .ToArray();
        int length = (int)segments[0].Input.shape[1];
        Span<long> told = Numbers(segments[0].Input),
            questions = Numbers(segments[^1].Input),
            targets = Numbers(segments[^1].Target);
        for (int row = 0; row < keys.Length / per; row++)
        {
            var place = new Dictionary<long, int>();
            for (int i = row * length; i < (row + 1) * length; i++)
            {
                if (told[i] >= FirstKey && told[i] < FirstValue)
                {
                    int fact = row * per + place.Count;
                    place.Add(told[i], fact);
                    (told[i], told[i + 1]) = (keys[fact], values[fact]);
                    i++;
                }
            }

            for (int i = row * length; i < (row + 1) * length; i++)
            {
                if (targets[i] != TokenBatch.Ignored)
                {
                    int fact = place[questions[i]];
                    (questions[i], targets[i]) = (keys[fact], values[fact]);
                }
            }
        }
        return segments;

        // data<T> has no flat index to write to.
        static Span<long> Numbers(Tensor tensor) => MemoryMarshal.Cast<byte, long>(tensor.bytes);
    }

    // ---- Reading

    private EpisodicState Read(IReadOnlyList<TokenBatch> segments, WriteReservoir[] reservoirs, long episode)
    {
        using var quiet = no_grad();
        EpisodicState? state = null;
        long position = 0;
        try
        {
            for (int i = 0; i < reservoirs.Length; i++)
            {
                var reservoir = reservoirs[i];
                _network.Memories[i].Observer = a => reservoir.Add(a, episode, position);
            }
            foreach (var segment in segments)
            {
                state = _network.Read(segment.Input, state).State;
                position += segment.Input.shape[1];
            }
        }
        finally
        {
            foreach (var memory in _network.Memories)
                memory.Observer = null;
        }
        return state!;
    }

    private double Right(IReadOnlyList<TokenBatch> document, Dictionary<long, long>? instead = null)
    {
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        EpisodicState? state = null;
        foreach (var segment in document.SkipLast(1))
            state = _network.Read(segment.Input, state).State;
        return Right(document[^1], state!, instead);
    }

    /// <summary>The share of questions that the target is answered to, or by key what is given in its stead.</summary>
    private double Right(TokenBatch questions, EpisodicState state, Dictionary<long, long>? instead = null)
    {
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        var hidden = _network.Read(questions.Input, state).Hidden;
        var places = questions.Target.reshape(-1).ne(TokenBatch.Ignored).nonzero().squeeze(-1);
        long[] answers =
        [
            .. _network.ReadOut(hidden.reshape(-1, hidden.shape[2]).index_select(0, places)).argmax(-1).data<long>(),
        ];
        long[] Of(Tensor x) => [.. x.reshape(-1).index_select(0, places).data<long>()];
        var wanted = instead is null ? Of(questions.Target) : [.. Of(questions.Input).Select(key => instead[key])];
        return (double)answers.Zip(wanted).Count(p => p.First == p.Second) / answers.Length;
    }
}

/// <summary>All outcomes, with a table and figures of them.</summary>
/// <param name="Configuration">What was done.</param>
/// <param name="Outcomes">Night by night, by the number of facts, network by network.</param>
public sealed record ConsolidationResult(
    ConsolidationConfiguration Configuration,
    IReadOnlyList<ConsolidationOutcome> Outcomes
)
{
    public string ToJson() => JsonSerializer.Serialize(this, OutputJson.Options) + "\n";

    /// <summary>
    /// What <see cref="ToJson"/> wrote, where it was written with these settings and is not all of it; null else.
    /// </summary>
    /// <exception cref="JsonException">The text is no result.</exception>
    public static ConsolidationResult? Unfinished(string json, ConsolidationConfiguration settings)
    {
        var found = JsonSerializer.Deserialize<ConsolidationResult>(json, OutputJson.Options);
        if (found is not { Configuration: not null, Outcomes: not null })
            throw new JsonException("configuration and outcomes are expected");
        return
            JsonSerializer.Serialize(found.Configuration, OutputJson.Options)
                == JsonSerializer.Serialize(settings, OutputJson.Options)
            && found.Outcomes.Count < settings.OutcomeCount
            ? found
            : null;
    }

    private IEnumerable<IGrouping<(string Night, int Facts), ConsolidationOutcome>> Rows =>
        Outcomes.GroupBy(o => (o.Night, o.Facts));

    /// <summary>
    /// A line for each kind of night and number of facts: means over the networks, in percent, and the cost in points
    /// with its range.
    /// </summary>
    public string ToMarkdown() => Table.Markdown(Columns, Rows);

    private static readonly IReadOnlyList<Column<IGrouping<(string Night, int Facts), ConsolidationOutcome>>> Columns =
    [
        new("night", row => row.Key.Night),
        new("facts", row => row.Key.Facts, "0"),
        Percent("recall with the fast memory", o => o.Evening),
        Percent("wiped, before the night", o => o.WipedBefore),
        Percent("wiped, after it", o => o.Morning),
        new(
            "of that before wiping",
            row => row.Sum(o => o.Evening) > 0 ? 100 * row.Sum(o => o.Morning) / row.Sum(o => o.Evening) : null,
            "0.0"
        ),
        Percent("new episodes before", o => o.NewBefore),
        Percent("after", o => o.NewAfter),
        new("cost, points", row => Cost([.. row.Select(o => 100 * (o.NewBefore - o.NewAfter))])) { Left = false },
        Percent("keys bound anew before", o => o.ReboundBefore),
        Percent("after", o => o.ReboundAfter),
        Percent("of these the old value", o => o.ReboundOld),
        Percent("cues found", o => o.CuesFound),
        new("wrong cues", row => row.Average(o => o.CuesWrong), "0.0"),
    ];

    private static Column<IGrouping<(string Night, int Facts), ConsolidationOutcome>> Percent(
        string title,
        Func<ConsolidationOutcome, double?> of
    ) => new(title, row => 100 * row.Average(of), "0.0");

    private static string Cost(double[] points)
    {
        static string Text(double value) => NumberText.Fixed(value, "0.0");
        return $"{Text(points.Average())} ({Text(points.Min())} to {Text(points.Max())})";
    }

    /// <summary>Recall after wiping, and what the nights cost, against the number of facts.</summary>
    [JsonIgnore]
    public IReadOnlyList<Figure> Figures =>
        [
            Chart(
                "recall",
                "Recall with the fast memory wiped, after the night",
                "Each point is a network's share of right answers; lines are means. With the fast memory it is the "
                    + "dotted line.",
                "recall after wiping, %",
                o => 100 * o.Morning,
                o => 100 * o.Evening
            ),
            Chart(
                "cost",
                "What the night costs on new episodes",
                "Points of accuracy that answers in new episodes, of random pairs, lose by the night.",
                "cost, points",
                o => 100 * (o.NewBefore - o.NewAfter)
            ),
            Chart(
                "rebound",
                "Keys of the day, bound to other values",
                "The share of answers that are the old value, the day's, after the night.",
                "old value answered, %",
                o => 100 * o.ReboundOld
            ),
        ];

    private Figure Chart(
        string id,
        string title,
        string caption,
        string y,
        Func<ConsolidationOutcome, double> of,
        Func<ConsolidationOutcome, double>? dotted = null
    )
    {
        var facts = new Channel("facts", "facts")
        {
            Scale = new(Type: "log", Base: 2),
            Axis = new(Format: "d", Values: Outcomes.Select(o => o.Facts).Distinct().Order()),
        };
        Chart Layer(Mark mark, string field, bool mean) =>
            new()
            {
                Mark = mark,
                X = facts,
                Y = new(field, y) { Aggregate = mean ? "mean" : null },
                Color =
                    field == "memory"
                        ? null
                        : Coloured("night", [.. Rows.Select(r => r.Key.Night).Distinct()], columns: 4),
            };
        var layers = new List<Chart>
        {
            Layer(new("line"), "value", mean: true),
            Layer(new("point", Tooltip: true, Filled: true), "value", mean: false),
        };
        if (dotted is not null)
            layers.Add(Layer(new("line", Color: Palette.Grey, StrokeDash: [2, 4]), "memory", mean: true));
        caption += $" n = {Outcomes.Select(o => o.Run).Distinct().Count()} networks.";
        return new Chart
        {
            Height = 300,
            Rows = Outcomes.Select(o => new
            {
                facts = o.Facts,
                night = o.Night,
                run = o.Run,
                value = of(o),
                memory = dotted?.Invoke(o),
            }),
            Layers = layers,
        }.Figure(id, title, caption);
    }
}
