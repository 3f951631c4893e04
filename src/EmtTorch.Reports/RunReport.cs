using EmtTorch.Analysis;
using EmtTorch.Analysis.Runs;

namespace EmtTorch.Reports;

/// <summary>The files that an analysis leaves.</summary>
public static class RunReport
{
    /// <summary>Writes analysis.json and report.html.</summary>
    /// <param name="analysis">The analysis.</param>
    /// <param name="folder">Where; made if it is not there.</param>
    /// <param name="prefix">Before the files' names, where several networks share the folder.</param>
    /// <returns>The report's path.</returns>
    /// <exception cref="IOException">They can't be written.</exception>
    /// <example><code>
    /// using var network = TrainedNetwork.Load("runs/t1/seed-1");
    /// var page = RunReport.Write(RunAnalysis.Of(network), network.Folder);
    /// </code></example>
    public static string Write(RunAnalysis analysis, string folder, string prefix = "")
    {
        analysis.WriteNumbers(folder, prefix);
        var report = Path.Combine(folder, prefix + "report.html");
        AtomicFile.WriteText(report, ReportPage.Render(analysis.Data));
        return report;
    }
}
