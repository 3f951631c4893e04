using System.Runtime.InteropServices;
using EmtTorch.Analysis;
using EmtTorch.Memory;
using EmtTorch.Models;
using EmtTorch.Settings;
using EmtTorch.Tasks;
using EmtTorch.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Studies;

/// <summary>
/// Measures consolidation. By day a trained network, its slow weights fixed, reads documents with facts, and the
/// reservoir of each block keeps the writes with the highest gates. At night these are replayed
/// (<see cref="Consolidation"/>). In the morning the fast memory is wiped, and the same facts are asked. The cost is
/// measured in new episodes.
/// </summary>
/// <example><code>
/// var settings = ConsolidationConfiguration.Load("experiments/outer-memories/consolidation/consolidation.json");
/// Console.WriteLine(ConsolidationExperiment.Run(settings).ToMarkdown());
/// </code></example>
public sealed class ConsolidationExperiment
{
    private readonly ConsolidationConfiguration _settings;
    private readonly SegmentRecallConfiguration _task;
    private readonly EpisodicTransformer _network;
    private readonly Generator _generator;
    private readonly int _between;

    private ConsolidationExperiment(ConsolidationConfiguration settings, TrainedNetwork trained, Generator generator)
    {
        (_settings, _generator) = (settings, generator);
        _task = (SegmentRecallConfiguration)trained.Configuration.Task.Own!;
        _network = trained.Transformer!;
        _between = trained.Configuration.Training.Curriculum.Horizons[^1];
    }

    /// <summary>Runs each kind of night with each number of facts and each network.</summary>
    /// <param name="settings">The settings.</param>
    /// <param name="before">An unfinished result with the same settings. Its outcomes are reused if the network is
    /// still the same.</param>
    /// <param name="progress">Called after each new outcome with all outcomes so far.</param>
    /// <param name="stop">Ends it early.</param>
    /// <exception cref="ConfigurationException">A run is missing or does not fit: all problems.</exception>
    /// <exception cref="OperationCanceledException"><paramref name="stop"/> was cancelled.</exception>
    public static ConsolidationResult Run(
        ConsolidationConfiguration settings,
        ConsolidationResult? before = null,
        Action<ConsolidationResult>? progress = null,
        CancellationToken stop = default
    )
    {
        if (FindProblems(settings) is { Count: > 0 } problems)
            throw new ConfigurationException(problems);
        var outcomes = new List<ConsolidationOutcome>();
        var plan =
            from night in settings.Nights
            from facts in night.Facts ?? settings.Facts
            from path in settings.Runs
            select (night, facts, path);
        foreach (var (night, facts, path) in plan)
        {
            using var scope = NewDisposeScope();
            // Each outcome starts from the trained weights and the same day.
            using var trained = TrainedNetwork.Load(path);
            double norm = trained.ParameterNorm;
            var done = before?.Outcomes.FirstOrDefault(o =>
                (o.Run, o.Night, o.Facts, o.ParameterNorm) == (trained.Name, night.Name, facts, norm)
            );
            if (done is not null)
            {
                outcomes.Add(done);
                continue;
            }
            ulong seed = unchecked(
                (ulong)settings.Seed * 1_000_003 + (ulong)trained.Configuration.Seed * 7919 + (ulong)facts
            );
            using var generator = new Generator(seed);
            var experiment = new ConsolidationExperiment(settings, trained, generator);
            outcomes.Add(experiment.Measure(trained.Name, norm, night, facts, stop));
            progress?.Invoke(new(settings, [.. outcomes]));
        }
        return new(settings, outcomes);
    }

    /// <summary>Finds the runs that are missing or cannot be consolidated, with the reasons.</summary>
    public static IReadOnlyList<ConfigurationProblem> FindProblems(ConsolidationConfiguration settings)
    {
        var problems = new List<ConfigurationProblem>();
        for (int i = 0; i < settings.Runs.Count; i++)
        {
            try
            {
                using var network = TrainedNetwork.Load(settings.Runs[i]);
                if (FindReason(network.Configuration, settings) is { } reason)
                    problems.Add($"runs[{i}]", $"{network.Name} {reason}");
            }
            catch (ConfigurationException e)
            {
                problems.Add($"runs[{i}]", e.Problems[0].Message);
            }
        }
        return problems;
    }

