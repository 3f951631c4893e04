using EmtTorch.Kernels;
using EmtTorch.Memory;
using EmtTorch.Memory.Retrieval;
using EmtTorch.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

/// <summary>
/// Arguments that do not fit are exceptions. Most of these would end the process otherwise, in Torch or in a kernel
/// that reads beyond a tensor's end, and with it the test run.
/// </summary>
public sealed class BadArgumentsTests
{
    private DisposeScope _scope = null!;

    [SetUp]
    public void Begin() => _scope = NewDisposeScope();

    [TearDown]
    public void End()
    {
        Simd.Used = true;
        _scope.Dispose();
    }

    [Test]
    public void AnElmanNetworkRefusesInputsThatAreNotItsOwn([Values] bool kernel)
    {
        Simd.Used = kernel;
        using var network = new ElmanRnn(3, 5, bias: true);
        Tensor[] bad =
        [
            zeros(4, 2, 2),
            zeros(4, 2, 4),
            zeros(4, 2, 0),
            zeros(4, 3),
            zeros(3),
            zeros([]),
            zeros(1, 4, 2, 3),
            zeros(4, 2, 3, dtype: float64),
            zeros(4, 2, 3, dtype: int64),
            zeros(4, 2, 3, dtype: ScalarType.Bool),
            zeros(4, 2, 3, dtype: complex64),
            zeros([4, 2, 3], device: META),
        ];
        foreach (var input in bad)
        {
            string what = $"{input.dtype} ({string.Join(", ", input.shape)})";
            foreach (bool learns in (bool[])[true, false])
            {
                using var mode = enable_grad(learns);
                Assert.That(
                    () => network.forward(input, 6),
                    Throws.ArgumentException.With.Property("ParamName").EqualTo("input"),
                    what
                );
                Assert.That(
                    () => network.HiddenStates(input, 6),
                    Throws.ArgumentException.With.Property("ParamName").EqualTo("input"),
                    what
                );
                Assert.That(
                    () => network.HiddenStates(input, 6, (_, h) => h),
                    Throws.ArgumentException.With.Property("ParamName").EqualTo("input"),
                    what
                );
                Assert.That(() => network.Score(input, zeros(2, 2, 3), 4, learns), Throws.ArgumentException, what);
            }
            if (input.dim() > 0)
                Assert.That(() => network.forward(input), Throws.ArgumentException, what);
        }
        Assert.That(
            () => network.forward(zeros(4, 2, 2), 6),
            Throws.ArgumentException.With.Message.Contains("has shape (4, 2, 2), not (any, any, 3)")
        );
        Assert.That(
            () => network.forward(zeros(4, 2, 3), 3),
            Throws.ArgumentException.With.Message.Contains("3 steps, fewer than the input's 4")
        );
        foreach (long from in (long[])[-1, 7])
        {
            Assert.That(
                () => network.forward(zeros(4, 2, 3), 6, from),
                Throws.InstanceOf<ArgumentOutOfRangeException>()
            );
        }

        foreach (var hidden in (Tensor[])[zeros(4), zeros(2, 5, dtype: float64), zeros([])])
            Assert.That(() => network.ReadOut(hidden), Throws.Exception);
        foreach (var target in (Tensor[])[zeros(2, 2, 2), zeros(2, 1, 3), zeros(2, 2)])
            Assert.That(() => network.Score(zeros(4, 2, 3), target, 4, true), Throws.Exception);
    }

    [Test]
    public void AHookMustReturnAState()
    {
        using var network = new ElmanRnn(3, 5);
        foreach (var h in (Tensor[])[zeros(2, 4), zeros(5), zeros(2, 5, dtype: float64), zeros(2, 5, dtype: int64)])
        {
            Assert.That(
                () => network.HiddenStates(zeros(4, 2, 3), 6, (_, _) => h),
                Throws.ArgumentException.With.Property("ParamName").EqualTo("hook")
            );
        }
    }

