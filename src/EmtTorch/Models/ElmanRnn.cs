using EmtTorch.Kernels;
using EmtTorch.Settings;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Models;

/// <summary>
/// The Elman network of Karuvally et al. 2023, Eq. 6: h(t+1) = tanh(W_hh h(t) + W_uh u(t) + b), y(t) = W_r h(t+1),
/// h(0) = 0. Biases are off by default.
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

    /// <param name="inputSize">The size of an input and of an output, κ.</param>
    /// <param name="hiddenSize">Hidden units, H.</param>
    /// <param name="bias">Whether the recurrence and the readout have biases.</param>
    /// <param name="dtype">float32 or float64.</param>
    public ElmanRnn(long inputSize, long hiddenSize, bool bias = false, ScalarType dtype = ScalarType.Float32)
        : base(nameof(ElmanRnn))
    {
        NativeTorch.Load();
        lock (InitialWeights.Drawing)
        {
            rnn = new ElmanCell(inputSize, hiddenSize, bias, dtype);
            readout = nn.Linear(hiddenSize, inputSize, hasBias: bias, dtype: dtype);
        }
        RegisterComponents();
        this.KeepParameters();
    }

    /// <summary>W_uh (H, κ).</summary>
    public Parameter InputWeights => rnn.weight_ih;

    /// <summary>W_hh (H, H).</summary>
    public Parameter RecurrentWeights => rnn.weight_hh;

    /// <summary>b (H), or null without biases.</summary>
    public Parameter? RecurrentBias => rnn.bias;

    /// <summary>W_r (κ, H).</summary>
    public Tensor ReadoutWeights => readout.weight!;

    /// <summary>The bias of the readout (κ), or null without biases.</summary>
    public Tensor? ReadoutBias => readout.bias;

    /// <summary>Computes the outputs at every step of the input.</summary>
    /// <param name="input">(T, B, κ).</param>
    /// <returns>y (T, B, κ). Differentiable once: with `create_graph` backward fails.</returns>
    /// <exception cref="ArgumentException">The input is not (T, B, κ) of the weights' type and device.</exception>
    public override Tensor forward(Tensor input) => readout.forward(rnn.forward(input, input.shape[0]));

    /// <summary>Computes the outputs of the last steps only, for example of the output phase.</summary>
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
    /// Computes the hidden states h(1) … h(T), (T, B, H). Differentiable once: with `create_graph` backward fails.
    /// </summary>
    /// <exception cref="ArgumentException">The input is not (S, B, κ) of the weights' type and device, or longer than
    /// all steps.</exception>
    public Tensor HiddenStates(Tensor input, long steps) => rnn.forward(input, steps);

    /// <summary>
    /// Computes the hidden states step by step. Each passes through a hook that records or replaces it: h(t+1) and the
    /// output are computed from what the hook returns for h(t). Differentiable any number of times, and slower than
    /// without a hook.
    /// </summary>
    /// <param name="input">(S, B, κ); after its end the input is zero.</param>
    /// <param name="steps">All steps, T.</param>
    /// <param name="hook">Receives t, from 1, and h(t) (B, H); returns h(t) or its replacement.</param>
    /// <returns>h(1) … h(T) as the hook returned them, (T, B, H).</returns>
    /// <example><code>
    /// // Without unit 5 from the end of the input on:
    /// var states = network.HiddenStates(input, 108, (t, h) => t &lt; 8 ? h : h.index_fill(1, tensor(5L), 0));
    /// var outputs = network.ReadOut(states);
    /// </code></example>
    /// <exception cref="ArgumentException">The input is not (S, B, κ) of the weights' type and device, or the hook
    /// returns another shape, type or device.</exception>
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
    /// Computes what training needs of a batch: the loss L = mean (y − y*)² over the steps from `from` on, the
    /// accuracy, which is the share of outputs with the target's sign (0 counts as positive), and, if wanted, ∂L/∂θ in
    /// the grad of every parameter. A fused kernel does it in one pass if it serves (float32 and float64), otherwise
    /// autograd.
    /// </summary>
    /// <param name="input">(S, B, κ); after its end the input is zero.</param>
    /// <param name="target">y* (T − from, B, κ), which says what T is.</param>
    /// <param name="from">The first step whose output counts.</param>
    /// <param name="gradients">Whether the gradients are wanted. They overwrite those that are there.</param>
    /// <param name="times">The time that each phase of the kernel takes is added to this.</param>
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

    // Without autograd's graph, whose nodes would double the number of launches.
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

    /// <summary>Adds the gradient of β ‖W_hhᵀ W_hh − I‖² to the grad of W_hh, which must exist.</summary>
    internal void AddSpectralPenalty(double beta)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        RecurrentWeights.grad!.add_(SpectralPenalty.Gradient(RecurrentWeights), beta);
    }

    /// <summary>Computes the outputs (…, κ) of hidden states (…, H).</summary>
    public Tensor ReadOut(Tensor hidden) => readout.forward(hidden);
}

/// <summary>The recurrence without the readout. Its parameters have the names of PyTorch's RNNCell.</summary>
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
