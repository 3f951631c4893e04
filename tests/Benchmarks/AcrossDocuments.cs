using EmtTorch.Configuration;
using EmtTorch.Models;
using EmtTorch.Tasks;
using EmtTorch.Training;
using TorchSharp;
using static TorchSharp.torch;

/// <summary>
/// Networks that learned segment recall with a store for each document, asked in one document for what another one
/// told: the pairs of a document's first segment, its questions in a document of
/// their own, and in between whole segments of pairs of other documents. With a store for each document, and with one
/// shared by all.
/// </summary>
internal static class AcrossDocuments
{
    private const int Trials = 64;

    /// <param name="runs">The runs' folders.</param>
    public static void Run(IEnumerable<string> runs)
    {
        foreach (var run in runs)
        {
            foreach (var scope in new[] { "document", "shared" })
            {
                foreach (int others in scope == "shared" ? new[] { 0, 3, 15 } : [0])
                {
                    Console.WriteLine(
                        FormattableString.Invariant(
                            $"{{ \"run\": \"{Path.GetFileName(run)}\", \"scope\": \"{scope}\", \"other_documents\": {others}, \"accuracy\": {Accuracy(run, scope, others):0.000} }}"
                        )
                    );
                }
            }
        }
    }

    private static double Accuracy(string run, string scope, int others)
    {
        using var everything = NewDisposeScope();
        using var quiet = no_grad();
        var configuration = ConfigurationFile.Load(
            Path.Combine(run, "config.json"),
            [$"model.retrieval.scope={scope}"]
        );
        var folder = new RunFolder(run);
        var recall = (SegmentRecallConfiguration)configuration.Task.Own!;
        // Pairs that are not asked for come from the same task's segments between: their keys are others.
        var task = (recall with { Distractors = others > 0 ? recall.Pairs : 0 }).Create(Math.Max(others, 1), CPU);
        using var network = new EpisodicTransformer(task.VocabularySize, configuration.Model);
        new CheckpointFolder(folder.Checkpoints, 1, keepBest: true)
            .FindLatest(Console.Error.WriteLine)!
            .File.RestoreInto(network);
        using var generator = new Generator(7);
        double right = 0,
            asked = 0;
        for (int trial = 0; trial < Trials; trial++)
        {
            using var inner = NewDisposeScope();
            foreach (var store in network.Stores!.Blocks)
                store.ForgetFrom(0);
            var document = task.Batch(1, generator);
            // Each segment of pairs as a document of its own.
            foreach (var segment in document.Take(1 + others))
                network.Stores.Close(network.Read(segment.Input).State.Documents.Generation);
            var questions = document[^1];
            var (hidden, state) = network.Read(questions.Input);
            network.Stores.Close(state.Documents.Generation);
            var places = questions.Target.ne(TokenBatch.Ignored);
            right += network.ReadOut(hidden).argmax(-1).eq(questions.Target).logical_and(places).sum().ToDouble();
            asked += places.sum().ToDouble();
        }
        return right / asked;
    }
}
