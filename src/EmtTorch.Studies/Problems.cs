using System.Runtime.InteropServices;
using EmtTorch.Settings;
using EmtTorch.Training;

namespace EmtTorch.Studies;

/// <summary>What can go wrong without a fault of this program.</summary>
internal static class Problems
{
    /// <summary>Adds a problem to those that are said at once.</summary>
    public static void Add(this ICollection<ConfigurationProblem> problems, string path, string message) =>
        problems.Add(new(path, message));

    /// <summary>Whether a run failed by its numbers, its files or its device, so that others can go on.</summary>
    public static bool IsOfRun(this Exception error) =>
        error
            is TrainingException
                or CheckpointException
                or InvalidDataException
                or IOException
                or UnauthorizedAccessException
                or ExternalException;
}
