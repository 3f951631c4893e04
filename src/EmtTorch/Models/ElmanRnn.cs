using EmtTorch.Kernels;
using EmtTorch.Settings;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Models;

/// <summary>
/// The Elman network of Karuvally et al. 2023, Eq. 6: h(t+1) = tanh(W_hh h(t) + W_uh u(t) + b), y(t) = W_r h(t+1),
/// h(0) = 0. Without biases unless asked for.
/// </summary>
/// <example><code>
/// var network = new ElmanRnn(inputSize: 8, hiddenSize: 128);
/// var outputs = network.forward(input, steps: 108);   // (108, B, 8), from an input of (8, B, 8)
/// </code></example>
public sealed class ElmanRnn : nn.Module<Tensor, Tensor>
{
    private readonly ElmanCell rnn;
    private readonly Linear readout;
    private ElmanEnsemble? _alone; // this network as an ensemble of one, where that computes the score

    /// <param name="inputSize">Numbers in an input and in an output, κ.</param>
    /// <param name="hiddenSize">Hidden units, H.</param>
    /// <param name="bias">Whether the recurrence and the readout have biases.</param>
    /// <param name="dtype">float32 or float64.</param>
    public ElmanRnn(long inputSize, long hiddenSize, bool bias = false, ScalarType dtype = ScalarType.Float32)
        : base(nameof(ElmanRnn))
    {
        rnn = new ElmanCell(inputSize, hiddenSize, bias, dtype);
        readout = nn.Linear(hiddenSize, inputSize, hasBias: bias, dtype: dtype);
        RegisterComponents();
        this.KeepParameters();
    }

    /// <summary>W_uh (H, κ).</summary>
    public Parameter InputWeights => rnn.weight_ih;

    /// <summary>W_hh (H, H).</summary>
    public Parameter RecurrentWeights => rnn.weight_hh;

    /// <summary>b (H); null without biases.</summary>
    public Parameter? RecurrentBias => rnn.bias;

    /// <summary>W_r (κ, H).</summary>
    public Tensor ReadoutWeights => readout.weight!;

    /// <summary>The readout's bias (κ); null without biases.</summary>
    public Tensor? ReadoutBias => readout.bias;

    /// <summary>The outputs of every step of the input.</summary>
    /// <param name="input">(T, B, κ).</param>
    /// <returns>y (T, B, κ). Differentiable once: with `create_graph` backward fails.</returns>
    /// <exception cref="ArgumentException">The input is not (T, B, κ) of the weights' type and device.</exception>
    public override Tensor forward(Tensor input) => readout.forward(rnn.forward(input, input.shape[0]));

