using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;

namespace EmtTorch.Attack;

/// <summary>What a process that was attacked came to.</summary>
/// <param name="Code">Its exit code.</param>
/// <param name="Text">What it wrote, output and errors.</param>
/// <param name="Trouble">Why it had to be ended: it hung, or took too much memory. Null if it ended by itself.</param>
internal sealed record VictimEnd(int Code, string Text, string? Trouble);

/// <summary>How a victim is started.</summary>
/// <param name="Folder">The working folder.</param>
/// <param name="Arguments">The program's arguments.</param>
internal sealed record VictimStart(string Folder, IReadOnlyList<string> Arguments)
{
    /// <summary>A shell's script around the program, which is "$@" there; null: there is no shell.</summary>
    public string? Shell { get; init; }

    /// <summary>The command line, as a person would type it.</summary>
    public string Line => (Shell is null ? "" : $"sh -c '{Shell}' sh ") + "Trainer " + string.Join(' ', Quoted());

    private IEnumerable<string> Quoted() =>
        Arguments.Select(a =>
            a.Length > 200 ? $"'{a[..40]}…' ({a.Length} characters)"
            : a.Length == 0 || a.Any(c => !char.IsLetterOrDigit(c) && !"-_./=:,".Contains(c)) ? $"'{a}'"
            : a
        );
}

/// <summary>
/// The program under attack, as a process. It has a session and a group of its own, so that signals can go to the
/// whole group, and signals' default actions, whatever this program was started with.
/// </summary>
internal sealed class Victim : IDisposable
{
    public const int Hangup = 1,
        Interrupt = 2,
        Kill = 9,
        Terminate = 15;

    /// <summary>More memory than any attack should take, in MB.</summary>
    public static long MemoryLimit { get; set; } = 4096;

    private readonly Process _process;
    private readonly StringBuilder _text = new();
    private readonly Task _reading;

    private Victim(ProcessStartInfo start)
    {
        _process = Process.Start(start)!;
        _process.StandardInput.Close();
        _reading = Task.WhenAll(Read(_process.StandardOutput), Read(_process.StandardError));
    }

    /// <summary>The program and the arguments before an attack's own: `dotnet Trainer.dll`.</summary>
    public static IReadOnlyList<string> Program { get; set; } =
    ["dotnet", Path.Combine(AppContext.BaseDirectory, "Trainer.dll")];

    public static Victim Start(VictimStart start)
    {
        string[] all =
        [
            "env",
            "--default-signal=HUP,INT,TERM,PIPE",
            .. start.Shell is null ? [] : new[] { "sh", "-c", start.Shell, "sh" },
            .. Program,
            .. start.Arguments,
        ];
        var info = new ProcessStartInfo("setsid", all)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            RedirectStandardInput = true,
            WorkingDirectory = start.Folder,
        };
        info.Environment["DOTNET_TieredPGO"] = "0";
        info.Environment["DOTNET_NOLOGO"] = "1";
        return new(info);
    }

    /// <summary>Runs it to its end.</summary>
    /// <param name="start">How it is started.</param>
    /// <param name="seconds">After which it hangs.</param>
    public static VictimEnd Run(VictimStart start, double seconds)
    {
        using var victim = Start(start);
        return victim.End(seconds, "end");
    }

    public bool HasEnded => _process.HasExited;

    /// <summary>The time of processors that all its processes have used.</summary>
    public TimeSpan Worked
    {
        get
        {
            var all = Process.GetProcesses();
            var worked = all.Where(p => p.SessionId == _process.Id).Select(TimeOf).ToList();
            foreach (var process in all)
                process.Dispose();
            return worked.Aggregate(TimeSpan.Zero, (sum, time) => sum + time);

            static TimeSpan TimeOf(Process process)
            {
                try
                {
                    return process.TotalProcessorTime;
                }
                catch (InvalidOperationException)
                {
                    return default; // it has ended
                }
            }
        }
    }

    /// <summary>What it has written so far.</summary>
    public string Text
    {
        get
        {
            lock (_text)
                return _text.ToString();
        }
    }

    /// <summary>Sends a signal.</summary>
    /// <param name="signal">Its number.</param>
    /// <param name="group">Whether the whole group gets it.</param>
    public void Signal(int signal, bool group) => _ = kill(group ? -_process.Id : _process.Id, signal);

    /// <summary>Waits for its end, and that of all processes it started.</summary>
    /// <param name="seconds">After which it is killed.</param>
    /// <param name="what">What it should have done, for the trouble: "end after SIGTERM".</param>
    public VictimEnd End(double seconds, string what)
    {
        var clock = Stopwatch.StartNew();
        string? trouble = null;
        int ticks = 0;
        while (!_process.WaitForExit(20) || kill(-_process.Id, 0) == 0 || !_reading.IsCompleted)
        {
            if (ticks++ % 8 == 0 && Memory() is var memory && memory > MemoryLimit)
                trouble = $"took {memory} MB of memory";
            else if (clock.Elapsed.TotalSeconds > seconds)
                trouble = string.Create(CultureInfo.InvariantCulture, $"no {what} within {seconds} s");
            if (trouble is null)
                continue;
            Signal(Kill, group: true);
            _process.WaitForExit(5000);
            _reading.Wait(2000);
            break;
        }
        return new(_process.HasExited ? _process.ExitCode : -1, Text, trouble);
    }

    public void Dispose()
    {
        Signal(Kill, group: true);
        _process.Dispose();
    }

    private async Task Read(StreamReader stream)
    {
        var buffer = new char[4096];
        for (int n; (n = await stream.ReadAsync(buffer)) > 0; )
        {
            lock (_text)
            {
                if (_text.Length < 1 << 20)
                    _text.Append(buffer, 0, n);
            }
        }
    }

    private long Memory()
    {
        try
        {
            _process.Refresh();
            return _process.WorkingSet64 >> 20;
        }
        catch (InvalidOperationException)
        {
            return 0; // it has ended
        }
    }

    [DllImport("libc")]
    private static extern int kill(int process, int signal);
}
