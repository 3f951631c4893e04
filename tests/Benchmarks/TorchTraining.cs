using EmtTorch.Tasks;
using EmtTorch.Training;
using TorchSharp;
using static TorchSharp.torch;

/// <summary>
/// configs/t4.json with nn.RNN in place of this project's network, training and tests; no checkpoints, no log.
/// </summary>
internal static class TorchTraining
{
    public static void Run(int seed, int steps)
    {
        using var everything = NewDisposeScope();
        using var initial = manual_seed(seed);
        using var generator = new Generator((ulong)seed);
        using var task = new VariableBinding(
            new TaskConfiguration
            {
                Name = "t4",
                D = 8,
                S = 8,
            }.ToLinearBinding(),
            ScalarType.Float32,
            CPU
        );
        using var network = new TorchRnn(8, 128, CPU);
        var curriculum = new Curriculum([10, 20, 40, 60, 100], 0.98);
        double test = 0;
        for (int step = 1; step <= steps; step++)
        {
            using var scope = NewDisposeScope();
            var (input, target) = task.Batch(64, curriculum.Horizon, generator);
            curriculum.Advance(network.StepWithAccuracy(input, target).Accuracy);
            if (step % 500 == 0)
                test = Test(network, task, generator);
        }
        Console.WriteLine($"test accuracy {test:0.0000}");
    }

    private static double Test(TorchRnn network, VariableBinding task, Generator generator)
    {
        double sum = 0;
        for (int i = 0; i < 10; i++)
        {
            using var scope = NewDisposeScope();
            var (input, target) = task.Batch(64, 200, generator);
            sum += network.Accuracy(input, target);
        }
        return sum / 10;
    }
}
