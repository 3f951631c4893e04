using System.Text.Json;
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace SystemTorch.Tests;

/// <summary>Operator by operator and gradient by gradient against what Debian's PyTorch recorded: Reference/record.py.</summary>
public sealed class PyTorchTests
{
    private static readonly Dictionary<string, Func<Tensor[], Tensor>> Functions = new()
    {
        ["abs"] = t => t[0].abs(), ["neg"] = t => -t[0], ["exp"] = t => t[0].exp(), ["expm1"] = t => t[0].expm1(), ["log1p"] = t => t[0].log1p(),
        ["sin"] = t => t[0].sin(), ["cos"] = t => t[0].cos(), ["tan"] = t => t[0].tan(), ["sinh"] = t => t[0].sinh(), ["cosh"] = t => t[0].cosh(),
        ["tanh"] = t => t[0].tanh(), ["asin"] = t => t[0].asin(), ["acos"] = t => t[0].acos(), ["atan"] = t => t[0].atan(), ["sigmoid"] = t => t[0].sigmoid(),
        ["erf"] = t => t[0].erf(), ["erfc"] = t => t[0].erfc(), ["sqrt"] = t => t[0].sqrt(), ["rsqrt"] = t => t[0].rsqrt(), ["log"] = t => t[0].log(),
        ["log2"] = t => t[0].log2(), ["log10"] = t => t[0].log10(), ["reciprocal"] = t => t[0].reciprocal(), ["square"] = t => t[0].square(),
        ["sign"] = t => t[0].sign(), ["floor"] = t => t[0].floor(), ["ceil"] = t => t[0].ceil(), ["round"] = t => t[0].round(), ["trunc"] = t => t[0].trunc(),
        ["frac"] = t => t[0].frac(), ["relu"] = t => functional.relu(t[0]), ["silu"] = t => functional.silu(t[0]), ["softplus_f"] = t => t[0].softplus(),
        ["gelu_f"] = t => functional.gelu(t[0]), ["logsigmoid_f"] = t => t[0].log_sigmoid(), ["lgamma"] = t => t[0].lgamma(), ["digamma"] = t => t[0].digamma(),
        ["add"] = t => t[0] + t[1], ["sub"] = t => t[0] - t[1], ["mul"] = t => t[0] * t[1], ["div"] = t => t[0] / t[1], ["pow"] = t => t[0].pow(t[1]),
        ["atan2"] = t => t[0].atan2(t[1]), ["maximum"] = t => maximum(t[0], t[1]), ["minimum"] = t => minimum(t[0], t[1]), ["fmod"] = t => t[0].fmod(t[1]),
        ["remainder"] = t => t[0] % t[1], ["logaddexp"] = t => t[0].logaddexp(t[1]), ["hypot"] = t => t[0].hypot(t[1]),
        ["eq"] = t => t[0] == t[1], ["ne"] = t => t[0] != t[1], ["lt"] = t => t[0] < t[1], ["le"] = t => t[0] <= t[1], ["gt"] = t => t[0] > t[1], ["ge"] = t => t[0] >= t[1],
        ["logical_and"] = t => t[0].logical_and(t[1]), ["logical_or"] = t => t[0].logical_or(t[1]), ["logical_xor"] = t => t[0].logical_xor(t[1]),
        ["add_alpha"] = t => t[0].add(t[1], 2.5), ["rsub"] = t => 1.5 - t[0], ["rdiv"] = t => 2 / t[0], ["addmm"] = t => t[0].addmm(t[1], t[2], 0.5f, 2),
        ["addcmul"] = t => t[0].addcmul(t[1], t[2], 0.3), ["addcdiv"] = t => t[0].addcdiv(t[1], t[2], 0.3), ["lerp"] = t => t[0].lerp(t[1], 0.25),
        ["clamp"] = t => t[0].clamp(-0.5, 0.5), ["clamp_min"] = t => t[0].clamp_min(0.1),
        ["matmul"] = t => matmul(t[0], t[1]), ["mm"] = t => t[0].mm(t[1]), ["bmm"] = t => t[0].bmm(t[1]), ["mv"] = t => t[0].mv(t[1]), ["dot"] = t => t[0].dot(t[1]),
        ["outer"] = t => t[0].outer(t[1]), ["einsum"] = t => einsum("bij,bjk->bki", t[0], t[1]), ["tensordot"] = t => tensordot(t[0], t[1], [1L], [0L]),
        ["sum"] = t => t[0].sum(), ["sum_dim"] = t => t[0].sum(1, keepdim: true), ["mean"] = t => t[0].mean(), ["mean_dim"] = t => t[0].mean([0L, 2L]), ["prod"] = t => t[0].prod(),
        ["std"] = t => t[0].std(), ["var_dim"] = t => t[0].var(1, unbiased: false), ["norm"] = t => t[0].norm(), ["norm1"] = t => t[0].norm(p: 1),
        ["logsumexp"] = t => t[0].logsumexp(1), ["amax"] = t => t[0].amax([1L]), ["max_dim"] = t => t[0].max(1).Item1, ["max_dim_index"] = t => t[0].max(1).Item2,
        ["argmax"] = t => t[0].argmax(1), ["argmin"] = t => t[0].argmin(), ["cumsum"] = t => t[0].cumsum(1), ["cumprod"] = t => t[0].cumprod(0), ["median"] = t => t[0].median(),
        ["all"] = t => (t[0] > -9).all(), ["any"] = t => (t[0] > 9).any(), ["softmax"] = t => t[0].softmax(1), ["log_softmax"] = t => functional.log_softmax(t[0], 0),
        ["cross_entropy"] = t => functional.cross_entropy(t[0], t[1]), ["nll_loss"] = t => functional.nll_loss(t[0].log_softmax(1), t[1]),
        ["mse_loss"] = t => functional.mse_loss(t[0], t[1]), ["l1_loss"] = t => functional.l1_loss(t[0], t[1]), ["bce_logits"] = t => functional.binary_cross_entropy_with_logits(t[0], t[1]),
        ["layer_norm"] = t => functional.layer_norm(t[0], [4L], t[1], t[2]), ["linear"] = t => functional.linear(t[0], t[1], t[2]),
        ["embedding"] = t => Ops.embedding.Call(t[1], t[0]), ["one_hot"] = t => functional.one_hot(t[0], 4),
        ["cat"] = t => cat([t[0], t[1]], 1), ["stack"] = t => stack([t[0], t[1]], -1), ["split"] = t => t[0].split(2, 1)[1], ["chunk"] = t => t[0].chunk(3, 0)[2],
        ["unbind"] = t => t[0].unbind(1)[1], ["gather"] = t => t[0].gather(0, t[1]), ["scatter"] = t => t[0].scatter(0, t[1][..1], t[2][..1]),
        ["scatter_add"] = t => t[0].scatter_add(0, t[1], t[2]), ["index_select"] = t => t[0].index_select(1, t[1]), ["where"] = t => where(t[0], t[1], t[2]),
        ["masked_fill"] = t => t[0].masked_fill(t[1], -1), ["topk"] = t => t[0].topk(2, 1).Item1, ["sort"] = t => t[0].sort(1, descending: true).Item1,
        ["argsort"] = t => t[0].argsort(1), ["tril"] = t => t[0].tril(-1), ["triu"] = t => t[0].triu(1), ["diagonal"] = t => t[0].diagonal(1), ["diag_embed"] = t => diag_embed(t[0]),
        ["transpose"] = t => t[0].transpose(0, 2), ["permute"] = t => t[0].permute(2, 0, 1), ["reshape"] = t => t[0].reshape(4, -1), ["expand"] = t => t[0].expand(3, 2),
        ["repeat"] = t => t[0].repeat(2, 3), ["flip"] = t => t[0].flip(0), ["roll"] = t => t[0].roll(1, 0), ["narrow"] = t => t[0].narrow(1, 1, 2),
        ["unfold"] = t => t[0].unfold(0, 3, 2), ["squeeze"] = t => t[0].squeeze(1),
        ["index_slice"] = t => t[0][1.., TensorIndex.Slice(step: 2)], ["index_none"] = t => t[0][TensorIndex.None, TensorIndex.Ellipsis, 1],
        ["index_tensor"] = t => t[0][TensorIndex.Tensor(t[1]), 1..], ["index_mask"] = t => t[0][TensorIndex.Tensor(t[1])],
        ["index_mixed"] = t => t[0][TensorIndex.Colon, TensorIndex.Tensor(t[1]), TensorIndex.None, -1], ["index_two"] = t => t[0][TensorIndex.Tensor(t[1]), TensorIndex.Colon, TensorIndex.Tensor(t[2])],
        ["inv"] = t => linalg.inv(t[0]), ["det"] = t => linalg.det(t[0]), ["solve"] = t => linalg.solve(t[0], t[1]), ["pinv"] = t => linalg.pinv(t[0]),
        ["svdvals"] = t => linalg.svdvals(t[0]), ["eigvalsh"] = t => linalg.eigvalsh(t[0]), ["cholesky"] = t => linalg.cholesky(t[0]), ["qr_r"] = t => linalg.qr(t[0]).Item2.abs(),
        ["matrix_norm"] = t => linalg.matrix_norm(t[0]), ["vector_norm"] = t => linalg.vector_norm(t[0], 3), ["matrix_exp"] = t => t[0].matrix_exp(),
        ["eigvals_abs"] = t => linalg.eigvals(t[0]).abs().sort().Item1, ["complex_abs"] = t => complex(t[0], t[1]).abs(), ["angle"] = t => complex(t[0], t[1]).angle(),
        ["rnn_tanh"] = Unrolled, ["sdpa"] = t => functional.scaled_dot_product_attention(t[0], t[1], t[2], is_casual: true),
    };

