using System.Runtime.InteropServices;
using EmtTorch.Configuration;
using EmtTorch.Settings;
using EmtTorch.Training;

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
        Extensions.FindThrower(error) is { } thrower
            ? Extensions.Describe(thrower, error)
            : TorchSharpDefects.Message(error);
}
