using System.Diagnostics;
using System.Globalization;
using System.Text.Json;

/// <summary>
/// Other processes, of this program among them: threads and what libraries read as they are loaded are settled once a
/// process.
/// </summary>
internal static class Child
{
    /// <summary>Runs this program with a command that prints one JSON line.</summary>
    /// <param name="arguments">The command and its options.</param>
    /// <param name="environment">Variables to set; null removes one.</param>
    public static T Measure<T>(
        IEnumerable<string> arguments,
        IReadOnlyDictionary<string, string?>? environment = null
    ) =>
        JsonSerializer.Deserialize<T>(Self(arguments, environment))
        ?? throw new InvalidOperationException("the process printed nothing");

    /// <summary>Runs this program; returns what it prints.</summary>
    /// <inheritdoc cref="Measure" path="/param"/>
    public static string Self(IEnumerable<string> arguments, IReadOnlyDictionary<string, string?>? environment = null)
    {
        string program = Environment.ProcessPath!;
        bool host = Path.GetFileNameWithoutExtension(program) == "dotnet";
        return Run(
            program,
            host ? [Path.Combine(AppContext.BaseDirectory, "Benchmarks.dll"), .. arguments] : [.. arguments],
            environment
        );
    }

    /// <summary>Runs a program; returns what it prints.</summary>
    /// <exception cref="InvalidOperationException">It failed.</exception>
    public static string Run(
        string program,
        string[] arguments,
        IReadOnlyDictionary<string, string?>? environment = null
    )
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (var (name, value) in environment ?? new Dictionary<string, string?>())
        {
            if (value is null)
                start.Environment.Remove(name);
            else
                start.Environment[name] = value;
        }

        using var process = Process.Start(start)!;
        var error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        if (process.ExitCode != 0)
        {
            throw new InvalidOperationException(
                $"{program} {string.Join(' ', arguments)} ended with exit code {process.ExitCode}: {error.Result}"
            );
        }

        return output;
    }

    /// <summary>A number as an argument.</summary>
    public static string Text(double value) => value.ToString(CultureInfo.InvariantCulture);
}
