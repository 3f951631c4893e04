using System.Runtime.InteropServices;

namespace EmtTorch.Trainer;

/// <summary>
/// Turns Ctrl-C, SIGTERM and SIGHUP (a lost connection) into a cancelled token, so that checkpoints are written. A
/// second Ctrl-C ends the program at once. A signal that was ignored when the program was started, as by nohup, is left
/// so by .NET.
/// </summary>
internal sealed class Interruption : IDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly PosixSignalRegistration[] _signals;

    /// <param name="screen">Shows at once that the program is stopping, since a step or a test ends first.</param>
    /// <param name="first">What is done before the program ends.</param>
    public Interruption(Screen screen, string first = "each run writes a checkpoint first")
    {
        _stop.Token.Register(() => screen.Say($"Stopping: {first}. Ctrl-C once more ends at once."));
        _signals =
        [
            .. new[] { PosixSignal.SIGINT, PosixSignal.SIGTERM, PosixSignal.SIGHUP }.Select(signal =>
                PosixSignalRegistration.Create(signal, Interrupt)
            ),
        ];
    }

    public CancellationToken Token => _stop.Token;

    private void Interrupt(PosixSignalContext context)
    {
        // A second SIGTERM or SIGHUP is ignored: Slurm and others send it to a script and to its children, and the
        // script passes it on as well. Whoever wants a program to end at once sends SIGKILL.
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
