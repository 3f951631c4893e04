using EmtTorch.Configuration;
using EmtTorch.Kernels;
using EmtTorch.Memory;
using EmtTorch.Models;
using EmtTorch.Tasks;
using EmtTorch.Training;
using TorchSharp;
using static TorchSharp.torch;

/// <summary>
/// Work whose speed depends on what libtorch's OpenMP threads do between two operators. One side: the settings are a
/// process's.
/// </summary>
internal static class ThreadChoice
{
    public static readonly string[] Works = ["segment_recall", "elman", "scan", "chunks", "nn.RNN"];

    /// <param name="work">One of <see cref="Works"/>.</param>
    /// <param name="rounds">Stretches.</param>
    /// <param name="seconds">How long a stretch is.</param>
    /// <returns>Calls a second by round.</returns>
    public static Dictionary<string, double[]> Measure(string work, int rounds, double seconds)
    {
        using var everything = NewDisposeScope();
        using var generator = new Generator(0);
        Action step = work switch
        {
            "segment_recall" => Transformer(["training.curriculum.horizons=[3]"], generator),
            "elman" => Elman(generator),
            "scan" => Scan(kernels: true),
            "chunks" => Scan(kernels: false),
            "nn.RNN" => Rnn(generator),
            _ => throw new ArgumentException($"there is no work '{work}'"),
        };
        return new() { [work] = InTurn.Rates([step], rounds, seconds, CPU)[0] };
    }

    // What a run of configs/segment_recall.json does in a step.
    private static Action Transformer(string[] settings, Generator generator)
    {
        var configuration = ConfigurationFile.Load(Path.Combine("configs", "segment_recall.json"), settings);
        var learner = Learner.Create(configuration, CPU);
        var parameters = learner.Network.parameters().ToArray();
        var adam = new ClippedAdam(optim.Adam(parameters, 1e-3), parameters);
        return () =>
        {
            learner.ComputeGradients(configuration.Training.Curriculum.Horizons[0], generator);
            adam.Step(1);
        };
    }

    private static Action Elman(Generator generator)
    {
        var task = new VariableBinding(LinearBinding.RepeatCopy(8, 8), ScalarType.Float32, CPU);
        var network = new ElmanRnn(8, 128);
        var adam = new ClippedAdam(optim.Adam(network.parameters(), 1e-3), network.parameters());
        return () =>
        {
            using var scope = NewDisposeScope();
            var (input, target) = task.Batch(64, 100, generator);
            network.Score(input, target, from: 8, gradients: true);
            adam.Step(1);
        };
    }

    private static Action Rnn(Generator generator)
    {
        var task = new VariableBinding(LinearBinding.RepeatCopy(8, 8), ScalarType.Float32, CPU);
        var network = new TorchRnn(8, 128, CPU);
        return () =>
        {
            using var scope = NewDisposeScope();
            var (input, target) = task.Batch(64, 100, generator);
            network.Step(input, target);
        };
    }

    private static Action Scan(bool kernels)
    {
        Simd.Used = kernels;
        var inputs = ScanRates.Inputs(new(WriteRule.Delta, 1, 4, 64, 4096, 64, CPU));
        return () =>
        {
            using var scope = NewDisposeScope();
            var (read, after) = FastWeights.Scan(
                inputs[0],
                inputs[1],
                inputs[2],
                inputs[3],
                inputs[4],
                inputs[5],
                WriteRule.Delta
            );
            (read.sum() + after.sum()).backward();
        };
    }
}
