using System.CommandLine;
using System.Text.Json.Nodes;
using EmtTorch.Configuration;
using EmtTorch.Settings;

namespace EmtTorch.Trainer;

/// <summary>`--extensions MyLab.dll`, for every command: tasks, memories and analyses of a user's own.</summary>
internal static class ExtensionsOption
{
    public static readonly Option<string[]> Option = new("--extensions")
    {
        Description = "Assemblies with further tasks, memories and analyses; runs remember them",
        HelpName = "FILE",
        Recursive = true,
        AllowMultipleArgumentsPerToken = false,
    };

    /// <summary>Loads them.</summary>
    /// <exception cref="Settings.ConfigurationException">One can't be.</exception>
    public static void Load(ParseResult parsed)
    {
        foreach (var file in parsed.GetValue(Option) ?? [])
            Extensions.Add(file);
    }

    /// <summary>The setting that makes runs remember them, where there are any.</summary>
    public static IEnumerable<string> Overrides(ParseResult parsed) =>
        parsed.GetValue(Option) is { Length: > 0 } files
            ? [$"extensions={new JsonArray([.. files.Select(f => (JsonNode)f)]).ToJsonString()}"]
            : [];
}
