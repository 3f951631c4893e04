using System.Runtime.InteropServices;
using EmtTorch.Configuration;
using EmtTorch.Settings;
using EmtTorch.Training;
using Serilog;
using Serilog.Debugging;

namespace EmtTorch.Studies;

/// <summary>Problems that are not faults of this program.</summary>
internal static class Problems
{
    /// <summary>Adds a problem to those that are reported together.</summary>
    public static void Add(this ICollection<ConfigurationProblem> problems, string path, string message) =>
        problems.Add(new(path, message));

    /// <summary>
    /// Whether a run failed by its numbers, its files, its device or the code of an extension, so that other runs can
    /// go on.
    /// </summary>
    public static bool IsOfRun(this Exception error) =>
        error
            is TrainingException
                or CheckpointException
                or InvalidDataException
                or IOException
                or UnauthorizedAccessException
                or ExternalException
        || Extensions.FindThrower(error) is not null;

    /// <summary>Why a run failed, in words. An extension's exception is named with the class that threw it.</summary>
    public static string Explain(this Exception error) =>
        Extensions.FindThrower(error) is { } thrower ? Extensions.Describe(thrower, error)
        : error is ConfigurationException { Problems: var problems } ? string.Join("; ", problems)
        : TorchSharpDefects.Message(error);

    /// <summary>
    /// Closes a log. If its last lines cannot be written, that is no failure of its run: Serilog's own log has it.
    /// </summary>
    public static void Close(this ILogger log)
    {
        try
        {
            (log as IDisposable)?.Dispose();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            SelfLog.WriteLine("A log cannot be closed: {0}", e.Message);
        }
    }
}
