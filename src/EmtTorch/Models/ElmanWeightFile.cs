using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Models;

/// <summary>
/// The weights of an Elman network in a safetensors file: a checkpoint, or what Python wrote. Tensors may have the
/// names of this project (`rnn.weight_ih`, `rnn.weight_hh`, `rnn.bias`, `readout.weight`, `readout.bias`), or those of
/// PyTorch's RNN and RNNCell (`…weight_ih_l0`; `…bias_ih_l0` and `…bias_hh_l0`, which are added) with a Linear of any
/// name.
/// </summary>
internal static class ElmanWeightFile
{
    /// <summary>Reads the weights, in float64 on the CPU.</summary>
    /// <param name="file">The file.</param>
    /// <returns>Tensors by this project's names, in the caller's dispose scope; without biases that the file does not
    /// have.</returns>
    /// <exception cref="InvalidDataException">The file holds no Elman network, or several. The message lists the names
    /// that were expected and found.</exception>
    public static Dictionary<string, Tensor> Read(SafetensorsFile file)
    {
        using var scope = NewDisposeScope();
        var tensors = new NamedTensors(file);
        var weightIh = tensors.Take("weight_ih");
        var weightHh = tensors.Take("weight_hh");
        long h = weightHh.shape[0],
            d = weightIh.shape[1];
        Tensor? bias = null;
        foreach (var part in (string[])["bias_ih", "bias_hh"])
        {
            // The shape is checked before the sum: a single number would spread over all units.
            if (tensors.TryTake(part, h) is { } one)
                bias = bias is null ? one : bias + one;
        }
        var (readout, readoutBias) = tensors.TakeReadout(d);
        bias ??= tensors.TryTake("bias", h);
        tensors.RefuseRest();
        if (h == 0 || d == 0)
        {
            throw new InvalidDataException(
                $"{file.Path} has no {(h == 0 ? "hidden units" : "inputs")}: it has {tensors}"
            );
        }
        tensors.Check(weightHh, "W_hh", h, h);
        tensors.Check(weightIh, "W_uh", h, d);
        tensors.Check(readout, "W_r", d, h);
        (string Name, Tensor? Tensor)[] all =
        [
            ("rnn.weight_ih", weightIh),
            ("rnn.weight_hh", weightHh),
            ("rnn.bias", bias),
            ("readout.weight", readout),
            ("readout.bias", readoutBias),
        ];
        return all.Where(t => t.Tensor is not null).ToDictionary(t => t.Name, t => t.Tensor!.MoveToOuterDisposeScope());
    }

    /// <summary>Sets a network's weights. Biases that the file does not have are 0.</summary>
    /// <param name="network">The network.</param>
    /// <param name="file">The file.</param>
    /// <exception cref="InvalidDataException">The file holds no Elman network, or one of another size or with a bias
    /// that this one does not have.</exception>
    public static void Restore(ElmanRnn network, SafetensorsFile file)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        var weights = Read(file);
        var parameters = network.named_parameters().ToDictionary(p => p.name, p => p.parameter);
        if (weights.Keys.FirstOrDefault(key => !parameters.ContainsKey(key)) is { } unknown)
        {
            throw new InvalidDataException(
                $"{file.Path} has {unknown}, and the network has none: \"model\": {{ \"bias\": true }} gives it one"
            );
        }
        foreach (var (key, parameter) in parameters)
        {
            if (!weights.TryGetValue(key, out var given))
            {
                parameter.zero_();
                continue;
            }
            if (!given.shape.AsSpan().SequenceEqual(parameter.shape))
            {
                throw new InvalidDataException(
                    $"in {file.Path}, {key} is ({string.Join(", ", given.shape)}), the network's is "
                        + $"({string.Join(", ", parameter.shape)})"
                );
            }
            parameter.copy_(given);
        }
    }
}
