using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;
using EmtTorch.Analysis.Charts;
using EmtTorch.Settings;
using EmtTorch.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Runs;

/// <summary>
/// All analyses of one trained network, those of this library and those of extensions: what they found, as a few lines,
/// as analysis.json and as report.html.
/// </summary>
/// <example><code>
/// using var network = TrainedNetwork.Load("runs/t1/seed-1");
/// var analysis = RunAnalysis.Of(network);
/// foreach (var line in analysis.Lines) Console.WriteLine(line);
/// Console.WriteLine(analysis.Findings["spectral_error"].Value);
/// analysis.WriteNumbers(network.Folder); // RunReport.Write in EmtTorch.Reports makes the page too
/// </code></example>
public sealed record RunAnalysis
{
    /// <summary>The file with all numbers of an analysis.</summary>
    public const string FileName = "analysis.json";

    /// <summary>
    /// The version that stands in analysis.json. Raise it when the analyses of this library give another figure or
    /// another number, so that earlier files are made again.
    /// </summary>
    public const int Version = 5;

    /// <summary>What the network is called, beside others.</summary>
    public required string Name { get; init; }

    /// <summary>What its task is called.</summary>
    public required string Task { get; init; }

    /// <summary>What the network learned, a sentence each.</summary>
    public required IReadOnlyList<string> Lines { get; init; }

    /// <summary>What cannot be computed or trusted, and why.</summary>
    public required IReadOnlyList<string> Problems { get; init; }

    /// <summary>The content of analysis.json.</summary>
    public required JsonObject Json { get; init; }

    /// <summary>
    /// All findings, by their key; a finding of an extension by NAME.KEY, with the name of its analysis.
    /// </summary>
    public required IReadOnlyDictionary<string, Finding> Findings { get; init; }

    /// <summary>What report.html shows.</summary>
    internal ReportData Data { get; init; } = null!;

    /// <summary>The network's line in a comparison with others.</summary>
    internal ComparisonRow Row =>
        new()
        {
            Name = Name,
            Task = Task,
            Seed = Data.Seed,
            HiddenSize = Data.HiddenSize,
            Chance = Data.Chance,
            Findings = Findings,
            Problems = Problems.Count,
        };

    /// <summary>Runs all analyses on a network.</summary>
    /// <param name="network">The network.</param>
    /// <param name="options">Null: the defaults.</param>
    /// <exception cref="ArgumentException">The options do not fit the task, such as an input of another
    /// length.</exception>
    public static RunAnalysis Of(TrainedNetwork network, AnalysisOptions? options = null)
    {
        var clock = Stopwatch.StartNew();
        var found = new Collection(network, options ?? new());
        if (network.Transformer is null && network.Weights.WhyUnusable() is { } reason)
            found.Problems.Add($"{char.ToUpperInvariant(reason[0])}{reason[1..]}.");
        var check = found.Problems.Count == 0 ? ActivationCheck.Of(network) : null;
        if (check is not null)
            (check.IsRelu ? found.Problems : found.Lines).Add(check.Sentence);
        if (check is not { IsRelu: true })
        {
            var own = Parts.In(typeof(RunAnalysis).Assembly).Where(t => t.IsAssignableTo(typeof(INetworkAnalysis)));
            foreach (var type in own)
                found.Add(Parts.NameOf(type), type, own: true);
        }
        if (found.Findings.Count == 0 && found.Problems.Count == 0)
        {
            found.Lines.Add(
                $"There is no theory of {network.Configuration.Task.Label} here: only the weights are read."
            );
        }
        foreach (var (name, type) in Parts.Of(typeof(INetworkAnalysis)))
            found.Add(name, type, own: false);
        return found.Finish(clock);
    }

    /// <summary>What the analyses of one network find, one after the other.</summary>
    private sealed class Collection(TrainedNetwork network, AnalysisOptions options)
    {
        private readonly JsonObject _json = Head(network),
            _ofExtensions = [];
        private readonly OrderedDictionary<string, Finding> _findings = [];

        public List<string> Lines { get; } = [];
        public List<string> Problems { get; } = [];
        public IReadOnlyDictionary<string, Finding> Findings => _findings;