    private static Tensor Unrolled(Tensor[] t)
    {
        var h = t[3][0];
        var states = new List<Tensor>();
        foreach (var x in t[0].unbind(0))
        {
            h = (matmul(x, t[1].t()) + matmul(h, t[2].t())).tanh();
            states.Add(h);
        }
        return stack(states);
    }

    private static readonly JsonElement Cases = JsonDocument.Parse(File.ReadAllText(Path.Combine(TestContext.CurrentContext.TestDirectory, "Reference", "pytorch.json"))).RootElement.GetProperty("cases");

    private static IEnumerable<string> Names => Cases.EnumerateObject().Select(c => c.Name);

    [Test]
    public void EveryRecordedCaseHasItsFunction() => Assert.That(Functions.Keys, Is.EquivalentTo(Names));

    [TestCaseSource(nameof(Names))]
    public void AgreesWithPyTorch(string name)
    {
        using var scope = NewDisposeScope();
        var record = Cases.GetProperty(name);
        var inputs = record.GetProperty("inputs").EnumerateArray().Select(Unpack).ToArray();
        foreach (var input in inputs) if (input.is_floating_point()) input.requires_grad_();
        var output = Functions[name](inputs);
        AssertSame(output, record.GetProperty("output"), "output");

        if (!record.TryGetProperty("gradients", out var gradients)) return;
        var weights = arange(output.numel(), dtype: ScalarType.Float64).cos().reshape(output.shape);
        (weights * output).sum().backward();
        int i = 0;
        foreach (var expected in gradients.EnumerateArray())
        {
            var grad = inputs[i++].grad;
            if (expected.ValueKind == JsonValueKind.Null) Assert.That(grad, Is.Null, $"gradient {i}");
            else AssertSame(grad!, expected, $"gradient {i}");
        }
    }

