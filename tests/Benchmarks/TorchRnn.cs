using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

/// <summary>
/// The peer: the same network and the same training step from Torch's own parts, nn.RNN, nn.Linear, clip_grad_norm_ and
/// Adam. On CUDA nn.RNN is cuDNN's.
/// </summary>
internal sealed class TorchRnn : IDisposable
{
    public const double LearningRate = 1e-3,
        LargestNorm = 1;

    private readonly RNN _rnn;
    private readonly Linear _readout;
    private readonly Parameter[] _parameters;
    private readonly optim.Optimizer _optimizer;
    private readonly Device _device;
    private readonly int _hidden;

    public TorchRnn(int inputs, int hidden, Device device)
    {
        (_device, _hidden) = (device, hidden);
        _rnn = nn.RNN(inputs, hidden, nonLinearity: nn.NonLinearities.Tanh, bias: false, device: device);
        if (device.type == DeviceType.CUDA)
            _rnn.flatten_parameters();
        _readout = nn.Linear(hidden, inputs, hasBias: false, device: device);
        _parameters = [.. _rnn.parameters(), .. _readout.parameters()];
        _optimizer = optim.Adam(_parameters, LearningRate);
    }

    /// <summary>W_uh, W_hh and W_r.</summary>
    public IReadOnlyList<Tensor> Weights => _parameters;

    /// <summary>Takes over these.</summary>
    public void Take(IReadOnlyList<Tensor> weights)
    {
        using var quiet = no_grad();
        foreach (var (mine, its) in _parameters.Zip(weights))
            mine.copy_(its);
    }

    /// <summary>One step of training.</summary>
    /// <param name="input">(S, B, κ); zeros follow.</param>
    /// <param name="target">(L, B, κ), of the steps after the input.</param>
    /// <returns>The loss.</returns>
    public double Step(Tensor input, Tensor target) => Step(input, target, wantsAccuracy: false).Loss;

    /// <summary>One step of training, and the share of outputs with the right sign.</summary>
    /// <inheritdoc cref="Step(Tensor, Tensor)" path="/param"/>
    public (double Loss, double Accuracy) StepWithAccuracy(Tensor input, Tensor target) =>
        Step(input, target, wantsAccuracy: true);

    /// <summary>The share of outputs with the right sign.</summary>
    /// <inheritdoc cref="Step(Tensor, Tensor)" path="/param"/>
    public double Accuracy(Tensor input, Tensor target)
    {
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        return RightSigns(Outputs(input, target.shape[0]), target);
    }

    private (double Loss, double Accuracy) Step(Tensor input, Tensor target, bool wantsAccuracy)
    {
        using var scope = NewDisposeScope();
        _optimizer.zero_grad();
        var output = Outputs(input, target.shape[0]);
        var loss = nn.functional.mse_loss(output, target);
        loss.backward();
        nn.utils.clip_grad_norm_(_parameters, LargestNorm);
        _optimizer.step();
        return (loss.item<float>(), wantsAccuracy ? RightSigns(output.detach(), target) : double.NaN);
    }

    // (L, B, κ)
    private Tensor Outputs(Tensor input, long horizon)
    {
        long steps = input.shape[0],
            batch = input.shape[1];
        var all = cat([input, zeros(horizon, batch, input.shape[2], device: _device)]);
        var (states, _) = _rnn.call(all, zeros(1, batch, _hidden, device: _device)); // (S + L, B, H)
        return _readout.call(states.narrow(0, steps, horizon));
    }

    private static double RightSigns(Tensor output, Tensor target) =>
        output.ge(0).eq(target.ge(0)).to_type(ScalarType.Float32).mean().item<float>();

    public void Dispose()
    {
        _optimizer.Dispose();
        _rnn.Dispose();
        _readout.Dispose();
    }
}
