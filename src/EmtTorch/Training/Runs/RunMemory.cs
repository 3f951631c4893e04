using System.Globalization;
using EmtTorch.Models;
using EmtTorch.Settings;
using EmtTorch.Tasks;

namespace EmtTorch.Training;

/// <summary>
/// What a network takes of the memory at least, against what this machine has. Only what is certain counts, so that
/// nothing that would fit is refused.
/// </summary>
internal static class RunMemory
{
    // Beyond this the kernel of the Elman network does not serve, and all hidden states are kept.
    private const double MostFusedStates = int.MaxValue / 8;

    /// <summary>Why runs cannot be trained here at the same time; null if they may fit.</summary>
    /// <param name="run">One of them.</param>
    /// <param name="atOnce">How many train at the same time.</param>
    /// <param name="machine">The bytes that there are; null: this machine's.</param>
    public static ConfigurationProblem? FindProblem(RunConfiguration run, int atOnce = 1, long? machine = null)
    {
        if (TorchRuntime.ResolveDevice(run.Device, out _).type != TorchSharp.DeviceType.CPU)
            return null; // a GPU's memory is its own, and libtorch does not say how large it is
        double all = machine ?? MachineBytes();
        var (training, test) = (run.Training, run.Evaluation);
        double weights = 4 * WeightBytes(run.Model, run.Task); // themselves, their gradients, Adam's two moments
        int horizon = training.Curriculum.Horizons[^1];
        var parts = new (string Path, string What, double Bytes)[]
        {
            ("model.hidden_size", $"found {run.Model.HiddenSize}", weights),
            (
                "training.batch_size",
                $"found {training.BatchSize} with training.curriculum.horizons up to {horizon}",
                weights + BatchBytes(run, training.BatchSize, horizon, learns: true)
            ),
            (
                "evaluation.batch_size",
                $"found {test.BatchSize} with evaluation.horizon {test.Horizon}",
                weights + BatchBytes(run, test.BatchSize, test.Horizon, learns: false)
            ),
        };
        foreach (var (path, what, bytes) in parts)
        {
            if (bytes > all)
                return new(path, $"{what}, which takes at least {Gigabytes(bytes)}: {Allowed(all)}");
        }
        double one = parts.Max(p => p.Bytes);
        return one * atOnce > all
            ? new("--jobs", $"{atOnce} runs at once take at least {Gigabytes(one * atOnce)}: {Allowed(all)}")
            : null;
    }

    /// <summary>Why some runs cannot be trained here. Those of one name differ in the seed alone.</summary>
    /// <param name="runs">The runs.</param>
    /// <param name="jobs">How many train at the same time, given one of them.</param>
    public static IEnumerable<ConfigurationProblem> FindProblems(
        IEnumerable<RunConfiguration> runs,
        Func<RunConfiguration, int> jobs
    ) =>
        runs.GroupBy(r => r.Name)
            .Select(seeds => FindProblem(seeds.First(), Math.Min(seeds.Count(), jobs(seeds.First()))))
            .OfType<ConfigurationProblem>()
            .Distinct();

    /// <summary>Why a text cannot be generated here; null if it may fit.</summary>
    /// <param name="model">The network.</param>
    /// <param name="tokens">The length of the text, from its beginning.</param>
    /// <param name="machine">The bytes that there are; null: this machine's.</param>
    public static string? FindProblem(ModelConfiguration model, long tokens, long? machine = null)
    {
        double all = machine ?? MachineBytes(),
            bytes = 8.0 * tokens + KeptBytes(model, tokens);
        return bytes > all ? $"{tokens} characters take at least {Gigabytes(bytes)}: {Allowed(all)}" : null;
    }

    /// <summary>The bytes of this machine's memory, or fewer if the process is in a group with a limit.</summary>
    public static long MachineBytes()
    {
        static IEnumerable<string> Lines(string file) => File.Exists(file) ? File.ReadLines(file) : [];
        // .NET's own number is three quarters of a group's limit.
        var total = Lines("/proc/meminfo").FirstOrDefault(l => l.StartsWith("MemTotal:", StringComparison.Ordinal));
        long least = total is null
            ? GC.GetGCMemoryInfo().TotalAvailableMemoryBytes
            : 1024 * long.Parse(total.Split(' ')[^2], CultureInfo.InvariantCulture);
        foreach (var group in Lines("/proc/self/cgroup"))
        {
            if (group.Split(':', 3) is not [_, var kinds, var name])
                continue;
            if (kinds.Length == 0)
                least = Math.Min(least, GroupBytes("/sys/fs/cgroup", name, "memory.max"));
            else if (kinds.Split(',').Contains("memory"))
                least = Math.Min(least, GroupBytes("/sys/fs/cgroup/memory", name, "memory.limit_in_bytes"));
        }
        return least;
    }

    /// <summary>The smallest limit of a group and of those that it is in.</summary>
    private static long GroupBytes(string root, string name, string file)
    {
        long least = long.MaxValue;
        for (var at = name; at is not null; at = Path.GetDirectoryName(at))
        {
            var limit = Path.Combine(root, at.TrimStart('/'), file);
            if (File.Exists(limit) && long.TryParse(File.ReadAllText(limit), out long bytes))
                least = Math.Min(least, bytes);
        }
        return least;
    }

    private static double WeightBytes(ModelConfiguration model, TaskConfiguration task)
    {
        double h = model.HiddenSize;
        double count = model.IsTransformer
            ? model.Layers * ((model.Attention ? 3 * h * h : 0) + 2 * h * (model.FeedForwardSize ?? 4 * h))
            : h * h + 2 * h * (task.HasHistory ? task.D : 1);
        return count * SizeOf(model);
    }

    private static double BatchBytes(RunConfiguration run, double batch, int horizon, bool learns)
    {
        var (model, task) = (run.Model, run.Task);
        double size = SizeOf(model);
        if (task.IsOnTokens)
        {
            double tokens = task.TokensAt(horizon),
                all = batch * tokens;
            if (task.Own is TextConfiguration text && !learns)
                all = Math.Min(all, InputFile.Length(text.Path)); // a test reads its part of the text at most once
            // A slice of the batch is one document at least. Tokens and targets are of 8 bytes.
            return 16 * all + KeptBytes(model, tokens);
        }
        double d = task.HasHistory ? task.D : 1,
            s = task.HasHistory ? task.S : 0,
            steps = s + horizon,
            states = steps * batch * model.HiddenSize;
        // The continuation of a linear task is computed by a matrix, of which there are two in float64 for a while.
        double matrix = task.IsLinearBinding ? 16 * horizon * d * s * d : 0;
        double kept = states > MostFusedStates ? (learns ? 2 : 1) * states * size : 0;
        return Math.Max(matrix, steps * batch * d * size + kept);
    }

    /// <summary>The keys and values of a document that attention still sees.</summary>
    private static double KeptBytes(ModelConfiguration model, double tokens) =>
        model.Attention
            ? 2.0 * model.Layers * model.HiddenSize * Math.Min(tokens, model.Window ?? tokens) * SizeOf(model)
            : 0;

    private static int SizeOf(ModelConfiguration model) => model.Dtype == "float64" ? 8 : 4;

    private static string Allowed(double all) => $"allowed here: {Gigabytes(all)}, the memory of this machine";

    private static string Gigabytes(double bytes) =>
        string.Create(CultureInfo.InvariantCulture, $"{bytes / (1 << 30):0.#} GiB");
}
