using System.Runtime.InteropServices;

namespace EmtTorch.Trainer;

/// <summary>
/// Turns Ctrl-C and SIGTERM into a token, so that a checkpoint is written; Ctrl-C once more ends the program at once.
/// </summary>
internal sealed class Interruption : IDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly PosixSignalRegistration[] _signals;

    /// <param name="screen">Where it is said at once: a step or a test goes on to its end first.</param>
    /// <param name="first">What is done before the end.</param>
    public Interruption(Screen screen, string first = "each run writes a checkpoint first")
    {
        _stop.Token.Register(() => screen.Say($"Stopping: {first}. Ctrl-C once more ends at once."));
        _signals =
        [
            .. new[] { PosixSignal.SIGINT, PosixSignal.SIGTERM }.Select(signal =>
                PosixSignalRegistration.Create(signal, Interrupt)
            ),
        ];
    }

    public CancellationToken Token => _stop.Token;

    private void Interrupt(PosixSignalContext context)
    {
        // Only a person presses twice in impatience. Slurm and others send SIGTERM to a script and to its children
        // alike, and the script passes its own on; what must end at once gets SIGKILL.
        if (_stop.IsCancellationRequested && context.Signal == PosixSignal.SIGINT)
            return;
        context.Cancel = true;
        _stop.Cancel();
    }

    public void Dispose()
    {
        foreach (var signal in _signals)
            signal.Dispose();
        _stop.Dispose();
    }
}