    private static string? FindReason(RunConfiguration run, ConsolidationConfiguration settings)
    {
        if (run.Task.Own is not SegmentRecallConfiguration task)
            return $"learned {run.Task.Label}: facts are pairs of segment_recall";
        if (run.Model.Find<FastWeightSettings>() is null)
            return "has no fast weights: there is nothing to consolidate";
        if (run.Model.Find<FastWeightSettings>() is { Read: "source" } or { Write: "full_hypernetwork" })
            return "has read source or write full_hypernetwork: its fast weights have no W_Q, W_K and W_V";
        if (run.Model is { DriftJoin: "concatenate" } or { DriftCell: not "linear" })
            return "has contexts that are concatenated or recurrent: consolidation takes linear ones that are added";
        int most = settings.Facts.Concat(settings.Nights.SelectMany(n => n.Facts ?? [])).Max();
        if (task.Keys < most)
            return $"knows {task.Keys} keys: {most} facts need as many distinct ones";
        if (task.BothWays || task.Distractors > 0 || task.Vocabularies > 1 || task.Persistent > 0)
        {
            return "was trained with distractors, both ways, with persistent pairs, or on one of several "
                + "vocabularies: facts are plain pairs";
        }
        if (task.SegmentLength < 2 * settings.FactsPerDocument)
        {
            return $"has segments of {task.SegmentLength} tokens: {settings.FactsPerDocument} facts in a document "
                + $"need {2 * settings.FactsPerDocument}";
        }
        return null;
    }

    private ConsolidationOutcome Measure(
        string name,
        double norm,
        NightConfiguration night,
        int facts,
        CancellationToken stop
    )
    {
        using var scope = NewDisposeScope();
        var (keys, values) = (DrawKeys(facts), DrawTokens(FirstValue, _task.Values, facts));
        // Enough documents that bind the same keys to other values.
        var repeats = Enumerable.Range(0, (_settings.TestAnswers + facts - 1) / facts);
        var rebound = CreateDocuments(
            [.. repeats.SelectMany(_ => keys)],
            [.. repeats.SelectMany(_ => DrawOtherValues(values))]
        );
        var fresh = CreateFreshEpisodes();
        var (newBefore, reboundBefore) = (MeasureAccuracy(fresh), MeasureAccuracy(rebound));
        var reservoirs = _network.Memories.Select(_ => new WriteReservoir(_settings.Capacity)).ToArray();
        try
        {
            var days = LiveThroughDays(keys, values, night, reservoirs, stop);
            var old = keys.Zip(values).ToDictionary(p => p.First, p => p.Second);
            bool hasCues = night.Replay == "distilled";
            var cues = days.LastNight.Cues.ToHashSet();
            int found = keys.Index().Count(k => cues.Contains(new(k.Item, k.Index / _settings.FactsPerDocument)));
            return new(
                Run: name,
                Night: night.Name,
                Facts: facts,
                Evening: days.Evening,
                WipedBefore: days.Wiped,
                Morning: days.Morning,
                NewBefore: newBefore,
                NewAfter: MeasureAccuracy(fresh),
                ReboundBefore: reboundBefore,
                ReboundAfter: MeasureAccuracy(rebound),
                ReboundOld: MeasureAccuracy(rebound, old),
                Stored: reservoirs.Sum(r => r.Count),
                CuesFound: hasCues ? (double)found / facts : null,
                CuesWrong: hasCues ? cues.Count - found : null,
                days.LastNight.ReplayLoss,
                days.LastNight.RehearsalLoss,
                norm
            );
        }
        finally
        {
            foreach (var reservoir in reservoirs)
                reservoir.Dispose();
        }
    }

    /// <summary>Recall of the facts in the evening, the same after wiping, and after all nights.</summary>
    private sealed record Days(double Evening, double Wiped, double Morning, NightResult LastNight);

