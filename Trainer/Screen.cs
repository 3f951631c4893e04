using System.Globalization;
using EmtTorch.Studies;
using EmtTorch.Training;
using Serilog;
using Serilog.Core;
using Serilog.Debugging;
using Serilog.Events;
using Serilog.Formatting.Display;
using Serilog.Formatting.Json;
using Spectre.Console;

namespace EmtTorch.Trainer;

/// <summary>
/// Shows runs on the console: log lines and, on a terminal, one live line of progress below them. Several runs share
/// one screen, each with its label. It may be used from several threads.
/// </summary>
internal sealed class Screen : IDisposable
{
    private static readonly MessageTemplateTextFormatter Line = new(
        "{Timestamp:HH:mm:ss} {Message:lj}{NewLine}",
        CultureInfo.InvariantCulture
    );

    /// <summary>The narrowest terminal, in characters, that has a live line.</summary>
    private const int Narrowest = 20;

    private readonly bool _live =
        !Console.IsOutputRedirected
        && AnsiConsole.Profile is { Width: > Narrowest, Capabilities: { Ansi: true, Interactive: true } };
    private readonly Lock _lock = new();
    private readonly SortedDictionary<string, Running> _running = new(StringComparer.Ordinal);
    private readonly Dictionary<string, long> _nextPlainLine = [];
    private bool _drawn,
        _toldOfLog;

    public Screen() => SelfLog.Enable(TellOfLog);

    /// <summary>A run's logger, which writes to this screen, after the label, and to a file.</summary>
    /// <param name="label">What tells the run from others; empty for a single run.</param>
    /// <param name="file">The log's file, JSON lines.</param>
    /// <param name="verbose">Whether it writes to the screen at all.</param>
    public Logger Logger(string label, string file, bool verbose = true) =>
        new LoggerConfiguration()
            .WriteTo.Conditional(_ => verbose, screen => screen.Sink(new Sink(this, label)))
            .WriteTo.File(new JsonFormatter(renderMessage: true), RunFolder.NotALink(file))
            .CreateLogger();

    /// <summary>A queue whose runs this screen shows.</summary>
    /// <param name="label">What tells a run from the others; empty for a single run.</param>
    /// <param name="verbose">Whether the runs' own log lines are shown, besides going to their files.</param>
    public RunQueue Queue(Func<RunConfiguration, string> label, bool verbose = true) =>
        new()
        {
            Log = (run, folder) => Logger(label(run), folder.LogFile, verbose),
            Progress = (run, progress) => Show(label(run), run.Training.Steps, progress, brief: !verbose),
            Over = run => End(label(run)),
            Skipped = verbose ? text => Say(text) : null,
            Warn = Warn,
        };

    /// <summary>Shows how far a run is.</summary>
    /// <param name="label">What tells the run from others; empty for a single run.</param>
    /// <param name="steps">The number of steps that it takes.</param>
    /// <param name="progress">How far it is.</param>
    /// <param name="brief">
    /// If the output is not a terminal, whether a line is written once a minute, the first after a minute, in place of
    /// every five seconds.
    /// </param>
    public void Show(string label, long steps, TrainingProgress progress, bool brief = false)
    {
        var m = progress.Metrics;
        double percent = 100.0 * m.Step / steps;
        var left = Left(progress.TimeLeft, progress.LongestTimeLeft);
        var line =
            label.Length > 0 && _live
                ? string.Create(
                    CultureInfo.InvariantCulture,
                    $"{label}: {percent:0} %  accuracy {m.Accuracy:0.000}{left}"
                )
                : string.Create(
                    CultureInfo.InvariantCulture,
                    $"{Prefix(label)}step {m.Step} of {steps}  loss {m.Loss:0.00000}  accuracy {m.Accuracy:0.000}  "
                        + $"horizon {m.Horizon}  {m.StepsPerSecond:0.0} steps/s{left}"
                );
        lock (_lock)
        {
            if (_live)
            {
                Clear();
                _running[label] = new(line, percent, m.Accuracy, progress.TimeLeft, progress.LongestTimeLeft);
                Draw();
            }
            else
            {
                long now = Environment.TickCount64,
                    pause = brief ? 60_000 : 5_000;
                if (!_nextPlainLine.TryGetValue(label, out long next))
                    _nextPlainLine[label] = next = brief ? now + pause : now;
                if (now < next)
                    return;
                _nextPlainLine[label] = now + pause;
                Console.WriteLine(line);
            }
        }
    }

