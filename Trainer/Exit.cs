using System.Diagnostics;
using EmtTorch.Analysis;
using EmtTorch.Settings;
using EmtTorch.Studies;

namespace EmtTorch.Trainer;

/// <summary>How a command ends: its exit code, and a message if it is not done.</summary>
internal static class Exit
{
    /// <summary>0 done, 1 the run failed, 2 the arguments or the configuration are wrong, 130 interrupted.</summary>
    public const int Done = 0,
        Failed = 1,
        Wrong = 2,
        Interrupted = 130;

    /// <summary>Does a command's work, and turns what it throws into a message and an exit code.</summary>
    /// <param name="work">The work, which returns its exit code.</param>
    /// <param name="subject">What has the problems if there are some: "The sweep"; null for several kinds.</param>
    public static int Of(Func<int> work, string? subject = null)
    {
        try
        {
            return work();
        }
        catch (ConfigurationException e)
        {
            int count = e.Problems.Count;
            var start =
                subject is not null ? $"{subject} has"
                : count == 1 ? "There is"
                : "There are";
            Console.Error.WriteLine($"{start} {(count == 1 ? "a problem" : $"{count} problems")}:");
            foreach (var line in e.Lines)
                Console.Error.WriteLine($"  {line}");
            return Wrong;
        }
        catch (Exception e) when (e is GsemmDivergedException or TorchNotLoadedException || e.IsOfRun())
        {
            Console.Error.WriteLine(e.Explain());
            return Failed;
        }
        catch (OperationCanceledException)
        {
            Console.Error.WriteLine("Interrupted.");
            return Interrupted;
        }
        catch (OutOfMemoryException e)
        {
            Console.Error.WriteLine($"This takes more memory than there is: {e.Message}");
            return Failed;
        }
        catch (Exception e)
        {
            // Nothing is known of it. The place helps whoever looks for the fault; a stack trace helps no user.
            var place = new StackTrace(e).GetFrame(0)?.GetMethod();
            Console.Error.WriteLine(
                $"{e.GetType().Name}, which should not happen, in {place?.DeclaringType}.{place?.Name}: {e.Message}"
            );
            return Failed;
        }
    }
}
