using System.Globalization;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using EmtTorch;

/// <summary>
/// A part's results: rows as JSON, and the same as a Markdown table. The files of an earlier measurement stay until all
/// rows of this one are there.
/// </summary>
/// <param name="name">The rows' key.</param>
/// <param name="caption">What is measured.</param>
/// <param name="columns">A row's keys, and how each is shown.</param>
internal sealed class ResultTable(string name, string caption, IReadOnlyList<Column> columns)
{
    private static readonly JsonSerializerOptions Indented = new()
    {
        WriteIndented = true,
        NewLine = "\n",
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    private readonly JsonArray _rows = [];
    private readonly JsonObject _machine = Machine.Facts();

    /// <summary>Where the files go; null for none.</summary>
    public string? Json { get; init; }

    /// <inheritdoc cref="Json"/>
    public string? Markdown { get; init; }

    /// <summary>Prints the table's head.</summary>
    public void Begin() => Console.WriteLine(Head());

    /// <summary>Adds and prints a row.</summary>
    /// <param name="values">By the columns' keys; what has no column is in the JSON alone.</param>
    public void Add(JsonObject values)
    {
        _rows.Add(values);
        Console.WriteLine(Line(values));
    }

    /// <summary>Writes the files.</summary>
    public void Save()
    {
        Write(
            Json,
            () =>
                new JsonObject { ["machine"] = _machine.DeepClone(), [name] = _rows.DeepClone() }.ToJsonString(Indented)
        );
        Write(Markdown, ToMarkdown);
    }

    private string ToMarkdown() => string.Join("\n", _rows.Select(row => Line(row!.AsObject())).Prepend(Head()));

    private string Head() =>
        new StringBuilder(Machine.Sentence(_machine))
            .Append("\n\n")
            .Append(caption.Trim())
            .Append("\n\n| ")
            .AppendJoin(" | ", columns.Select(c => c.Header))
            .Append(" |\n|")
            .AppendJoin("|", columns.Select(c => c.Format is null ? "---" : "--:"))
            .Append('|')
            .ToString();

    private string Line(JsonObject row) => $"| {string.Join(" | ", columns.Select(c => c.Show(row[c.Key])))} |";

    private static void Write(string? path, Func<string> text)
    {
        if (path is null)
            return;
        Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
        AtomicFile.WriteText(path, text() + "\n");
    }
}

/// <summary>A column.</summary>
/// <param name="Key">The row's key.</param>
/// <param name="Header">What stands above it.</param>
/// <param name="Format">Of numbers; null for words.</param>
internal sealed record Column(string Key, string Header, string? Format = null)
{
    public string Show(JsonNode? value) =>
        value is null ? "–"
        : Format is null ? value.ToString()
        : double.Parse(value.ToJsonString(), CultureInfo.InvariantCulture)
            .ToString(Format, CultureInfo.InvariantCulture);
}

/// <summary>What a measurement depends on beside the program.</summary>
internal static class Machine
{
    public static JsonObject Facts()
    {
        var facts = new JsonObject
        {
            ["date"] = DateTime.UtcNow.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture),
            ["processor"] = Processor(),
            ["processors"] = Environment.ProcessorCount,
            ["system"] = RuntimeInformation.OSDescription,
            ["dotnet"] = Environment.Version.ToString(),
            ["vector_bits"] =
                Vector512.IsHardwareAccelerated ? 512
                : Vector256.IsHardwareAccelerated ? 256
                : 128,
            ["libtorch"] = TorchRuntime.TorchVersion,
            ["torchsharp"] = TorchRuntime.TorchSharpVersion,
        };
        if (Gpu() is { } gpu)
            facts["gpu"] = gpu;
        return facts;
    }

    public static string Sentence(JsonObject facts) =>
        $"Machine: {facts["processor"]}, {facts["processors"]} processors, {facts["vector_bits"]} bit vectors"
        + (facts["gpu"] is { } gpu ? $"; {gpu}" : "")
        + $"; .NET {facts["dotnet"]}; libtorch {facts["libtorch"]}, TorchSharp {facts["torchsharp"]}; {facts["date"]}.";

    private static string Processor() =>
        File.Exists("/proc/cpuinfo")
        && File.ReadLines("/proc/cpuinfo").FirstOrDefault(l => l.StartsWith("model name", StringComparison.Ordinal))
            is { } line
            ? line.Split(':', 2)[1].Trim()
            : "unknown";

    // TorchSharp does not say what a device is called.
    private static string? Gpu()
    {
        try
        {
            return Child.Run("nvidia-smi", ["--query-gpu=name", "--format=csv,noheader"]).Trim().Split('\n')[0];
        }
        catch (Exception e) when (e is InvalidOperationException or System.ComponentModel.Win32Exception)
        {
            return null;
        }
    }
}
