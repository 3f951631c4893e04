using System.Runtime.InteropServices;
using EmtTorch.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>
/// The weights of an Elman network, h(t+1) = tanh(W_hh h(t) + W_uh u(t) + b), y(t) = W_r h(t+1) + c: float64, on the
/// CPU.
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
    // Everything that is computed from weights takes these for granted.
    private readonly bool _checked = Check(WeightIh, WeightHh, Readout, Bias, ReadoutBias);

    /// <summary>
    /// float32 ends at 3.4e38, so that no training comes near; two products of such numbers still are numbers.
    /// </summary>
    private const double Largest = 1e100;

    /// <summary>H.</summary>
    public int HiddenSize => (int)WeightHh.shape[0];

    /// <summary>κ.</summary>
    public int Dimension => (int)WeightIh.shape[1];

    /// <summary>‖θ‖, over all weights and biases.</summary>
    public double ParameterNorm
    {
        get
        {
            double squares = 0;
            foreach (var tensor in new[] { WeightIh, WeightHh, Readout, Bias, ReadoutBias })
            {
                if (tensor is not null)
                    squares += Math.Pow(Matrices.Norm(tensor), 2);
            }

            return Math.Sqrt(squares);
        }
    }

    /// <summary>A copy of a network's weights.</summary>
    public static NetworkWeights Of(ElmanRnn network)
    {
        var named = network.named_parameters().ToDictionary(p => p.name, p => (Tensor)p.parameter);
        Tensor Copy(string name) => named[name].detach().to_type(ScalarType.Float64).cpu().clone();
        Tensor? Optional(string name) => named.ContainsKey(name) ? Copy(name) : null;
        using var scope = NewDisposeScope();
        return Escape(
            new(
                Copy("rnn.weight_ih"),
                Copy("rnn.weight_hh"),
                Copy("readout.weight"),
                Optional("rnn.bias"),
                Optional("readout.bias")
            )
        );
    }

    /// <summary>Weights from a checkpoint, or from a safetensors file that Python wrote.</summary>
    /// <param name="file">The file. Understood are the names of this project (`rnn.weight_ih`, `rnn.weight_hh`,
    /// `rnn.bias`, `readout.weight`, `readout.bias`), and those of PyTorch's RNN and RNNCell (`…weight_ih_l0`,
    /// `…bias_ih_l0` and `…bias_hh_l0`, which are added) with a Linear of any name.</param>
    /// <param name="name">What to call it in messages.</param>
    /// <exception cref="InvalidDataException">It holds no Elman network, or more than one; the message says what was
    /// looked for and what is there.</exception>
    public static NetworkWeights From(SafetensorsFile file, string name)
    {
        var tensors = file
            .Tensors.Where(t =>
                !t.Key.StartsWith("optimizer.", StringComparison.Ordinal)
                && !t.Key.StartsWith("random.", StringComparison.Ordinal)
            )
            .ToDictionary();
        var rest = new HashSet<string>(tensors.Keys);
        string there =
            tensors.Count == 0
                ? "nothing"
                : string.Join(", ", tensors.Select(t => $"{t.Key} ({string.Join(", ", t.Value.Shape)})"));

        string? Take(string what, int rank)
        {
            var found = rest.Where(k => k.Split('.')[^1] is var last && (last == what || last == what + "_l0"))
                .ToArray();
            if (found.Length > 1)
            {
                throw new InvalidDataException(
                    $"{name} has more than one {what}: {string.Join(", ", found)}; the analysis is of networks of one layer"
                );
            }

            if (found.Length == 0)
                return null;
            rest.Remove(found[0]);
            return tensors[found[0]].Shape.Length == rank
                ? found[0]
                : throw new InvalidDataException(
                    $"in {name}, {found[0]} has {tensors[found[0]].Shape.Length} dimensions: there should be {rank}"
                );
        }
        string Needed(string what) =>
            Take(what, 2)
            ?? throw new InvalidDataException(
                $"{name} has no …{what}: it is not an Elman network's weights. It has {there}"
            );

        void Check(Tensor? tensor, string what, params long[] shape)
        {
            if (tensor is not null && !tensor.shape.AsSpan().SequenceEqual(shape))
            {
                throw new InvalidDataException(
                    $"in {name}, {what} is ({string.Join(", ", tensor.shape)}), and should be ({string.Join(", ", shape)})"
                );
            }
        }

        using var scope = NewDisposeScope();
        Tensor Load(string key) => Read(tensors[key], key, name);
        var weightIh = Load(Needed("weight_ih"));
        var weightHh = Load(Needed("weight_hh"));
        Tensor? bias = null;
        foreach (var part in (string[])["bias_ih", "bias_hh"])
        {
            if (Take(part, 1) is { } key)
            {
                var one = Load(key);
                // Before they are added: a single number would spread over all units.
                Check(one, key, weightHh.shape[0]);
                bias = bias is null ? one : bias + one;
            }
        }

        var weights = rest.Where(k => k.EndsWith("weight", StringComparison.Ordinal)).ToArray();
        if (weights is not [var readout])
        {
            throw new InvalidDataException(
                $"{name} should have one more weight, the readout's, and has {weights.Length}: it has {there}"
            );
        }

        rest.Remove(readout);
        var outBias = readout[..^"weight".Length] + "bias";
        var readoutBias = rest.Remove(outBias) ? Load(outBias) : null;
        if (bias is null && Take("bias", 1) is { } own)
            bias = Load(own);
        if (
            rest.Where(k =>
                    k.Contains("_l1", StringComparison.Ordinal) || k.EndsWith("_reverse", StringComparison.Ordinal)
                )
                .ToArray() is
            { Length: > 0 } more
        )
        {
            throw new InvalidDataException(
                $"{name} has {string.Join(", ", more)} besides: the analysis is of networks of one layer and one direction"
            );
        }

        if (rest.Count > 0)
        {
            throw new InvalidDataException(
                $"{name} has tensors that are not an Elman network's: {string.Join(", ", rest)}"
            );
        }

        var outWeights = Load(readout);
        long h = weightHh.shape[0],
            d = weightIh.shape[1];
        if (h == 0 || d == 0)
            throw new InvalidDataException($"{name} has no {(h == 0 ? "hidden units" : "inputs")}: it has {there}");
        Check(weightHh, "W_hh", h, h);
        Check(weightIh, "W_uh", h, d);
        Check(outWeights, "W_r", d, h);
        Check(bias, "the bias", h);
        Check(readoutBias, "the readout's bias", d);
        return Escape(new(weightIh, weightHh, outWeights, bias, readoutBias));
    }

    /// <summary>The network itself, in float64.</summary>
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

    /// <summary>Why nothing can be read out of these weights, or null.</summary>
    public string? WhyUnusable()
    {
        foreach (
            var (tensor, what) in (ReadOnlySpan<(Tensor?, string)>)
                [
                    (WeightHh, "W_hh"),
                    (WeightIh, "W_uh"),
                    (Readout, "W_r"),
                    (Bias, "the bias"),
                    (ReadoutBias, "the readout's bias"),
                ]
        )
        {
            if (tensor is null)
                continue;
            if (!Matrices.IsFinite(tensor))
            {
                return $"{what} has numbers that are not finite (NaN or infinity): nothing can be read out of this "
                    + "network";
            }
            if (tensor.numel() > 0 && tensor.abs().max().ToDouble() is var largest && largest > Largest)
            {
                return FormattableString.Invariant(
                    $"{what} has numbers up to {largest:G2}: what is computed from them overflows, and nothing can be read out of this network"
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
        foreach (var tensor in (ReadOnlySpan<Tensor?>)[WeightIh, WeightHh, Readout, Bias, ReadoutBias])
            tensor?.Dispose();
    }

    private static NetworkWeights Escape(NetworkWeights weights)
    {
        foreach (
            var tensor in (ReadOnlySpan<Tensor?>)
                [weights.WeightIh, weights.WeightHh, weights.Readout, weights.Bias, weights.ReadoutBias]
        )
        {
            tensor?.MoveToOuterDisposeScope();
        }

        return weights;
    }

    private static Tensor Read(SafetensorsTensor tensor, string key, string name)
    {
        double[] values = tensor.DType switch
        {
            "F64" => MemoryMarshal.Cast<byte, double>(tensor.Data.Span).ToArray(),
            "F32" => Array.ConvertAll(MemoryMarshal.Cast<byte, float>(tensor.Data.Span).ToArray(), x => (double)x),
            "F16" => Array.ConvertAll(MemoryMarshal.Cast<byte, Half>(tensor.Data.Span).ToArray(), x => (double)x),
            // bfloat16 is the upper half of a float32.
            "BF16" => Array.ConvertAll(
                MemoryMarshal.Cast<byte, ushort>(tensor.Data.Span).ToArray(),
                x => (double)BitConverter.UInt32BitsToSingle((uint)x << 16)
            ),
            var other => throw new InvalidDataException(
                $"in {name}, {key} is of dtype {other}: F64, F32, F16 and BF16 are understood"
            ),
        };
        return torch.tensor(values, tensor.Shape);
    }
}
