using System.Runtime.InteropServices;
using EmtTorch.Analysis;
using EmtTorch.Settings;
using EmtTorch.Studies;

namespace EmtTorch.Trainer;

/// <summary>How a command ends: its exit code, and the message where it isn't done.</summary>
internal static class Exit
{
    /// <summary>0 done, 1 the run failed, 2 the arguments or the configuration are wrong, 130 interrupted.</summary>
    public const int Done = 0,
        Failed = 1,
        Wrong = 2,
        Interrupted = 130;

    /// <summary>A command's work, and the exit code of what it throws.</summary>
    /// <param name="work">The work; its exit code.</param>
    /// <param name="what">What has the problems if there are some: "The sweep"; null for several kinds.</param>
    public static int Of(Func<int> work, string? what = null)
    {
        try
        {
            return work();
        }
        catch (ConfigurationException e)
        {
            var has =
                what is not null ? $"{what} has"
                : e.Problems.Count == 1 ? "There is"
                : "There are";
            Console.Error.WriteLine(e.Message.Replace("The configuration has", has, StringComparison.Ordinal));
            return Wrong;
        }
        catch (Exception e) when (e is GsemmDivergedException or TorchNotLoadedException || e.IsOfRun())
        {
            Console.Error.WriteLine(TorchSharpDefects.Message(e));
            return Failed;
        }
        catch (OperationCanceledException)
        {
            Console.Error.WriteLine("Interrupted.");
            return Interrupted;
        }
    }
}
