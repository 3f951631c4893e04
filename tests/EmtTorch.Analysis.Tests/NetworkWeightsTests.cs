using System.Runtime.InteropServices;
using EmtTorch.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Tests;

/// <summary>
/// Weights under every name and dtype that they come with, and every way in which a file is not an Elman network.
/// </summary>
public sealed class NetworkWeightsTests : InTemporaryFolder
{
    private const int H = 3,
        D = 2;

    // Quarters: exact in every dtype, bfloat16 with its 8 bits too.
    private static double Number(string name, int i) => ((name.Length * 7 + i * 5) % 31 - 15) / 4.0;

    private static double[] Numbers(string name, int count) =>
        [.. Enumerable.Range(0, count).Select(i => Number(name, i))];

    private static SafetensorsTensor Tensor(string name, string dtype, params long[] shape)
    {
        var numbers = Numbers(name, (int)shape.Aggregate(1L, (a, b) => a * b));
        byte[] data = dtype switch
        {
            "F64" => MemoryMarshal.AsBytes<double>(numbers).ToArray(),
            "F32" => MemoryMarshal.AsBytes<float>(Array.ConvertAll(numbers, x => (float)x)).ToArray(),
            "F16" => MemoryMarshal.AsBytes<Half>(Array.ConvertAll(numbers, x => (Half)x)).ToArray(),
            "BF16" => MemoryMarshal
                .AsBytes<ushort>(
                    Array.ConvertAll(numbers, x => (ushort)(BitConverter.SingleToUInt32Bits((float)x) >> 16))
                )
                .ToArray(),
            "I64" => MemoryMarshal.AsBytes<long>(Array.ConvertAll(numbers, x => (long)x)).ToArray(),
            _ => throw new ArgumentException(dtype),
        };
        return new(dtype, shape, data);
    }

    private NetworkWeights Read(Dictionary<string, SafetensorsTensor> tensors)
    {
        var path = Path.Combine(Folder, "weights.safetensors");
        SafetensorsFile.Write(path, tensors, new Dictionary<string, string>());
        return NetworkWeights.Load(path);
    }

    /// <summary>Name → shape, in the order W_uh, W_hh, W_r, the biases; all float32 unless told.</summary>
    private static Dictionary<string, SafetensorsTensor> Tensors(params (string Name, long[] Shape)[] entries) =>
        entries.ToDictionary(e => e.Name, e => Tensor(e.Name, "F32", e.Shape));

    private static double[]? Values(Tensor? tensor) => tensor?.data<double>().ToArray();

    private static IEnumerable<TestCaseData> Forms()
    {
        TestCaseData Case(string name, string ih, string hh, string readout, string[] biases, string? readoutBias) =>
            new TestCaseData(ih, hh, readout, biases, readoutBias).SetArgDisplayNames(name);
        yield return Case("this project", "rnn.weight_ih", "rnn.weight_hh", "readout.weight", [], null);
        yield return Case(
            "this project, biases",
            "rnn.weight_ih",
            "rnn.weight_hh",
            "readout.weight",
            ["rnn.bias"],
            "readout.bias"
        );
        yield return Case("RNN", "rnn.weight_ih_l0", "rnn.weight_hh_l0", "readout.weight", [], null);
        yield return Case(
            "RNN, biases",
            "rnn.weight_ih_l0",
            "rnn.weight_hh_l0",
            "fc.weight",
            ["rnn.bias_ih_l0", "rnn.bias_hh_l0"],
            "fc.bias"
        );
        yield return Case(
            "RNN, biases, Linear without",
            "rnn.weight_ih_l0",
            "rnn.weight_hh_l0",
            "fc.weight",
            ["rnn.bias_ih_l0", "rnn.bias_hh_l0"],
            null
        );
        yield return Case(
            "RNN without biases, Linear with",
            "rnn.weight_ih_l0",
            "rnn.weight_hh_l0",
            "fc.weight",
            [],
            "fc.bias"
        );
        yield return Case("RNNCell", "cell.weight_ih", "cell.weight_hh", "linear.weight", [], null);
        yield return Case(
            "RNNCell, biases",
            "cell.weight_ih",
            "cell.weight_hh",
            "linear.weight",
            ["cell.bias_ih", "cell.bias_hh"],
            "linear.bias"
        );
        yield return Case(
            "inside another module",
            "model.net.rnn.weight_ih_l0",
            "model.net.rnn.weight_hh_l0",
            "model.decoder.weight",
            ["model.net.rnn.bias_ih_l0", "model.net.rnn.bias_hh_l0"],
            "model.decoder.bias"
        );
        yield return Case(
            "without a module",
            "weight_ih_l0",
            "weight_hh_l0",
            "out.weight",
            ["bias_ih_l0", "bias_hh_l0"],
            "out.bias"
        );
        yield return Case("Linear without a name", "rnn.weight_ih", "rnn.weight_hh", "weight", ["rnn.bias"], "bias");
        yield return Case(
            "Linear before the RNN in the alphabet",
            "z.weight_ih_l0",
            "z.weight_hh_l0",
            "a.weight",
            [],
            "a.bias"
        );
    }

