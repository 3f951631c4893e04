using System.Globalization;

/// <summary>The command line: a command, then options with a value each, then what has no option's name.</summary>
internal sealed class Arguments
{
    private readonly Dictionary<string, string> _values = [];
    private readonly List<string> _rest = [];

    /// <param name="args">What follows the command.</param>
    /// <exception cref="ArgumentException">An option lacks its value.</exception>
    public Arguments(IReadOnlyList<string> args)
    {
        for (int i = 0; i < args.Count; i++)
        {
            if (!args[i].StartsWith("--", StringComparison.Ordinal))
                _rest.Add(args[i]);
            else if (args[i] == "--full")
                Full = true;
            else if (i + 1 < args.Count)
                _values[args[i][2..]] = args[++i];
            else
                throw new ArgumentException($"{args[i]} needs a value");
        }
    }

    /// <summary>Whether more rounds and whole runs are asked for.</summary>
    public bool Full { get; }

    /// <summary>What has no option's name.</summary>
    public IReadOnlyList<string> Rest => _rest;

    public string? Text(string name) => _values.GetValueOrDefault(name);

    public string Text(string name, string otherwise) => Text(name) ?? otherwise;

    public int Number(string name, int otherwise) =>
        Text(name) is { } text ? int.Parse(text, CultureInfo.InvariantCulture) : otherwise;

    public double Real(string name, double otherwise) =>
        Text(name) is { } text ? double.Parse(text, CultureInfo.InvariantCulture) : otherwise;

    /// <summary>Numbers between commas.</summary>
    public int[] Numbers(string name, params int[] otherwise) =>
        Text(name) is { } text
            ? [.. text.Split(',').Select(part => int.Parse(part, CultureInfo.InvariantCulture))]
            : otherwise;

    /// <summary>Words between commas.</summary>
    public string[] Words(string name, params string[] otherwise) => Text(name)?.Split(',') ?? otherwise;
}