    /// <summary>The outputs of the last steps alone: of the output phase, say.</summary>
    /// <param name="input">(S, B, κ); after its end the input is zero.</param>
    /// <param name="steps">All steps, T ≥ S.</param>
    /// <param name="from">The first step to read out.</param>
    /// <returns>y (T − from, B, κ). Differentiable once: with `create_graph` backward fails.</returns>
    /// <exception cref="ArgumentException">The input is not (S, B, κ) of the weights' type and device, or a step is out
    /// of its range.</exception>
    public Tensor forward(Tensor input, long steps, long from = 0)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(from);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(from, steps);
        return readout.forward(rnn.forward(input, steps).narrow(0, from, steps - from));
    }

    /// <summary>
    /// The hidden states h(1) … h(T), (T, B, H). Differentiable once: with `create_graph` backward fails.
    /// </summary>
    /// <exception cref="ArgumentException">The input is not (S, B, κ) of the weights' type and device, or longer than
    /// all steps.</exception>
    public Tensor HiddenStates(Tensor input, long steps) => rnn.forward(input, steps);

    /// <summary>
    /// The hidden states, step by step, each passing through a hook that records it or puts another in its place: what
    /// the hook returns for h(t) is what h(t+1) and the output come from. Differentiable as often as one likes, and
    /// slower than without a hook.
    /// </summary>
    /// <param name="input">(S, B, κ); after its end the input is zero.</param>
    /// <param name="steps">All steps, T.</param>
    /// <param name="hook">Given t, from 1, and h(t) (B, H); returns h(t) or what is to stand in its place.</param>
    /// <returns>h(1) … h(T) as the hook returned them, (T, B, H).</returns>
    /// <example><code>
    /// // Without unit 5 from the end of the input on:
    /// var states = network.HiddenStates(input, 108, (t, h) => t &lt; 8 ? h : h.index_fill(1, tensor(5L), 0));
    /// var outputs = network.ReadOut(states);
    /// </code></example>
    /// <exception cref="ArgumentException">The input is not (S, B, κ) of the weights' type and device, or the hook
    /// returns what is no h(t).</exception>
    public Tensor HiddenStates(Tensor input, long steps, Func<long, Tensor, Tensor> hook)
    {
        ElmanRecurrence.Check(input, rnn.weight_ih, rnn.weight_hh, rnn.bias, steps);
        var states = new Tensor[steps];
        using var scope = NewDisposeScope();
        var h = zeros(
            input.shape[1],
            RecurrentWeights.shape[0],
            dtype: RecurrentWeights.dtype,
            device: RecurrentWeights.device
        );
        for (long t = 1; t <= steps; t++)
        {
            states[t - 1] = h = hook(t, rnn.Step(h, t <= input.shape[0] ? input[t - 1] : null));
            Require.Shape(h, [Require.Any, RecurrentWeights.shape[0]], nameof(hook));
            Require.Like(h, RecurrentWeights, nameof(hook));
        }
        return stack(states).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// What training needs of a batch, in one pass where a fused kernel serves (float32 and float64), else through
    /// autograd: L = mean (y − y*)² over the steps from `from` on, the share of outputs with the target's sign (0
    /// counts as positive), and, if asked for, ∂L/∂θ written into every parameter's grad.
    /// </summary>
    /// <param name="input">(S, B, κ); after its end the input is zero.</param>
    /// <param name="target">y* (T − from, B, κ), of which T follows.</param>
    /// <param name="from">The first step whose output counts.</param>
    /// <param name="gradients">Whether the gradients are wanted. What the grads held before is overwritten, not added
    /// to.</param>
    /// <param name="times">Where to add what the kernel's phases take.</param>
    internal (double Loss, double Accuracy) Score(
        Tensor input,
        Tensor target,
        long from,
        bool gradients,
        PhaseTimes? times = null
    )
    {
        if (
            FusedTensors.Score(
                new(InputWeights, RecurrentWeights, RecurrentBias, ReadoutWeights, ReadoutBias),
                input,
                target,
                from,
                gradients,
                times
            ) is
            { } score
        )
        {
            return score;
        }

        if (CudaElman.Serves(input, target))
            return ScoreAsEnsemble(input, target, from, gradients);
        using var scope = NewDisposeScope();
        using var mode = enable_grad(gradients);
        var output = forward(input, from + target.shape[0], from); // (T − from, B, κ)
        var loss = nn.functional.mse_loss(output, target);
        if (gradients)
        {
            zero_grad();
            BackwardCall.Run(loss);
        }
        using var quiet = no_grad();
        // Both in one transfer from the device.
        var right = output.ge(0).eq(target.ge(0)).to_type(ScalarType.Float64).mean();
        var both = stack([loss.detach().to_type(ScalarType.Float64), right]).cpu();
        return (both[0].item<double>(), both[1].item<double>());
    }

    // Without a graph of autograd, whose nodes would be as many launches again.
    private (double Loss, double Accuracy) ScoreAsEnsemble(Tensor input, Tensor target, long from, bool gradients)
    {
        ElmanRecurrence.Check(input, InputWeights, RecurrentWeights, RecurrentBias, from + target.shape[0]);
        Require.Shape(target, [Require.Any, input.shape[1], InputWeights.shape[1]]);
        Require.Like(target, input);
        using var scope = NewDisposeScope();
        _alone ??= new([this], input.device);
        _alone.Take(this);
        var (scores, gradient) = _alone.Score(
            input.contiguous().unsqueeze(0),
            target.contiguous().unsqueeze(0),
            from,
            [(int)target.shape[0]],
            gradients
        );
        if (gradient is not null)
        {
            var parts = _alone.Parts(gradient[0]);
            foreach (var (parameter, part) in parameters().Zip(parts))
                parameter.grad = part;
        }
        var both = scores.cpu();
        return (both[0, 0].item<double>(), both[0, 1].item<double>());
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
            _alone?.Dispose();
        base.Dispose(disposing);
    }

    /// <summary>Adds the gradient of β ‖W_hhᵀ W_hh − I‖² to that of W_hh, which must be there.</summary>
    internal void AddSpectralPenalty(double beta)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        RecurrentWeights.grad!.add_(SpectralPenalty.Gradient(RecurrentWeights), beta);
    }

    /// <summary>The outputs that belong to hidden states: (…, H) to (…, κ).</summary>
    public Tensor ReadOut(Tensor hidden) => readout.forward(hidden);
}

/// <summary>The recurrence alone; its parameters are named as PyTorch's RNNCell names them.</summary>
internal sealed class ElmanCell : nn.Module<Tensor, long, Tensor>
{
    public readonly Parameter weight_ih; // (H, κ)
    public readonly Parameter weight_hh; // (H, H)
    public readonly Parameter? bias; // (H): one bias is enough where PyTorch has two

    public ElmanCell(long inputSize, long hiddenSize, bool hasBias, ScalarType dtype)
        : base(nameof(ElmanCell))
    {
        double bound = 1 / Math.Sqrt(hiddenSize);
        weight_ih = Uniform([hiddenSize, inputSize]);
        weight_hh = Uniform([hiddenSize, hiddenSize]);
        bias = hasBias ? Uniform([hiddenSize]) : null;
        RegisterComponents();
        this.KeepParameters();

        Parameter Uniform(long[] shape) => new(empty(shape, dtype: dtype).uniform_(-bound, bound));
    }

    /// <summary>One step, h(t) to h(t+1).</summary>
    /// <param name="h">h(t) (B, H).</param>
    /// <param name="u">u(t) (B, κ), or null for zero.</param>
    public Tensor Step(Tensor h, Tensor? u)
    {
        var sum = matmul(h, weight_hh.t());
        if (u is not null)
            sum = sum + matmul(u, weight_ih.t());
        return (bias is null ? sum : sum + bias).tanh();
    }

    /// <returns>h(1) … h(steps), (steps, B, H).</returns>
    public override Tensor forward(Tensor input, long steps) =>
        (
            bias is null
                ? ElmanRecurrence.Apply(input, weight_ih, weight_hh, steps)
                : ElmanRecurrence.Apply(input, weight_ih, weight_hh, steps, bias)
        )[0];
}