    [TestCaseSource(nameof(Forms))]
    public void EveryFormIsRead(string ih, string hh, string readout, string[] biases, string? readoutBias)
    {
        var tensors = Tensors([
            (ih, [H, D]),
            (hh, [H, H]),
            (readout, [D, H]),
            .. biases.Select(b => (b, new long[] { H })),
        ]);
        if (readoutBias is not null)
            tensors[readoutBias] = Tensor(readoutBias, "F32", D);
        using var weights = Read(tensors);
        using (Assert.EnterMultipleScope())
        {
            Assert.That((weights.HiddenSize, weights.Dimension), Is.EqualTo((H, D)));
            Assert.That(Values(weights.WeightIh), Is.EqualTo(Numbers(ih, H * D)));
            Assert.That(Values(weights.WeightHh), Is.EqualTo(Numbers(hh, H * H)));
            Assert.That(Values(weights.Readout), Is.EqualTo(Numbers(readout, D * H)));
            // PyTorch's two biases of the recurrence are added.
            Assert.That(
                Values(weights.Bias),
                biases.Length == 0
                    ? Is.Null
                    : Is.EqualTo(Enumerable.Range(0, H).Select(i => biases.Sum(b => Number(b, i))))
            );
            Assert.That(
                Values(weights.ReadoutBias),
                readoutBias is null ? Is.Null : Is.EqualTo(Numbers(readoutBias!, D))
            );
        }
    }

    [Test]
    public void EveryDTypeIsRead([Values("F64", "F32", "F16", "BF16")] string dtype)
    {
        using var weights = Read(
            new()
            {
                ["rnn.weight_ih"] = Tensor("rnn.weight_ih", dtype, H, D),
                ["rnn.weight_hh"] = Tensor("rnn.weight_hh", dtype, H, H),
                ["readout.weight"] = Tensor("readout.weight", dtype, D, H),
            }
        );
        Assert.That(weights.WeightHh.dtype, Is.EqualTo(ScalarType.Float64));
        Assert.That(Values(weights.WeightHh), Is.EqualTo(Numbers("rnn.weight_hh", H * H)));
    }

    [Test]
    public void WhatBelongsToTrainingIsPassedOver()
    {
        var tensors = Tensors(
            ("rnn.weight_ih", [H, D]),
            ("rnn.weight_hh", [H, H]),
            ("readout.weight", [D, H]),
            ("optimizer.exp_avg.rnn.weight_hh", [H, H]),
            ("optimizer.exp_avg.readout.weight", [D, H])
        );
        tensors["random.data"] = Tensor("random.data", "I64", 5);
        using var weights = Read(tensors);
        Assert.That(Values(weights.Readout), Is.EqualTo(Numbers("readout.weight", D * H)));
    }