    /// <summary>Writes a line above the progress.</summary>
    public void Say(string text, bool warning = false)
    {
        lock (_lock)
        {
            Clear();
            (warning ? Console.Error : Console.Out).WriteLine(text);
            Draw();
        }
    }

    public void Warn(string text) => Say($"Warning: {text}", warning: true);

    /// <summary>The run is over: its progress is no longer shown.</summary>
    public void End(string label)
    {
        lock (_lock)
        {
            Clear();
            _running.Remove(label);
            Draw();
        }
    }

    public void Dispose()
    {
        SelfLog.Disable();
        lock (_lock)
            Clear();
    }

    /// <summary>Says once that a log cannot be written, since the next line can't be either.</summary>
    private void TellOfLog(string problem)
    {
        if (!Interlocked.Exchange(ref _toldOfLog, true))
            Warn($"a run's log.jsonl is not complete: {problem.Split('\n')[0].Trim()}");
    }

    private static string Prefix(string label) => label.Length == 0 ? "" : label + ": ";

    private void Write(string label, LogEvent logEvent)
    {
        using var text = new StringWriter();
        Line.Format(logEvent, text);
        // After the time of day.
        if (label.Length > 0)
            text.GetStringBuilder().Insert(9, Prefix(label));
        lock (_lock)
        {
            Clear();
            if (logEvent.Level >= LogEventLevel.Warning)
                Console.Error.Write(text);
            else
                Console.Out.Write(text);
            Draw();
        }
    }

    private void Clear()
    {
        if (_drawn)
            PlainWriter.Terminal.Write("\r\u001b[2K");
        _drawn = false;
    }

    private void Draw()
    {
        if (!_live || _running.Count == 0)
            return;
        int width = AnsiConsole.Profile.Width - 1;
        var line = string.Join("   ", _running.Values.Select(r => r.Line));
        if (line.Length > width && _running.Count > 1)
            line = Together(_running.Values);
        line = Cut(PlainWriter.Plain(line), width);
        bool colours = AnsiConsole.Profile.Capabilities.ColorSystem != ColorSystem.NoColors;
        PlainWriter.Terminal.Write(colours ? $"\u001b[36m{line}\u001b[0m" : line); // teal
        _drawn = true;
    }

    /// <summary>As much of a line as fits: whole figures, which two spaces part, or else whole words.</summary>
    internal static string Cut(string line, int width)
    {
        if (line.Length <= width)
            return line;
        int end = line.LastIndexOf("  ", Math.Clamp(width + 1, 0, line.Length - 1), StringComparison.Ordinal);
        if (end <= 0)
            end = line.LastIndexOf(' ', Math.Max(0, width));
        return line[..Math.Max(0, end)].TrimEnd();
    }

    /// <summary>One line for more runs than the screen is wide: the range of their progress.</summary>
    private static string Together(ICollection<Running> runs)
    {
        string Span(Func<Running, double> of, string format)
        {
            var ends = new[] { runs.Min(of), runs.Max(of) }
                .Select(v => v.ToString(format, CultureInfo.InvariantCulture))
                .Distinct();
            return string.Join(" to ", ends);
        }
        var (percent, accuracy) = (Span(r => r.Percent, "0"), Span(r => r.Accuracy, "0.000"));
        var left = Left(runs.Max(r => r.Left), runs.Max(r => r.Longest));
        return $"{runs.Count} runs: {percent} %  accuracy {accuracy}{left}";
    }

    private static string Left(TimeSpan? least, TimeSpan? most)
    {
        if (least is not { TotalDays: < 100 } t)
            return "";
        var (from, to) = (Duration(t), most is { TotalDays: < 100 } longest ? Duration(longest) : "more");
        return from == to ? $", {from} left" : $", {from} to {to} left";
    }

    /// <summary>A run that is being trained, with its line.</summary>
    private sealed record Running(string Line, double Percent, double Accuracy, TimeSpan? Left, TimeSpan? Longest);

    private sealed class Sink(Screen screen, string label) : ILogEventSink
    {
        public void Emit(LogEvent logEvent) => screen.Write(label, logEvent);
    }

    public static string Duration(TimeSpan t) =>
        t.TotalHours >= 1 ? $"{(int)t.TotalHours} h {t.Minutes} min"
        : t.TotalMinutes >= 1 ? $"{t.Minutes} min {t.Seconds} s"
        : $"{t.Seconds} s";
}