        /// <summary>Runs one analysis. If it fails, that is a problem, and the others go on.</summary>
        /// <param name="name">Its name.</param>
        /// <param name="type">Its class.</param>
        /// <param name="own">Whether it is of this library: its keys stand at the top of analysis.json.</param>
        public void Add(string name, Type type, bool own)
        {
            using var scope = NewDisposeScope();
            using var quiet = no_grad();
            var json = own ? _json : [];
            try
            {
                foreach (var finding in ((INetworkAnalysis)Activator.CreateInstance(type)!).Analyze(network, options))
                {
                    json[finding.Key] = own
                        ? finding.Json
                        : new JsonObject { ["value"] = finding.Json, ["null"] = Finding.ToJson(finding.Null) };
                    _findings[own ? finding.Key : $"{name}.{finding.Key}"] = finding;
                    Problems.AddRange(finding.Problems.Except(Problems));
                    if (finding.Said is { } sentence)
                        Lines.Add(sentence);
                }
                if (!own)
                    _ofExtensions[name] = json;
            }
            catch (Exception e) when (e is not OutOfMemoryException && !(own && CanBeMended(e)))
            {
                Problems.Add($"The analysis {name} failed: {TorchSharpDefects.Message(e)}");
            }
        }

        /// <summary>Whether the options or files are wrong, which the caller is told by the exception itself.</summary>
        private static bool CanBeMended(Exception e) =>
            e
                is ArgumentException
                    or ConfigurationException
                    or InvalidDataException
                    or IOException
                    or UnauthorizedAccessException;

        public RunAnalysis Finish(Stopwatch clock)
        {
            _json["problems"] = Finding.ToJson(Problems, p => (JsonNode)p);
            if (_ofExtensions.Count > 0)
                _json["findings"] = _ofExtensions;
            _json["columns"] = new JsonObject(
                _findings
                    .Where(f => f.Value is { IsColumn: true, Data: null, Value: not null })
                    .Select(f =>
                        KeyValuePair.Create(
                            f.Key,
                            (JsonNode?)
                                new JsonObject
                                {
                                    ["title"] = f.Value.Heading,
                                    ["format"] = f.Value.Format,
                                    ["meaning"] = f.Value.Meaning,
                                }
                        )
                    )
            );
            _json["ranges"] = new JsonObject(
                _findings
                    .Where(f => f.Value.Range is not null)
                    .Select(f => KeyValuePair.Create(f.Key, (JsonNode?)f.Value.Range))
            );
            _json["seconds"] = Math.Round(clock.Elapsed.TotalSeconds, 3);
            return new()
            {
                Name = network.Name,
                Task = TaskName(network),
                Lines = Lines,
                Problems = Problems,
                Json = _json,
                Findings = _findings,
                Data = Page(network, this),
            };
        }
    }

    /// <summary>
    /// The numbers of a finished run: its analysis.json, which is made if it is missing, is damaged, is of another
    /// version, or is of other weights than the run's best.
    /// </summary>
    /// <param name="warn">Receives a sentence if a file is damaged or cannot be written.</param>
    /// <param name="making">Called when an analysis is made.</param>
    /// <exception cref="ConfigurationException">The folder is no run's, or has no checkpoint.</exception>
    /// <exception cref="InvalidDataException">result.json or the checkpoint is damaged.</exception>
    /// <exception cref="CheckpointException">All checkpoints of the run are damaged.</exception>
    /// <exception cref="IOException">They cannot be read.</exception>
    /// <exception cref="UnauthorizedAccessException">Likewise.</exception>
    public static JsonObject OfRun(string folder, Action<string> warn, Action? making = null)
    {
        var file = Path.Combine(folder, FileName);
        var known = Read(file, warn);
        var step = (long?)known?["step"];
        bool current = (int?)known?["version"] == Version;
        if (current && step is not null && step == new RunFolder(folder).ReadResult()?.BestStep)
            return known!;
        TrainedNetwork network;
        try
        {
            network = TrainedNetwork.Load(folder, warn: warn);
        }
        catch (ConfigurationException) when (known is not null)
        {
            // The checkpoints are gone, the numbers are kept.
            if (!current)
            {
                warn(
                    $"{file} is of another version of this program. Without a checkpoint it cannot be made again: the "
                        + "figures that it lacks are left out."
                );
            }
            return known;
        }
        using (network)
        {
            if (current && step == network.Step)
                return known!;
            making?.Invoke();
            var analysis = Of(network);
            try
            {
                analysis.WriteNumbers(folder);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                warn($"{file} cannot be written: {e.Message}");
            }
            return analysis.Json;
        }
    }