    [Test]
    public void MemoriesRefuseWhatDoesNotFit([Values] bool kernel)
    {
        Simd.Used = kernel;
        // q, k, v, β, γ, F; x, λ, c.
        Tensor[] scan =
        [
            zeros(2, 3, 6, 4),
            zeros(2, 3, 6, 4),
            zeros(2, 3, 6, 5),
            zeros(2, 3, 6),
            zeros(3),
            zeros(2, 3, 4, 5),
        ];
        Tensor[] step = [zeros(2, 3, 4), zeros(2, 3, 4), zeros(2, 3, 5), zeros(2, 3), zeros(3), zeros(2, 3, 4, 5)];
        Tensor[] drift = [zeros(2, 6, 4), zeros(4), zeros(2, 4)],
            one = [zeros(2, 4), zeros(4), zeros(2, 4)];
        (Tensor[] Arguments, Action<Tensor[]> Call)[] functions =
        [
            (scan, t => FastWeights.Scan(t[0], t[1], t[2], t[3], t[4], t[5], WriteRule.Delta)),
            (scan, t => FastWeights.Scan(t[0], t[1], t[2], t[3], t[4], t[5], WriteRule.Hebbian)),
            (scan, t => FastWeights.Sequential(t[0], t[1], t[2], t[3], t[4], t[5], WriteRule.Delta)),
            (scan, t => LowRankWrites.Scan(t[0], t[1], t[2], t[3], t[4], t[5])),
            (step, t => FastWeights.Step(t[0], t[1], t[2], t[3], t[4], t[5], WriteRule.Delta)),
            (step, t => LowRankWrites.Step(t[0], t[1], t[2], t[3], t[4], t[5])),
            (drift, t => ContextDrift.Scan(t[0], t[1], t[2])),
            (one, t => ContextDrift.Step(t[0], t[1], t[2])),
        ];
        for (int f = 0; f < functions.Length; f++)
        {
            var (arguments, call) = functions[f];
            Assert.DoesNotThrow(() => call(arguments), $"function {f}");
            for (int i = 0; i < arguments.Length; i++)
            {
                var good = arguments[i];
                List<Tensor> bad =
                [
                    good.to(int64),
                    good.to(ScalarType.Bool),
                    good.to(complex64),
                    empty(good.shape, device: META),
                    good.unsqueeze(0),
                ];
                for (int d = 0; d < good.dim(); d++)
                    bad.Add(cat([good, good], d));
                foreach (var wrong in bad)
                {
                    var given = arguments.ToArray();
                    given[i] = wrong;
                    // The first tensor's device is everyone's.
                    if (i == 0 && wrong.device_type == DeviceType.META)
                        continue;
                    // As many pairs for each head as one likes.
                    if (f is 3 or 5 && i is 1 or 2 && wrong.shape[1] == 6)
                        continue;
                    // As many tokens.
                    if (f == 6 && i == 0 && wrong.shape[1] == 12)
                        continue;
                    Assert.That(
                        () => call(given),
                        Throws.ArgumentException,
                        $"function {f}, argument {i}: {wrong.dtype} ({string.Join(", ", wrong.shape)})"
                    );
                }
            }
        }
    }