    // Reads the documents in groups, with a night after each group, and asks for all facts at the end.
    private Days LiveThroughDays(
        long[] keys,
        long[] values,
        NightConfiguration night,
        WriteReservoir[] reservoirs,
        CancellationToken stop
    )
    {
        int documents = keys.Length / _settings.FactsPerDocument,
            group = Math.Min(documents, _settings.DocumentsPerNight ?? documents);
        var consolidation = new Consolidation(_network, _task, _settings, _generator);
        var asked = new List<(EpisodicState State, TokenBatch Questions)>();
        double evening = 0,
            wiped = 0;
        NightResult? last = null;
        for (int from = 0; from < documents; from += group)
        {
            int first = from * _settings.FactsPerDocument,
                count = Math.Min(group, documents - from) * _settings.FactsPerDocument;
            var day = CreateDocuments(keys[first..(first + count)], values[first..(first + count)]);
            var state = Read(day[..^1], reservoirs, from);
            evening += count * MeasureAccuracy(day[^1], state);
            wiped += count * MeasureAccuracy(day[^1], Consolidation.Wipe(state));
            asked.Add((state, day[^1]));
            last = consolidation.RunNight(night, reservoirs, stop);
        }
        double morning = asked.Sum(a =>
            a.Questions.Input.shape[0] * MeasureAccuracy(a.Questions, Consolidation.Wipe(a.State))
        );
        return new(evening / keys.Length, wiped / keys.Length, morning / documents, last!);
    }

    private ITokenTask CreateTask(int pairs) =>
        (_task with { Pairs = pairs, Distractors = 0, BothWays = false, Vocabularies = 1, Vocabulary = 1 }).Create(
            _between,
            CPU
        );

    private int FirstKey => 1 + _task.Noise;

    private int FirstValue => 1 + _task.Noise + _task.Keys;

    private long[] DrawTokens(long first, int below, int count) =>
        [.. randint(first, first + below, [count], dtype: ScalarType.Int64, generator: _generator).data<long>()];

    // Distinct keys in random order.
    private long[] DrawKeys(int count)
    {
        using var scope = NewDisposeScope();
        var order = rand([_task.Keys], generator: _generator).argsort();
        return [.. order.narrow(0, 0, count).add(FirstKey).contiguous().data<long>()];
    }

    // Another value for each of these.
    private IEnumerable<long> DrawOtherValues(long[] values) =>
        values.Zip(
            DrawTokens(1, Math.Max(1, _task.Values - 1), values.Length),
            (v, step) => FirstValue + (v - FirstValue + step) % _task.Values
        );

    private IReadOnlyList<TokenBatch> CreateFreshEpisodes() =>
        CreateTask(_task.Pairs).Batch((_settings.TestAnswers + _task.Pairs - 1) / _task.Pairs, _generator);

    // Documents of the task, as segments. In each the given facts replace the task's own pairs, in their order.
    private TokenBatch[] CreateDocuments(long[] keys, long[] values)
    {
        int per = _settings.FactsPerDocument;
        var segments = CreateTask(per)
            .Batch(keys.Length / per, _generator)
            .Select(s => new TokenBatch(s.Input.clone(), s.Target.clone()))
            .ToArray();
        int length = (int)segments[0].Input.shape[1];
        Span<long> told = Tokens(segments[0].Input),
            questions = Tokens(segments[^1].Input),
            targets = Tokens(segments[^1].Target);
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
        static Span<long> Tokens(Tensor tensor) => MemoryMarshal.Cast<byte, long>(tensor.bytes);
    }

    // Reads segments into the reservoirs. The documents are numbered from `episode`.
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

    // Reads all segments of a document, and asks in the last one.
    private double MeasureAccuracy(IReadOnlyList<TokenBatch> document, Dictionary<long, long>? answers = null)
    {
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        EpisodicState? state = null;
        foreach (var segment in document.SkipLast(1))
            state = _network.Read(segment.Input, state).State;
        return MeasureAccuracy(document[^1], state!, answers);
    }

    // The share of questions whose answer is the target or, if given, the key's value in `answers`.
    private double MeasureAccuracy(TokenBatch questions, EpisodicState state, Dictionary<long, long>? answers = null)
    {
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        var hidden = _network.Read(questions.Input, state).Hidden;
        var places = Consolidation.FindQuestions(questions.Target);
        long[] given =
        [
            .. _network.ReadOut(hidden.reshape(-1, hidden.shape[2]).index_select(0, places)).argmax(-1).data<long>(),
        ];
        long[] At(Tensor x) => [.. x.reshape(-1).index_select(0, places).data<long>()];
        var wanted = answers is null ? At(questions.Target) : [.. At(questions.Input).Select(key => answers[key])];
        return (double)given.Zip(wanted).Count(p => p.First == p.Second) / given.Length;
    }
}
