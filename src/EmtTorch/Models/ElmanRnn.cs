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

    /// <param name="inputSize">Numbers in an input and in an output, κ.</param>
    /// <param name="hiddenSize">Hidden units, H.</param>
    /// <param name="bias">Whether the recurrence and the readout have biases.</param>
    /// <param name="dtype">float32 or float64.</param>
    public ElmanRnn(long inputSize, long hiddenSize, bool bias = false, ScalarType dtype = ScalarType.Float32) : base(nameof(ElmanRnn))
    {
        rnn = new ElmanCell(inputSize, hiddenSize, bias, dtype);
        readout = nn.Linear(hiddenSize, inputSize, hasBias: bias, dtype: dtype);
        RegisterComponents();
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
    /// <returns>y (T, B, κ).</returns>
    public override Tensor forward(Tensor input) => readout.forward(rnn.forward(input, input.shape[0]));

    /// <summary>The outputs of the last steps alone: of the output phase, say.</summary>
    /// <param name="input">(S, B, κ); after its end the input is zero.</param>
    /// <param name="steps">All steps, T ≥ S.</param>
    /// <param name="from">The first step to read out.</param>
    /// <returns>y (T − from, B, κ).</returns>
    public Tensor forward(Tensor input, long steps, long from = 0) =>
        readout.forward(rnn.forward(input, steps).narrow(0, from, steps - from));

    /// <summary>The hidden states h(1) … h(T), (T, B, H).</summary>
    public Tensor HiddenStates(Tensor input, long steps) => rnn.forward(input, steps);
}

/// <summary>The recurrence alone; its parameters are named as PyTorch's RNNCell names them.</summary>
internal sealed class ElmanCell : nn.Module<Tensor, long, Tensor>
{
    public readonly Parameter weight_ih; // (H, κ)
    public readonly Parameter weight_hh; // (H, H)
    public readonly Parameter? bias;     // (H): one bias is enough where PyTorch has two

    public ElmanCell(long inputSize, long hiddenSize, bool hasBias, ScalarType dtype) : base(nameof(ElmanCell))
    {
        double bound = 1 / Math.Sqrt(hiddenSize);
        weight_ih = Uniform([hiddenSize, inputSize]);
        weight_hh = Uniform([hiddenSize, hiddenSize]);
        bias = hasBias ? Uniform([hiddenSize]) : null;
        RegisterComponents();

        Parameter Uniform(long[] shape) => new(empty(shape, dtype: dtype).uniform_(-bound, bound));
    }

    /// <returns>h(1) … h(steps), (steps, B, H).</returns>
    public override Tensor forward(Tensor input, long steps) => bias is null
        ? ElmanRecurrence.apply(input, weight_ih, weight_hh, steps)
        : ElmanRecurrence.apply(input, weight_ih, weight_hh, steps, bias);
}