    [Test]
    public void ATransformerRefusesTokensAndStatesThatAreNotItsOwn()
    {
        ModelConfiguration model = new()
        {
            Type = "episodic_transformer",
            HiddenSize = 8,
            Heads = 2,
            Layers = 2,
            MemoryHeads = 2,
            Memory = "fast_weights",
            Drift = true,
            Attention = true,
            GraphNodes = 4,
        };
        using var network = new EpisodicTransformer(7, model);
        Tensor tokens = zeros(2, 3, dtype: int64);
        Tensor[] bad =
        [
            full([2, 3], 7, dtype: int64),
            full([2, 3], -1, dtype: int64),
            full([2, 3], long.MinValue, dtype: int64),
            zeros(2, 3),
            zeros(2, 3, dtype: int32),
            zeros(6, dtype: int64),
            zeros(1, 2, 3, dtype: int64),
        ];
        foreach (var wrong in bad)
        {
            Assert.That(() => network.forward(wrong), Throws.ArgumentException);
            Assert.That(() => network.Read(wrong), Throws.ArgumentException);
            Assert.That(() => network.Generate(wrong, 2), Throws.ArgumentException);
        }
        ModelConfiguration[] others =
        [
            model with
            {
                HiddenSize = 16,
            },
            model with
            {
                Layers = 1,
            },
            model with
            {
                Layers = 3,
            },
            model with
            {
                Dtype = "float64",
            },
            model with
            {
                MemoryHeads = 4,
            },
        ];
        foreach (var other in others)
        {
            using var second = new EpisodicTransformer(7, other);
            foreach (long length in (long[])[0, 1, 3])
            {
                var (_, state) = second.Read(zeros(2, length, dtype: int64));
                Assert.That(() => network.Read(tokens, state), Throws.Exception, $"{other}, after {length} tokens");
                Assert.That(
                    () => network.Read(tokens.narrow(1, 0, 1), state),
                    Throws.Exception,
                    $"{other}, after {length} tokens"
                );
            }
        }
        foreach (var hidden in (Tensor[])[zeros(2, 3, 7), zeros(2, 3, 8, dtype: float64), zeros([])])
            Assert.That(() => network.ReadOut(hidden), Throws.Exception);
    }

    [Test]
    public void AStoreOfOnesOwnMayNotReturnOtherValues()
    {
        ModelConfiguration model = new()
        {
            Type = "episodic_transformer",
            HiddenSize = 8,
            Heads = 2,
            Layers = 1,
            MemoryHeads = 2,
            Memory = "none",
            Retrieval = new() { Chunk = 2, TopK = 2 },
        };
        using var network = new EpisodicTransformer(7, model);
        var memory = network.Find<RetrievalMemory>().Single();
        using var inside = memory.Store;
        foreach (var change in (Func<Tensor, Tensor>[])[v => v.narrow(-1, 0, 7), v => v.to(float64), v => v[0]])
        {
            memory.Store = new Changed(inside, change);
            Assert.That(
                () => network.forward(zeros(2, 6, dtype: int64)),
                Throws.ArgumentException.With.Property("ParamName").EqualTo("Store")
            );
        }
    }

    private sealed class Changed(IEpisodicStore store, Func<Tensor, Tensor> change) : IEpisodicStore
    {
        public bool IsShared => store.IsShared;

        public long Count => store.Count;

        public void Write(EpisodicEntries entries) => store.Write(entries);

        public Func<Neighbours> Search(EpisodicQuery query)
        {
            var found = store.Search(query)();
            return () => found with { Values = change(found.Values) };
        }

        public byte[]? ReadText(long generation, long document, long position) =>
            store.ReadText(generation, document, position);

        public void Forget(long generation) => store.Forget(generation);

        public void ForgetFrom(long generation) => store.ForgetFrom(generation);

        public void Flush() => store.Flush();

        public void Dispose() { }
    }

    [Test]
    public void ARandomStateMustBeOne()
    {
        using var generator = new Generator(3);
        using var good = generator.get_state();
        Tensor With(int at, byte value)
        {
            var changed = good.clone();
            changed[at] = value;
            return changed;
        }
        // Left is at byte 8, seeded at 12, next at 16.
        Tensor[] bad =
        [
            zeros_like(good),
            good.narrow(0, 0, 5055),
            good.to(int64),
            zeros(0, dtype: ScalarType.Byte),
            With(9, 9),
            With(11, 255),
            With(12, 0),
            With(18, 1),
            With(23, 255),
        ];
        foreach (var state in bad)
            Assert.That(() => generator.SetState(state), Throws.InstanceOf<InvalidDataException>());
        Assert.That(generator.get_state().Equals(good));
        var drawn = rand(5, generator: generator);
        generator.SetState(good);
        Assert.That(rand(5, generator: generator).Equals(drawn));
    }
}
