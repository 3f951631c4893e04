using System.Text.RegularExpressions;

namespace EmtTorch.Attack;

/// <summary>
/// What no attack may bring about. Each judgement gives a finding's sentence, or null where all is as it should be.
/// </summary>
internal static partial class Oracle
{
    /// <summary>Stack traces, crashes, hangs, and too much memory.</summary>
    public static string? Crash(VictimEnd end) =>
        end.Trouble is { } trouble ? trouble
        : Trace().Match(end.Text) is { Success: true } trace ? $"a stack trace: {FirstLine(end.Text, trace.Index)}"
        // 128 and SIGABRT, SIGSEGV and others of their kind.
        : end.Code is 131 or 132 or 134 or 135 or 136 or 139 ? $"a crash, exit code {end.Code}"
        : null;

    /// <summary>The exit code of a command that no signal ended.</summary>
    public static string? Code(VictimEnd end) =>
        end.Code is 0 or 1 or 2 ? null : $"exit code {end.Code}: 0, 1 or 2 is allowed";

    /// <summary>The exit code after a signal.</summary>
    /// <param name="end">The end.</param>
    /// <param name="signal">The signal's number.</param>
    /// <param name="training">Whether steps were being taken when it came.</param>
    public static string? CodeAfter(VictimEnd end, int signal, bool training)
    {
        if (signal == Victim.Kill)
            return end.Code == 128 + signal ? null : $"exit code {end.Code} after SIGKILL";
        // Before the first step the system's own answer to a signal is as good.
        bool asAllowed = end.Code == 130 || (!training && end.Code == 128 + signal);
        return asAllowed ? null : $"exit code {end.Code} after signal {signal}: 130 is allowed";
    }

    /// <summary>What is different in a folder from what undisturbed runs leave.</summary>
    public static string? Difference(Contents undisturbed, Contents found)
    {
        var all = undisturbed.Keys.Union(found.Keys).Order(StringComparer.Ordinal);
        var different = all.Where(k => undisturbed.GetValueOrDefault(k) != found.GetValueOrDefault(k)).ToList();
        if (different.Count == 0)
            return null;
        string Value(Contents contents, string key) => Shorten(contents.GetValueOrDefault(key, "nothing"));
        var first = different.Take(3).Select(k => $"{k}: {Value(found, k)}, undisturbed {Value(undisturbed, k)}");
        return $"{different.Count} differences: {string.Join("; ", first)}";
    }

    /// <summary>Whether what a command says names a file.</summary>
    public static bool Names(VictimEnd end, string file) =>
        // A name may be broken by the width of a terminal, so its beginning is enough.
        Path.GetFileName(file)
            is var name
        && end.Text.Contains(name, StringComparison.Ordinal);

    /// <summary>Whether something was written by a command that has refused its arguments.</summary>
    public static string? Written(VictimEnd end, IReadOnlySet<string> before, IReadOnlySet<string> after)
    {
        var written = before.Except(after).Concat(after.Except(before)).Take(3).ToList();
        return end.Code == 2 && written.Count > 0 ? $"exit code 2, but written: {string.Join(", ", written)}" : null;
    }

    public static string Shorten(string text, int length = 160)
    {
        var line = text.ReplaceLineEndings(" ");
        return line.Length <= length ? line : line[..length] + "…";
    }

    private static string FirstLine(string text, int index)
    {
        int start = text.LastIndexOf('\n', Math.Max(0, index - 2)) + 1;
        return Shorten(text[start..].TrimStart(), 240);
    }

    [GeneratedRegex(
        @"^\s+at [\w.<>`+\[\],]+\(.*\)|^Unhandled exception|^Stack overflow|^terminate called|Fatal error\.",
        RegexOptions.Multiline
    )]
    private static partial Regex Trace();
}
