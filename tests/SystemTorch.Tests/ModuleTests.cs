using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace SystemTorch.Tests;

public sealed class ModuleTests
{
    private sealed class Net : nn.Module<Tensor, Tensor>
    {
        private readonly Linear first = nn.Linear(4, 3);
        private readonly ModuleList<Linear> more = nn.ModuleList(nn.Linear(3, 3), nn.Linear(3, 2, hasBias: false));
        private readonly Parameter scale = new(ones(1));
        private readonly Tensor offset = zeros(2);

        public Net() : base(nameof(Net)) => RegisterComponents();

        public override Tensor forward(Tensor input)
        {
            var x = first.forward(input).tanh();
            foreach (var layer in more) x = layer.forward(x);
            return x * scale + offset;
        }
    }

    [Test]
    public void ComponentsAreRegisteredUnderTheNamesOfTheirFields()
    {
        using var net = new Net();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(net.named_parameters().Select(p => p.name), Is.EquivalentTo(new[] { "scale", "first.weight", "first.bias", "more.0.weight", "more.0.bias", "more.1.weight" }));
            Assert.That(net.named_buffers().Select(b => b.name), Is.EqualTo(new[] { "offset" }));
            Assert.That(net.state_dict().Keys, Has.Member("offset").And.Member("more.1.weight"));
            Assert.That(net.named_modules().Select(m => m.name), Is.EqualTo(new[] { "first", "more", "more.0", "more.1" }));
        }
    }

    [Test]
    public void ParametersOutliveTheScopeTheyAreMadeIn()
    {
        Net net;
        using (NewDisposeScope()) net = new Net();
        using (net) Assert.That(() => net.forward(zeros(1, 4)), Throws.Nothing);
        Assert.That(() => net.forward(zeros(1, 4)), Throws.TypeOf<ObjectDisposedException>());
    }

    [Test]
    public void MovingToAnotherDtypeKeepsTheParametersThemselves()
    {
        using var net = new Net();
        var before = net.parameters().ToArray();
        net.to(ScalarType.Float64);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(net.parameters(), Is.EqualTo(before).Using<Parameter>((x, y) => ReferenceEquals(x, y)));
            Assert.That(before.All(p => p.dtype == ScalarType.Float64 && p.requires_grad && p.is_leaf), Is.True);
            Assert.That(net.forward(zeros([1, 4], ScalarType.Float64)).dtype, Is.EqualTo(ScalarType.Float64));
        }
    }

    [Test]
    public void AStateIsCopiedAndAWrongOneRefused()
    {
        using Net a = new(), b = new();
        b.load_state_dict(a.state_dict());
        Assert.That(b.get_parameter("first.weight")!.Equals(a.get_parameter("first.weight")!), Is.True);
        var less = a.state_dict();
        less.Remove("first.bias");
        Assert.That(() => b.load_state_dict(less), Throws.InvalidOperationException.With.Message.Contains("first.bias"));
        Assert.That(b.load_state_dict(less, strict: false).missing_keys, Is.EqualTo(new[] { "first.bias" }));
    }

    [Test]
    public void DropoutActsInTrainingAlone()
    {
        using var dropout = nn.Dropout(0.5);
        var x = ones(1000);
        Assert.That(dropout.forward(x).eq(0).sum().ToInt64(), Is.InRange(300, 700));
        dropout.eval();
        Assert.That(dropout.forward(x).Equals(x), Is.True);
    }

    [Test]
    public void TheRnnIsTheUnrolledOne()
    {
        using var scope = NewDisposeScope();
        using var rnn = nn.RNN(3, 5, numLayers: 2, dtype: ScalarType.Float64);
        var input = randn([4, 2, 3], ScalarType.Float64);
        var (output, last) = rnn.call(input);
        var x = input;
        for (int layer = 0; layer < 2; layer++)
        {
            var h = zeros([2, 5], ScalarType.Float64);
            var states = new List<Tensor>();
            foreach (var u in x.unbind(0))
                states.Add(h = (nn.functional.linear(u, rnn.get_weight_ih(layer)!, rnn.get_bias_ih(layer)) + nn.functional.linear(h, rnn.get_weight_hh(layer)!, rnn.get_bias_hh(layer))).tanh());
            x = stack(states);
        }
        Assert.That((output - x).abs().max().item<double>(), Is.LessThan(1e-14));
        Assert.That(last.shape, Is.EqualTo(new long[] { 2, 2, 5 }));
    }

    [Test]
    public void OrthogonalIsOrthogonal()
    {
        foreach (var (rows, columns) in new[] { (5L, 3L), (3L, 5L), (4L, 4L) })
        {
            var w = nn.init.orthogonal_(empty([rows, columns], ScalarType.Float64), gain: 2);
            var gram = rows < columns ? matmul(w, w.t()) : matmul(w.t(), w);
            Assert.That((gram - 4 * eye(Math.Min(rows, columns), dtype: ScalarType.Float64)).abs().max().item<double>(), Is.LessThan(1e-13));
        }
    }
}
