using System.Globalization;
using EmtTorch.Training;
using Serilog;
using Serilog.Core;
using Serilog.Events;
using Serilog.Formatting.Display;
using Serilog.Formatting.Json;
using Spectre.Console;

namespace EmtTorch.Trainer;

/// <summary>What a person sees of a run: log lines, and below them, on a terminal, one live line of progress.</summary>
internal sealed class Screen(long steps) : ILogEventSink, IDisposable
{
    private static readonly MessageTemplateTextFormatter Line = new("{Timestamp:HH:mm:ss} {Message:lj}{NewLine}", CultureInfo.InvariantCulture);

    private readonly bool _live = !Console.IsOutputRedirected && AnsiConsole.Profile.Capabilities.Interactive;
    private string _progress = "";
    private long _nextPlainLine;

    public Logger Logger(string file) => new LoggerConfiguration()
        .WriteTo.Sink(this)
        .WriteTo.File(new JsonFormatter(renderMessage: true), file)
        .CreateLogger();

    public void Emit(LogEvent logEvent)
    {
        using var text = new StringWriter();
        Line.Format(logEvent, text);
        Clear();
        if (logEvent.Level >= LogEventLevel.Warning) Console.Error.Write(text);
        else Console.Out.Write(text);
        Draw();
    }

    public void Show(TrainingProgress progress)
    {
        var m = progress.Metrics;
        var left = progress.TimeLeft is { TotalDays: < 100 } t ? $", {Duration(t)} left" : "";
        var line = string.Create(CultureInfo.InvariantCulture,
            $"step {m.Step} of {steps}  loss {m.Loss:0.00000}  accuracy {m.Accuracy:0.000}  horizon {m.Horizon}  {m.StepsPerSecond:0.0} steps/s{left}");
        if (_live)
        {
            Clear();
            _progress = line;
            Draw();
        }
        else if (Environment.TickCount64 >= _nextPlainLine)
        {
            // In a file, a line every five seconds is enough.
            _nextPlainLine = Environment.TickCount64 + 5000;
            Console.WriteLine(line);
        }
    }

    public void Dispose() => Clear();

    private void Clear()
    {
        if (_live && _progress.Length > 0) Console.Out.Write("\r\u001b[2K");
    }

    private void Draw()
    {
        if (!_live || _progress.Length == 0) return;
        int width = Math.Max(20, AnsiConsole.Profile.Width - 1);
        AnsiConsole.Markup($"[teal]{Markup.Escape(_progress.Length > width ? _progress[..width] : _progress)}[/]");
    }

    private static string Duration(TimeSpan t) => t.TotalHours >= 1 ? $"{(int)t.TotalHours} h {t.Minutes} min" : t.TotalMinutes >= 1 ? $"{t.Minutes} min {t.Seconds} s" : $"{t.Seconds} s";
}
