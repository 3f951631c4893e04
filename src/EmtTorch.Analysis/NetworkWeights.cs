using EmtTorch.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>
/// The weights of an Elman network, h(t+1) = tanh(W_hh h(t) + W_uh u(t) + b), y(t) = W_r h(t+1) + c (Eq. 6), in
/// float64 on the CPU.
/// </summary>
/// <param name="WeightIh">W_uh (H, κ).</param>
/// <param name="WeightHh">W_hh (H, H).</param>
/// <param name="Readout">W_r (κ, H).</param>
/// <param name="Bias">b (H), or null.</param>
/// <param name="ReadoutBias">c (κ), or null.</param>
public sealed record NetworkWeights(
    Tensor WeightIh,
    Tensor WeightHh,
    Tensor Readout,
    Tensor? Bias = null,
    Tensor? ReadoutBias = null
) : IDisposable
{
    // All analyses rely on these shapes.
    private readonly bool _checked = Check(WeightIh, WeightHh, Readout, Bias, ReadoutBias);

    /// <summary>Far above all float32 numbers, and the product of two such numbers is still finite.</summary>
    private const double Largest = 1e100;

    /// <summary>H.</summary>
    public int HiddenSize => (int)WeightHh.shape[0];

    /// <summary>κ.</summary>
    public int Dimension => (int)WeightIh.shape[1];

    /// <summary>‖θ‖, over all weights and biases.</summary>
    public double ParameterNorm =>
        Math.Sqrt(Tensors.Sum(named => named.Tensor is { } tensor ? Math.Pow(Matrices.Norm(tensor), 2) : 0));

    private (Tensor? Tensor, string Name)[] Tensors =>
        [
            (WeightIh, "W_uh"),
            (WeightHh, "W_hh"),
            (Readout, "W_r"),
            (Bias, "the bias"),
            (ReadoutBias, "the readout's bias"),
        ];

    /// <summary>Copies the weights of a network.</summary>
    public static NetworkWeights Copy(ElmanRnn network)
    {
        var named = network.named_parameters().ToDictionary(p => p.name, p => (Tensor)p.parameter);
        Tensor Weight(string name) => named[name].detach().to_type(ScalarType.Float64).cpu().clone();
        Tensor? Optional(string name) => named.ContainsKey(name) ? Weight(name) : null;
        using var scope = NewDisposeScope();
        return Escape(
            new(
                Weight("rnn.weight_ih"),
                Weight("rnn.weight_hh"),
                Weight("readout.weight"),
                Optional("rnn.bias"),
                Optional("readout.bias")
            )
        );
    }

    /// <summary>
    /// Loads the weights in a checkpoint, or in a safetensors file that Python wrote. Tensors may have the names of
    /// this project (`rnn.weight_ih`, `rnn.weight_hh`, `rnn.bias`, `readout.weight`, `readout.bias`), or those of
    /// PyTorch's RNN and RNNCell (`…weight_ih_l0`; `…bias_ih_l0` and `…bias_hh_l0`, which are added) with a Linear of
    /// any name.
    /// </summary>
    /// <param name="path">The file.</param>
    /// <exception cref="InvalidDataException">The file is damaged, or it holds no Elman network, or several. The
    /// message lists the names that were expected and found.</exception>
    /// <example><code>
    /// using var weights = NetworkWeights.Load("weights.safetensors");
    /// using var memories = VariableMemories.Find(weights, LinearBinding.Named("t1"));
    /// </code></example>
    public static NetworkWeights Load(string path) => Read(SafetensorsFile.Read(path));

    /// <summary>The same for a file that is read already.</summary>
    internal static NetworkWeights Read(SafetensorsFile file)
    {
        using var scope = NewDisposeScope();
        var weights = ElmanWeightFile.Read(file);
        return Escape(
            new(
                weights["rnn.weight_ih"],
                weights["rnn.weight_hh"],
                weights["readout.weight"],
                weights.GetValueOrDefault("rnn.bias"),
                weights.GetValueOrDefault("readout.bias")
            )
        );
    }

    /// <summary>Creates the network, in float64 on the CPU.</summary>
    public ElmanRnn ToNetwork()
    {
        bool bias = Bias is not null || ReadoutBias is not null;
        var network = new ElmanRnn(Dimension, HiddenSize, bias, ScalarType.Float64);
        using var quiet = no_grad();
        foreach (var (name, parameter) in network.named_parameters())
        {
            var value = name switch
            {
                "rnn.weight_ih" => WeightIh,
                "rnn.weight_hh" => WeightHh,
                "readout.weight" => Readout,
                "rnn.bias" => Bias,
                _ => ReadoutBias,
            };
            if (value is null)
                parameter.zero_();
            else
                parameter.copy_(value);
        }
        return network;
    }

    /// <summary>Why these weights cannot be analysed, or null if they can.</summary>
    public string? WhyUnusable()
    {
        foreach (var (tensor, name) in Tensors)
        {
            if (tensor is null)
                continue;
            if (!Matrices.IsFinite(tensor))
                return $"{name} has numbers that are not finite (NaN or infinity): the network cannot be analysed";
            if (tensor.numel() > 0 && tensor.abs().max().ToDouble() is var largest && largest > Largest)
            {
                return FormattableString.Invariant(
                    $"{name} has numbers up to {largest:G2}: computations overflow, and the network cannot be analysed"
                );
            }
        }
        return null;
    }

    private static bool Check(Tensor weightIh, Tensor weightHh, Tensor readout, Tensor? bias, Tensor? readoutBias)
    {
        Require.Shape(weightIh, [Require.Any, Require.Any]);
        long h = weightIh.shape[0],
            d = weightIh.shape[1];
        foreach (
            var (tensor, shape, name) in (ReadOnlySpan<(Tensor?, long[], string)>)
                [
                    (weightIh, [h, d], nameof(WeightIh)),
                    (weightHh, [h, h], nameof(WeightHh)),
                    (readout, [d, h], nameof(Readout)),
                    (bias, [h], nameof(Bias)),
                    (readoutBias, [d], nameof(ReadoutBias)),
                ]
        )
        {
            if (tensor is null)
                continue;
            Require.Shape(tensor, shape, name);
            Require.Type(tensor, ScalarType.Float64, name);
            if (tensor.device_type != DeviceType.CPU)
                throw new ArgumentException($"is on {tensor.device}, not on the CPU", name);
        }
        return true;
    }

    public void Dispose()
    {
        foreach (var (tensor, _) in Tensors)
            tensor?.Dispose();
    }

    private static NetworkWeights Escape(NetworkWeights weights)
    {
        foreach (var (tensor, _) in weights.Tensors)
            tensor?.MoveToOuterDisposeScope();
        return weights;
    }
}
