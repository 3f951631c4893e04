using EmtTorch.Kernels;
using EmtTorch.Models;
using EmtTorch.Tasks;
using EmtTorch.Training;
using TorchSharp;
using static TorchSharp.torch;

/// <summary>
/// A training step of T1 (d = s = 8), with its batch, loss, clipping and Adam: this project's and nn.RNN's, in turn in
/// this process. Of this project either one network, as a run trains it alone, or several in lockstep, as a sweep does
/// on CUDA.
/// </summary>
internal static class ElmanSteps
{
    private const int Inputs = 8;

    /// <param name="settings">What is trained.</param>
    /// <param name="rounds">Stretches of each side.</param>
    /// <param name="seconds">How long a stretch is.</param>
    /// <returns>Steps a second by round; a step of N networks counts N times.</returns>
    public static StepRates Measure(StepSettings settings, int rounds, double seconds)
    {
        using var everything = NewDisposeScope();
        var device = settings.Device;
        Check(settings);
        using var ours = settings.Networks is { } count ? Lockstep(settings, count) : Alone(settings);
        using var theirs = Torch(settings);
        List<Action> sides = [ours.Step, theirs.Step];
        if (device.type == DeviceType.CPU)
            sides.Add(LargeProduct());
        var rates = InTurn.Rates(sides, rounds, seconds, device);
        return new(
            [.. rates[0].Select(rate => rate * (settings.Networks ?? 1))],
            rates[1],
            rates.Length > 2 ? [.. rates[2].Select(rate => rate * LargeProductOperations)] : []
        );
    }

    /// <summary>
    /// Products of a step of one network: of the recurrence, there, back and for the weights; of input and readout.
    /// </summary>
    public static double Operations(int hidden, int batch, int horizon) =>
        6.0 * batch * hidden * ((double)(horizon + Inputs) * hidden + Inputs * (Inputs * 2 / 3.0 + horizon));

    private sealed record Side(Action Step, IDisposable[] Held) : IDisposable
    {
        public void Dispose() => Array.ForEach(Held, held => held.Dispose());
    }

    // From the same weights, on the same batches: one network and its optimizer here, nn.RNN there.
    private static void Check(StepSettings settings)
    {
        using var scope = NewDisposeScope();
        using var task = new VariableBinding(
            LinearBinding.RepeatCopy(Inputs, Inputs),
            ScalarType.Float32,
            settings.Device
        );
        using var ours = new ElmanRnn(Inputs, settings.Hidden).to(settings.Device);
        using var theirs = new TorchRnn(Inputs, settings.Hidden, settings.Device);
        Tensor[] weights = [ours.InputWeights, ours.RecurrentWeights, ours.ReadoutWeights];
        Tensor[] before = [.. weights.Select(w => w.detach().clone())];
        theirs.Take(weights);
        using var optimizer = optim.Adam(ours.parameters(), lr: TorchRnn.LearningRate);
        using var generator = new Generator(0);
        var clipped = new ClippedAdam(optimizer, ours.parameters());
        for (int step = 0; step < 3; step++)
        {
            var (input, target) = task.Batch(settings.Batch, settings.Horizon, generator);
            double loss = ours.Score(input, target, from: Inputs, gradients: true).Loss,
                their = theirs.Step(input, target);
            clipped.Step(TorchRnn.LargestNorm);
            if (!(Math.Abs(loss - their) < 1e-5 * their))
                throw new InvalidOperationException($"the losses of step {step + 1} differ: {loss} and {their}");
        }
        using var quiet = no_grad();
        foreach (var (from, own, other) in before.Zip(weights, theirs.Weights))
        {
            double moved = (own - from).norm().item<float>(),
                apart = (own - other).norm().item<float>();
            if (!(apart < 3e-3 * moved))
                throw new InvalidOperationException($"the weights moved by {moved:g3} and are {apart:g3} apart");
        }
    }