    private static IEnumerable<TestCaseData> Wrong()
    {
        TestCaseData Case(string name, Dictionary<string, SafetensorsTensor> tensors, params string[] said) =>
            new TestCaseData(tensors, said).SetArgDisplayNames(name);
        (string, long[]) ih = ("rnn.weight_ih_l0", [H, D]),
            hh = ("rnn.weight_hh_l0", [H, H]),
            readout = ("fc.weight", [D, H]);
        yield return Case("nothing", [], "no …weight_ih", "It has nothing");
        yield return Case(
            "no W_uh",
            Tensors(hh, readout),
            "no …weight_ih",
            "rnn.weight_hh_l0 (3, 3)",
            "fc.weight (2, 3)"
        );
        yield return Case("no W_hh", Tensors(ih, readout), "no …weight_hh", "rnn.weight_ih_l0 (3, 2)");
        yield return Case("no W_r", Tensors(ih, hh), "the readout's, and has 0", "rnn.weight_hh_l0 (3, 3)");
        yield return Case(
            "two readouts",
            Tensors(ih, hh, readout, ("fc2.weight", [D, H])),
            "the readout's, and has 2",
            "fc2.weight"
        );
        yield return Case(
            "two layers",
            Tensors(ih, hh, ("rnn.weight_ih_l1", [H, H]), ("rnn.weight_hh_l1", [H, H]), readout),
            "rnn.weight_ih_l1",
            "one layer"
        );
        yield return Case(
            "two networks",
            Tensors(ih, hh, readout, ("other.weight_ih_l0", [H, D]), ("other.weight_hh_l0", [H, H])),
            "more than one weight_ih",
            "other.weight_ih_l0",
            "rnn.weight_ih_l0"
        );
        yield return Case(
            "both directions",
            Tensors(ih, hh, readout, ("rnn.weight_ih_l0_reverse", [H, D]), ("rnn.weight_hh_l0_reverse", [H, H])),
            "rnn.weight_ih_l0_reverse"
        );
        yield return Case(
            "LSTM",
            Tensors(("rnn.weight_ih_l0", [4 * H, D]), ("rnn.weight_hh_l0", [4 * H, H]), readout),
            "W_hh is (12, 3)"
        );
        yield return Case(
            "GRU",
            Tensors(("rnn.weight_ih_l0", [3 * H, D]), ("rnn.weight_hh_l0", [3 * H, H]), readout),
            "W_hh is (9, 3)"
        );
        yield return Case(
            "W_hh not square",
            Tensors(ih, ("rnn.weight_hh_l0", [H, H + 1]), readout),
            "W_hh is (3, 4)",
            "should be (3, 3)"
        );
        yield return Case(
            "W_uh of another H",
            Tensors(("rnn.weight_ih_l0", [H + 2, D]), hh, readout),
            "W_uh is (5, 2)",
            "should be (3, 2)"
        );
        yield return Case(
            "W_r of another H",
            Tensors(ih, hh, ("fc.weight", [D, H + 1])),
            "W_r is (2, 4)",
            "should be (2, 3)"
        );
        yield return Case(
            "more outputs than inputs",
            Tensors(ih, hh, ("fc.weight", [D + 1, H])),
            "W_r is (3, 3)",
            "should be (2, 3)"
        );
        yield return Case(
            "W_hh of three dimensions",
            Tensors(ih, ("rnn.weight_hh_l0", [1, H, H]), readout),
            "rnn.weight_hh_l0 has 3 dimensions"
        );
        yield return Case(
            "W_uh of one dimension",
            Tensors(("rnn.weight_ih_l0", [H]), hh, readout),
            "rnn.weight_ih_l0 has 1 dimension"
        );
        yield return Case(
            "W_r of one dimension",
            Tensors(ih, hh, ("fc.weight", [H])),
            "W_r is (3)",
            "should be (2, 3)"
        );
        yield return Case(
            "a bias of another H",
            Tensors(ih, hh, readout, ("rnn.bias_ih_l0", [H + 1]), ("rnn.bias_hh_l0", [H + 1])),
            "bias",
            "(4)",
            "(3)"
        );
        yield return Case(
            "biases of two sizes",
            Tensors(ih, hh, readout, ("rnn.bias_ih_l0", [H]), ("rnn.bias_hh_l0", [H + 1])),
            "rnn.bias_hh_l0",
            "(4)",
            "(3)"
        );
        yield return Case(
            "a bias of size 1, which would spread",
            Tensors(ih, hh, readout, ("rnn.bias_ih_l0", [H]), ("rnn.bias_hh_l0", [1])),
            "rnn.bias_hh_l0",
            "(1)",
            "(3)"
        );
        yield return Case(
            "a readout bias of another size",
            Tensors(ih, hh, readout, ("fc.bias", [D + 1])),
            "the readout's bias is (3)",
            "should be (2)"
        );
        yield return Case("a tensor too many", Tensors(ih, hh, readout, ("norm.scale", [H])), "norm.scale");
        yield return Case(
            "a transformer",
            Tensors(("layers.0.attention.in_proj_weight", [3 * H, H]), ("layers.0.attention.out_proj.weight", [H, H])),
            "not an Elman network",
            "layers.0.attention.in_proj_weight (9, 3)"
        );
        yield return Case(
            "no hidden units",
            Tensors(("rnn.weight_ih_l0", [0, D]), ("rnn.weight_hh_l0", [0, 0]), ("fc.weight", [D, 0])),
            "no hidden units"
        );
        yield return Case("no inputs", Tensors(("rnn.weight_ih_l0", [H, 0]), hh, ("fc.weight", [0, H])), "no inputs");
        var integers = Tensors(ih, readout);
        integers["rnn.weight_hh_l0"] = Tensor("rnn.weight_hh_l0", "I64", H, H);
        yield return Case("integers", integers, "rnn.weight_hh_l0 is of dtype I64", "BF16");
    }