    private static Tensor Unpack(JsonElement packed)
    {
        var shape = packed.GetProperty("shape").EnumerateArray().Select(s => s.GetInt64()).ToArray();
        var data = packed.GetProperty("data").EnumerateArray();
        return packed.GetProperty("dtype").GetString() switch
        {
            "float64" => tensor(data.Select(d => d.GetDouble()).ToArray(), dtype: ScalarType.Float64).reshape(shape),
            "int64" => tensor(data.Select(d => d.GetInt64()).ToArray()).reshape(shape),
            "bool" => tensor(data.Select(d => d.GetBoolean()).ToArray()).reshape(shape),
            var other => throw new InvalidDataException($"a recorded tensor of {other}"),
        };
    }

    private static void AssertSame(Tensor found, JsonElement packed, string what)
    {
        var expected = Unpack(packed);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(found.shape, Is.EqualTo(expected.shape), $"{what}: shape");
            Assert.That(found.dtype, Is.EqualTo(expected.dtype), $"{what}: dtype");
        }
        double[] a = found.detach().to(ScalarType.Float64).contiguous().data<double>().ToArray(), b = expected.to(ScalarType.Float64).data<double>().ToArray();
        for (int i = 0; i < a.Length; i++) Assert.That(a[i], Is.EqualTo(b[i]).Within(1e-12 * Math.Max(1, Math.Abs(b[i]))), $"{what}[{i}]");
    }
}
