using System.CommandLine;
using System.Text.Json.Nodes;
using EmtTorch.Configuration;
using EmtTorch.Settings;

namespace EmtTorch.Trainer;

/// <summary>
/// The option `--extensions MyLab.dll` of every command, for a user's own tasks, memories and analyses.
/// </summary>
internal static class ExtensionsOption
{
    public static readonly Option<string[]> Option = new("--extensions")
    {
        Description = "Assemblies with further tasks, memories and analyses; runs remember them",
        HelpName = "FILE",
        Recursive = true,
        AllowMultipleArgumentsPerToken = false,
    };

    /// <summary>Adds the assemblies.</summary>
    /// <exception cref="ConfigurationException">One of them can't be added.</exception>
    public static void Load(ParseResult parsed)
    {
        foreach (var file in parsed.GetValue(Option) ?? [])
            Extensions.Add(file);
    }

    /// <summary>The override by which runs remember the assemblies; nothing if there are none.</summary>
    public static IEnumerable<string> Overrides(ParseResult parsed) =>
        parsed.GetValue(Option) is { Length: > 0 } files
            ? [$"extensions={new JsonArray([.. files.Select(f => (JsonNode)f)]).ToJsonString()}"]
            : [];
}
