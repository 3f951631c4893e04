using EmtTorch.Settings;
using EmtTorch.Tasks;
using EmtTorch.Training;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Runs;

/// <summary>
/// What a network knows of pairs that are the same in all documents of its run (<c>persistent</c> of segment_recall):
/// without any memory, and after a document that tells them.
/// </summary>
[Named("persistent_facts")]
internal sealed class PersistentFactsAnalysis : INetworkAnalysis
{
    private const int Documents = 128;

    public IEnumerable<Finding> Analyze(TrainedNetwork network, AnalysisOptions options)
    {
        if (
            network.Transformer is not { } transformer
            || network.Configuration.Task.Own is not SegmentRecallConfiguration { Persistent: > 0 } settings
        )
        {
            yield break;
        }
        int horizon = network.Configuration.Training.Curriculum.Horizons[^1];
        var task = (SegmentRecall)settings.ForRun(network.Configuration.Seed).Create(horizon, CPU);
        double Measure(bool wiped)
        {
            using var generator = new Generator(1, CPU);
            return PersistentFacts.MeasureAccuracy(transformer, task, Documents, generator, wiped);
        }
        yield return new("wiped", Measure(wiped: true))
        {
            Least = 0,
            Greatest = 1,
            Null = task.BestConstantAccuracy,
            Title = "facts without memory",
            Format = "P1",
            Meaning =
                "the share of the facts of all documents that slow weights answer, all memory wiped; beside it "
                + "that of one answer, always the same",
            Sentence =
                "Its slow weights know {0:P1} of the facts that are the same in all documents; one answer to "
                + "all of them is right in {1:P1}.",
        };
        yield return new("remembered", Measure(wiped: false))
        {
            Least = 0,
            Greatest = 1,
            Null = task.BestConstantAccuracy,
            Title = "facts with memory",
            Format = "P1",
            Meaning = "the same after a document that tells the facts",
        };
    }
}
