using EmtTorch.Configuration;
using EmtTorch.Models;
using EmtTorch.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

/// <summary>
/// A transformer of one block that solves segment_recall with weights set by hand. The stream's numbers 0 to 3 say
/// which key a token is, 4 to 7 which value, 8 to 11 which key was before it, and 12 balances the sum, so that
/// the norm only scales: by a = 1/√(2/16 + ε). The context is the key before. A token is written under the key before
/// it (k = e_i, of length 1), as its own value (v = a e_j), and a key asks for itself (q = e_i).
/// </summary>
internal static class HandMadeNetwork
{
    public const int Keys = 4,
        Values = 4,
        Width = 16;

    /// <summary>What the norm makes of e − e_12.</summary>
    public static readonly double Scale = 1 / Math.Sqrt(2.0 / Width + 1e-5);

    /// <summary>g of keys and values, in which number 12 is −a: σ(a − 2).</summary>
    public static readonly double GateOfPairs = 1 / (1 + Math.Exp(2 - Scale));

    /// <summary>g of noise and of a question's token, which are 0: σ(−2).</summary>
    public static readonly double GateOfOthers = 1 / (1 + Math.Exp(2));

    public static RunConfiguration Configuration(params string[] settings) =>
        ConfigurationFile.Parse(
            """
            {
              "name": "hand", "device": "cpu", "task": { "segment_recall": { "pairs": 3, "segment_length": 10,
                "keys": 4, "values": 4, "noise": 1 } },
              "model": { "type": "episodic_transformer", "hidden_size": 16, "layers": 1, "attention": false,
                "drift": true, "dtype": "float64" },
              "training": { "curriculum": { "horizons": [1, 2] } }, "evaluation": { "horizon": 3 }
            }
            """,
            settings
        );

    /// <param name="configuration">One of <see cref="Configuration"/>.</param>
    /// <param name="rate">η.</param>
    /// <param name="asks">What q is multiplied with before it is normalised: −1 turns the reads' signs.</param>
    public static EpisodicTransformer Of(RunConfiguration configuration, double rate = 2, double asks = 1)
    {
        var network = new EpisodicTransformer(2 + Keys + Values, configuration.Model);
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        var parameters = network.named_parameters().ToDictionary(p => p.name, p => (Tensor)p.parameter);
        foreach (var (name, parameter) in parameters)
        {
            if (!name.Contains("norm", StringComparison.Ordinal))
                parameter.zero_();
        }

        void Set(string name, int row, int column, double value) => parameters[name][row, column] = value;
        void Map(string name, int fromRow, int fromColumn, double value)
        {
            for (int i = 0; i < 4; i++)
                Set(name, fromRow + i, fromColumn + i, value);
        }
        for (int token = 2; token < 2 + Keys + Values; token++)
            Set("embedding.weight", token, 12, -1);
        Map("embedding.weight", 2, 0, 1);
        Map("embedding.weight", 2 + Keys, 4, 1);
        Map("blocks.0.drift.input.weight", 0, 0, 1);
        Map("blocks.0.drift.output.weight", 8, 0, 1);
        parameters["blocks.0.drift.logit_decay"].fill_(-100);
        Map("blocks.0.memory.qkv.weight", 0, 0, asks);
        Map("blocks.0.memory.qkv.weight", Width, 8, 1);
        Map("blocks.0.memory.qkv.weight", 2 * Width + 4, 4, 1);
        Map("blocks.0.memory.output.weight", 4, 4, asks);
        if (configuration.Model.Gate)
        {
            Set("blocks.0.memory.gate.gate.weight", 0, 12, -1);
            parameters["blocks.0.memory.gate.gate.bias"].fill_(-2);
        }
        parameters["blocks.0.memory.rate"].fill_(Math.Log(rate));
        Map("readout.weight", 2 + Keys, 4, 1);
        return network;
    }
}
