using System.Diagnostics;

namespace EmtTorch.Tests;

/// <summary>A program that a test runs, as a user would, and what came of it.</summary>
internal sealed class Command : IDisposable
{
    /// <summary>Trainer, built beside the tests.</summary>
    public static readonly string TrainerFile = Path.Combine(TestContext.CurrentContext.TestDirectory, "Trainer.dll");

    /// <summary>The exit code of a process that was killed: 128 and the signal's number.</summary>
    public const int Killed = 128 + 9;

    private readonly Process _process;
    private readonly Task<string> _output,
        _error;

    private Command(ProcessStartInfo start)
    {
        _process = Process.Start(start)!;
        // Both at once, since a full pipe would stop it.
        (_output, _error) = (_process.StandardOutput.ReadToEndAsync(), _process.StandardError.ReadToEndAsync());
    }

    /// <param name="folder">The working directory.</param>
    public static Command Start(
        string folder,
        string program,
        IEnumerable<string> arguments,
        params (string Name, string Value)[] environment
    )
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            RedirectStandardInput = true,
            WorkingDirectory = folder,
        };
        foreach (var (name, value) in environment)
            start.Environment[name] = value;
        return new(start);
    }

    public static Command StartTrainer(string folder, params string[] arguments) =>
        Start(folder, "dotnet", [TrainerFile, .. arguments]);

    public static (int Code, string Output, string Error) RunTrainer(string folder, params string[] arguments)
    {
        using var trainer = StartTrainer(folder, arguments);
        return trainer.End();
    }

    public bool HasEnded => _process.HasExited;

    /// <param name="signals">INT, TERM and so on, one right after the other.</param>
    public void Signal(params string[] signals)
    {
        using var kill = Start("/", "sh", ["-c", string.Join("; ", signals.Select(s => $"kill -{s} {_process.Id}"))]);
        kill.End();
    }

    public void Kill()
    {
        _process.Kill();
        _process.WaitForExit();
    }

    /// <summary>Waits for its end.</summary>
    /// <param name="limit">After which it is killed, and the test fails; null: ten minutes.</param>
    /// <param name="help">Put behind that failure.</param>
    public (int Code, string Output, string Error) End(TimeSpan? limit = null, Func<string>? help = null)
    {
        if (!_process.WaitForExit(limit ?? TimeSpan.FromMinutes(10)))
        {
            Kill();
            Assert.Fail(
                $"{_process.StartInfo.FileName} {string.Join(' ', _process.StartInfo.ArgumentList)} does not "
                    + $"end.\n{help?.Invoke()}"
            );
        }
        return (_process.ExitCode, _output.Result, _error.Result);
    }

    public void Dispose() => _process.Dispose();
}