    [TestCaseSource(nameof(Wrong))]
    public void WhatIsNoElmanNetworkIsRefusedWithWhatIsThere(
        Dictionary<string, SafetensorsTensor> tensors,
        string[] said
    )
    {
        var refused = Assert.Throws<InvalidDataException>(() => Read(tensors));
        using (Assert.EnterMultipleScope())
        {
            Assert.That(refused!.Message, Does.Contain("weights.safetensors"));
            foreach (var words in said)
                Assert.That(refused.Message, Does.Contain(words));
        }
    }

    [Test]
    public void ANetworkComesBackFromItsWeights([Values] bool bias)
    {
        using var random = new Generator(1, CPU);
        var network = new ElmanRnn(D, H, bias);
        using var weights = NetworkWeights.Copy(network);
        var again = weights.ToNetwork();
        var input = randn([4, 5, D], generator: random);
        using var quiet = no_grad();
        var expected = network.forward(input).to_type(ScalarType.Float64);
        var actual = again.forward(input.to_type(ScalarType.Float64));
        using (Assert.EnterMultipleScope())
        {
            Assert.That(weights.Bias is not null, Is.EqualTo(bias));
            Assert.That((actual - expected).abs().max().ToDouble(), Is.LessThan(1e-6), "float32 against float64");
        }
    }

    [Test]
    public void TheNormIsOverAllParameters()
    {
        using var scope = NewDisposeScope();
        var weights = new NetworkWeights(
            tensor(
                new double[,]
                {
                    { 1 },
                    { 2 },
                }
            ),
            tensor(
                new double[,]
                {
                    { 0, 3 },
                    { 0, 0 },
                }
            ),
            tensor(
                new double[,]
                {
                    { 1, 1 },
                }
            ),
            Bias: tensor(new double[] { 3, 0 })
        );
        Assert.That(weights.ParameterNorm, Is.EqualTo(5).Within(1e-15));
    }

    [Test]
    public void TheWeightsAreACopy()
    {
        var network = new ElmanRnn(D, H);
        using var weights = NetworkWeights.Copy(network);
        var before = Values(weights.WeightHh);
        using var quiet = no_grad();
        network.RecurrentWeights.zero_();
        Assert.That(Values(weights.WeightHh), Is.EqualTo(before));
    }
}