    /// <summary>What an analysis.json holds; null if it is not there or damaged.</summary>
    private static JsonObject? Read(string file, Action<string> warn)
    {
        if (!File.Exists(file))
            return null;
        try
        {
            var known = JsonText.Read<JsonObject>(file, "an analysis");
            _ = ((long?)known["step"], (int?)known["version"]);
            return known;
        }
        catch (Exception e) when (e is InvalidDataException or InvalidOperationException or FormatException)
        {
            warn($"{file} is damaged. It is made again.");
            return null;
        }
    }

    /// <summary>Writes analysis.json.</summary>
    /// <param name="folder">Where; made if it is not there.</param>
    /// <param name="prefix">Put before the file's name, if several networks share the folder.</param>
    /// <exception cref="IOException">It cannot be written.</exception>
    public void WriteNumbers(string folder, string prefix = "")
    {
        Directory.CreateDirectory(folder);
        AtomicFile.WriteText(Path.Combine(folder, prefix + FileName), Json.ToJsonString(OutputJson.Options) + "\n");
    }

    private static JsonObject Head(TrainedNetwork network) =>
        new()
        {
            ["version"] = Version,
            ["name"] = network.Name,
            ["weights"] = Path.GetFileName(network.File),
            ["task"] = TaskName(network),
            ["seed"] = network.Step is null ? null : network.Configuration.Seed,
            ["step"] = network.Step,
            ["hidden_size"] = network.HiddenSize,
            // What L2 is taken of: ½ weight_decay ‖θ‖² is its part of the objective.
            ["parameter_norm"] = Finding.ToJson(network.ParameterNorm),
        };

    private static ReportData Page(TrainedNetwork network, Collection found) =>
        new()
        {
            Name = network.Name,
            Task = TaskName(network),
            Seed = network.Step is null ? null : network.Configuration.Seed,
            HiddenSize = network.HiddenSize,
            Chance = Guessing.MeasureAccuracy(network.Configuration),
            Facts = NetworkFacts.Describe(network),
            Steps = network.Step,
            TestAccuracy = found.Findings.GetValueOrDefault("test_accuracy") is { Beats: true } accuracy
                ? accuracy.Value
                : null,
            Summary = found.Lines,
            Problems = found.Problems,
            Settings = [.. Settings("", JsonNode.Parse(network.Configuration.ToJson())!)],
            Training = network.Metrics,
            OnTokens = network.Transformer is not null,
            WeightsStandard = network.Transformer is null ? Matrices.Rows(network.Weights.WeightHh) : null,
            Circuit = found.Findings.Values.FirstOrDefault(f => f.Circuit is not null)?.Circuit,
            Figures = [.. found.Findings.Values.SelectMany(f => f.Figures)],
            Texts = [.. found.Findings.Values.Select(f => f.Text).OfType<ReportText>()],
        };

    private static string TaskName(TrainedNetwork network) =>
        network.Configuration.Task switch
        {
            { Id: { } id } => $"id ({string.Join(", ", id)})",
            { Terms: { } } => "sum of delayed permutations",
            { Matrix: { } } => "matrix",
            var task => task.Label,
        };

    private static IEnumerable<ReportSetting> Settings(string path, JsonNode? node)
    {
        if (node is JsonObject section)
        {
            foreach (var (key, value) in section)
            {
                foreach (var setting in Settings(path.Length == 0 ? key : $"{path}.{key}", value))
                    yield return setting;
            }
        }
        else
        {
            yield return new(path, node?.ToJsonString() ?? "null");
        }
    }
}