    private static Side Alone(StepSettings settings)
    {
        var task = new VariableBinding(LinearBinding.RepeatCopy(Inputs, Inputs), ScalarType.Float32, settings.Device);
        var network = new ElmanRnn(Inputs, settings.Hidden).to(settings.Device);
        var optimizer = optim.Adam(network.parameters(), lr: TorchRnn.LearningRate);
        var generator = new Generator(0);
        var clipped = new ClippedAdam(optimizer, network.parameters());
        void Step()
        {
            using var scope = NewDisposeScope();
            var (input, target) = task.Batch(settings.Batch, settings.Horizon, generator);
            network.Score(input, target, from: Inputs, gradients: true);
            clipped.Step(TorchRnn.LargestNorm);
        }
        return new(Step, [task, network, optimizer, generator]);
    }

    // What EnsembleRun does in a step; it reads the scores where its log, a test or a curriculum needs them.
    private static Side Lockstep(StepSettings settings, int count)
    {
        var task = new TaskConfiguration
        {
            Name = "t1",
            D = Inputs,
            S = Inputs,
        };
        var batches = new EnsembleBatches(task, ScalarType.Float32, settings.Device);
        var first = Enumerable.Range(0, count).Select(_ => new ElmanRnn(Inputs, settings.Hidden)).ToList();
        var networks = new ElmanEnsemble(first, settings.Device);
        first.ForEach(network => network.Dispose());
        var optimizer = new EnsembleAdam(
            zeros_like(networks.Parameters),
            zeros_like(networks.Parameters),
            Enumerable.Repeat(new AdamSettings(TorchRnn.LearningRate, 0, TorchRnn.LargestNorm), count),
            Enumerable.Repeat(0L, count)
        );
        int[] horizons = [.. Enumerable.Repeat(settings.Horizon, count)];
        Generator[] generators = [.. Enumerable.Range(0, count).Select(seed => new Generator((ulong)seed))];
        void Step()
        {
            using var scope = NewDisposeScope();
            var (input, target) = batches.Batch(settings.Batch, horizons, generators);
            var (_, gradient) = networks.Score(input, target, batches.From, horizons, gradients: true);
            optimizer.Step(networks.Parameters, gradient!);
        }
        return new(Step, [batches, networks, optimizer, .. generators]);
    }

    private static Side Torch(StepSettings settings)
    {
        var task = new VariableBinding(LinearBinding.RepeatCopy(Inputs, Inputs), ScalarType.Float32, settings.Device);
        var network = new TorchRnn(Inputs, settings.Hidden, settings.Device);
        var generator = new Generator(0);
        void Step()
        {
            using var scope = NewDisposeScope();
            var (input, target) = task.Batch(settings.Batch, settings.Horizon, generator);
            network.Step(input, target);
        }
        return new(Step, [task, network, generator]);
    }

    private const int LargeSize = 2048;
    private const double LargeProductOperations = 2.0 * LargeSize * LargeSize * LargeSize;

    private static Action LargeProduct()
    {
        Tensor a = randn(LargeSize, LargeSize),
            b = randn(LargeSize, LargeSize);
        return () =>
        {
            using var scope = NewDisposeScope();
            a.mm(b);
        };
    }
}

/// <summary>What is trained.</summary>
/// <param name="Hidden">Hidden units, H.</param>
/// <param name="Networks">Networks in lockstep, or null for one as it is trained alone.</param>
/// <param name="Batch">Sequences of each network, B.</param>
/// <param name="Horizon">Outputs that count, after 8 steps of input.</param>
/// <param name="Device">Where.</param>
internal sealed record StepSettings(int Hidden, int? Networks, int Batch, int Horizon, Device Device);

/// <summary>
/// Steps a second of both sides by round, and operations a second of a product of two large matrices.
/// </summary>
internal sealed record StepRates(double[] EmtTorch, double[] Torch, double[] LargeProduct);
