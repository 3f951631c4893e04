using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using EmtTorch.Kernels;
using EmtTorch.Memory;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

/// <summary>
/// Functions of autograd with a backward of their own: the right gradient or a normal exception, never the end of the
/// process. What fails here may end the test run instead of a test.
/// </summary>
public sealed class TorchFunctionTests
{
    /// <summary>What a <see cref="Product"/> is told to do.</summary>
    private sealed class Told
    {
        /// <summary>Called in forward.</summary>
        public Action? Forward { get; init; }

        /// <summary>Called in backward with its gradients; returns those that it returns.</summary>
        public Func<List<Tensor?>, List<Tensor?>> Backward { get; init; } = gradients => gradients;

        /// <summary>A backward that throws.</summary>
        public static Told Throw => new() { Backward = _ => throw new DivideByZeroException("on the way back") };
    }

    /// <summary>y₁ = a ∘ b and y₂ = a + b, of tensors of one shape.</summary>
    private sealed class Product : TorchFunction<Product>
    {
        protected override List<Tensor> Forward(ISavedForBackward ctx, object[] arguments)
        {
            Tensor a = (Tensor)arguments[0],
                b = (Tensor)arguments[1];
            var told = (Told)arguments[2];
            ctx.save_for_backward([a, b]);
            ctx.save_data("told", told);
            told.Forward?.Invoke();
            return [a * b, a + b];
        }

        protected override List<Tensor?> Backward(
            autograd.AutogradContext ctx,
            List<Tensor> saved,
            IReadOnlyList<Tensor?> gradients
        )
        {
            Tensor ofProduct = OrZeros(gradients[0], saved[0].shape, saved[0]),
                ofSum = OrZeros(gradients[1], saved[0].shape, saved[0]);
            return ((Told)ctx.get_data("told")).Backward([
                ofProduct * saved[1] + ofSum,
                ofProduct * saved[0] + ofSum,
                null,
            ]);
        }
    }

    /// <summary>x, without a gradient.</summary>
    private sealed class WithoutGradient : TorchFunction<WithoutGradient>
    {
        protected override List<Tensor> Forward(ISavedForBackward ctx, object[] arguments) =>
            [((Tensor)arguments[0]).clone()];

        protected override List<Tensor?> Backward(
            autograd.AutogradContext ctx,
            List<Tensor> saved,
            IReadOnlyList<Tensor?> gradients
        ) => [null];
    }

    /// <summary>
    /// One of the project's functions, with tensors to call it with, and the same in Torch's own operators.
    /// </summary>
    public sealed record Case(
        string Name,
        Func<Tensor[]> Arguments,
        Func<Tensor[], Tensor[]> Function,
        Func<Tensor[], Tensor[]> Reference
    )
    {
        public override string ToString() => Name;
    }

    private static IEnumerable<Case> Cases()
    {
        foreach (bool kernel in (bool[])[true, false])
        {
            // Where the kernel isn't used, Torch's operators do it: the other half of the function.
            T As<T>(Func<T> work)
            {
                bool before = Simd.Used;
                Simd.Used = kernel;
                try
                {
                    return work();
                }
                finally
                {
                    Simd.Used = before;
                }
            }
            string how = kernel ? "" : ", Torch's operators";
            yield return new(
                $"Elman{how}",
                () => Random([4, 3, 2], [5, 2], [5, 5], [5]),
                t => As(() => ElmanRecurrence.Apply(t[0], t[1], t[2], 9L, t[3]).ToArray()),
                Unrolled
            );
            foreach (var rule in Enum.GetValues<WriteRule>())
            {
                yield return new(
                    $"fast weights, {rule}{how}",
                    () =>
                    {
                        var t = Random([2, 3, 9, 4], [2, 3, 9, 4], [2, 3, 9, 5], [2, 3, 9], [3], [2, 3, 4, 5]);
                        (t[1], t[3], t[4]) = (nn.functional.normalize(t[1], dim: -1), t[3].sigmoid(), t[4].sigmoid());
                        return t;
                    },
                    t =>
                        As(() =>
                            FastWeightScan
                                .Apply(t[0], t[1], t[2], t[3], t[4], t[5], rule == WriteRule.Delta, 4L)
                                .ToArray()
                        ),
                    t =>
                    {
                        var (read, state) = FastWeights.Sequential(t[0], t[1], t[2], t[3], t[4], t[5], rule);
                        return [read, state];
                    }
                );
            }
            if (!kernel)
                continue; // it has none
            yield return new(
                "drift",
                () =>
                {
                    var t = Random([2, 70, 3], [3], [2, 3]);
                    t[1] = t[1].sigmoid();
                    return t;
                },
                t => ContextDriftScan.Apply(t[0], t[1], t[2]).ToArray(),
                t =>
                {
                    var context = t[2];
                    Tensor[] contexts = [.. t[0].unbind(1).Select(x => context = t[1] * context + x)];
                    return [stack(contexts, 1), stack([t[2], .. contexts[..^1]], 1)];
                }
            );
        }
    }

    private static Tensor[] Random(params long[][] shapes) => [.. shapes.Select(shape => randn(shape, dtype: float64))];

    private static Tensor[] Unrolled(Tensor[] t)
    {
        var h = zeros([t[0].shape[1], t[2].shape[0]], dtype: float64);
        var states = new List<Tensor>();
        for (long step = 0; step < 9; step++)
        {
            var sum = h.mm(t[2].t()) + t[3];
            states.Add(h = (step < t[0].shape[0] ? sum + t[0][step].mm(t[1].t()) : sum).tanh());
        }
        return [stack(states)];
    }

    private static Tensor[] Leaves(Tensor[] arguments) =>
        [.. arguments.Select(t => t.detach().clone().requires_grad_())];

    private static Parameter[] Parameters(int count = 2) =>
        [.. Enumerable.Range(0, count).Select(i => new Parameter(arange(1, 5, dtype: float64) + i))];

    private DisposeScope _scope = null!;

    [SetUp]
    public void Begin()
    {
        _scope = NewDisposeScope();
        manual_seed(1);
    }

    [TearDown]
    public void End() => _scope.Dispose();

    // ---- Gradients of the project's functions

    [TestCaseSource(nameof(Cases))]
    public void AnyResultMayBeUnused(Case function)
    {
        var arguments = function.Arguments();
        int results = function.Reference(arguments).Length;
        for (int used = 0; used < results; used++)
        {
            Tensor[] Used(Func<Tensor[], Tensor[]> of) => Compared.ResultsAndGradients(t => [of(t)[used]], arguments);
            Compared.AreEqual(Used(function.Function), Used(function.Reference), 1e-10);
        }
    }

    [TestCaseSource(nameof(Cases))]
    public void AScopeMayCloseBetweenTheWayThereAndTheWayBack(Case function)
    {
        var arguments = function.Arguments();
        var expected = Compared.ResultsAndGradients(function.Reference, arguments)[^arguments.Length..];
        var leaves = Leaves(arguments);
        Tensor loss;
        using (NewDisposeScope())
        {
            // Even what it is called with is gone then.
            using var copies = NewDisposeScope();
            loss = Compared
                .Loss(function.Function([.. leaves.Select(t => t.clone())]))
                .MoveToOuterDisposeScope()
                .MoveToOuterDisposeScope();
        }
        loss.backward();
        Compared.AreEqual([.. leaves.Select(t => t.grad!)], expected, 1e-10);
    }

    [TestCaseSource(nameof(Cases))]
    public void AGradientByItselfIsTheOneAmongAll(Case function)
    {
        var arguments = function.Arguments();
        var all = Compared.ResultsAndGradients(function.Function, arguments)[^arguments.Length..];
        for (int i = 0; i < arguments.Length; i++)
        {
            // The others need none.
            var some = arguments.Select((t, j) => t.detach().clone().requires_grad_(j == i)).ToArray();
            Compared.Loss(function.Function(some)).backward();
            Assert.That(some[i].grad!.Equals(all[i]), $"argument {i}, alone");
            Assert.That(some.Where((t, j) => j != i).All(t => t.grad is null), $"argument {i}: nothing for the others");

            // All could have one, and one is asked for.
            var leaves = Leaves(arguments);
            var asked = autograd.grad([Compared.Loss(function.Function(leaves))], [leaves[i]])[0];
            Assert.That(asked.Equals(all[i]), $"argument {i}, asked for");
        }
    }

    [TestCaseSource(nameof(Cases))]
    public void WithoutGradientsThereIsNoGraph(Case function)
    {
        var arguments = function.Arguments();
        var expected = function.Reference(arguments);
        int nodes = Living().Nodes;
        var plain = function.Function(arguments);
        Assert.That(plain.Any(t => t.requires_grad), Is.False);
        Compared.AreEqual(plain, expected, 1e-10);
        using var quiet = no_grad();
        var results = function.Function(Leaves(arguments));
        Assert.That(results.Any(t => t.requires_grad), Is.False);
        Compared.AreEqual(results, expected, 1e-10);
        Assert.That(Living().Nodes, Is.EqualTo(nodes));
    }

    [TestCaseSource(nameof(Cases))]
    public void BackwardMayRunOnAnotherThreadThanForward(Case function)
    {
        var arguments = function.Arguments();
        var expected = Compared.ResultsAndGradients(function.Function, arguments)[^arguments.Length..];
        foreach (bool plain in (bool[])[true, false])
        {
            var leaves = Leaves(arguments);
            var loss = Compared.Loss(function.Function(leaves));
            OnAnotherThread(() =>
            {
                if (plain)
                    loss.backward();
                else
                    BackwardCall.Run(loss);
            });
            Compared.AreEqual([.. leaves.Select(t => t.grad!)], expected, 1e-15);
        }
    }

    [TestCaseSource(nameof(Cases))]
    public void TwoThreadsAtOnceDoNotMind(Case function)
    {
        var arguments = function.Arguments();
        var expected = Compared.ResultsAndGradients(function.Function, arguments)[^arguments.Length..];
        var parameters = arguments.Select(t => new Parameter(t.detach().clone())).ToArray();
        using var together = new Barrier(2);
        void Work()
        {
            for (int i = 0; i < 30; i++)
            {
                using var scope = NewDisposeScope();
                var loss = Compared.Loss(function.Function(parameters));
                Assert.That(together.SignalAndWait(TimeSpan.FromMinutes(1)), "the other thread is there");
                var found = BackwardCall.Gradients(loss, parameters, alone: false);
                Compared.AreEqual(found!, expected, 1e-15);
            }
        }
        var other = Task.Factory.StartNew(Work, TaskCreationOptions.LongRunning);
        Work();
        other.Wait();
        Assert.That(parameters.All(p => p.grad is null));
    }

    /// <summary>
    /// Twice the same, or an exception: `backward` lets the graph be used again, what is of this project does not.
    /// </summary>
    [TestCaseSource(nameof(Cases))]
    public void GoingBackTwice(Case function)
    {
        var arguments = function.Arguments();
        var expected = Compared.ResultsAndGradients(function.Function, arguments)[^arguments.Length..];
        var leaves = Leaves(arguments);
        var loss = Compared.Loss(function.Function(leaves));
        autograd.backward([loss], retain_graph: true);
        loss.backward();
        Compared.AreEqual([.. leaves.Select(t => t.grad!)], [.. expected.Select(t => t * 2)], 1e-15);

        loss = Compared.Loss(function.Function(leaves));
        BackwardCall.Run(loss);
        Assert.That(() => BackwardCall.Run(loss), Throws.InstanceOf<Exception>());
        Assert.That(() => loss.backward(), Throws.InstanceOf<Exception>());
    }

    [TestCaseSource(nameof(Cases))]
    public void SecondDerivativesAreRefused(Case function)
    {
        var loss = Compared.Loss(function.Function(Leaves(function.Arguments())));
        Assert.That(() => autograd.backward([loss], create_graph: true), Throws.InstanceOf<ExternalException>());
    }

    [TestCaseSource(nameof(Cases))]
    public void AGradientThatIsNotThereIsZero(Case function)
    {
        var leaves = Leaves(function.Arguments());
        var loss = Compared.Loss([.. function.Function(leaves).Select(t => WithoutGradient.Apply(t)[0])]);
        BackwardCall.Run(loss);
        Assert.That(leaves.All(t => t.grad is null || t.grad.count_nonzero().ToInt64() == 0));
    }

    [TestCaseSource(nameof(Cases))]
    public void NothingIsKeptAlive(Case function)
    {
        var leaves = Leaves(function.Arguments());
        void Train()
        {
            using var scope = NewDisposeScope();
            BackwardCall.Run(Compared.Loss(function.Function(leaves)));
            // A graph that nobody goes back through.
            function.Function(leaves);
            foreach (var leaf in leaves)
                leaf.grad = null;
        }
        Train();
        var before = Living();
        for (int i = 0; i < 50; i++)
            Train();
        Assert.That(Living(), Is.EqualTo(before));
    }

    [TestCaseSource(nameof(Cases))]
    public void ATensorChangedMeanwhileIsAnException(Case function)
    {
        var leaves = Leaves(function.Arguments());
        var inner = leaves.Select(t => t * 1).ToArray();
        var loss = Compared.Loss(function.Function(inner));
        inner[1].add_(1);
        Assert.That(
            () => BackwardCall.Run(loss),
            Throws.InstanceOf<ExternalException>().With.Message.Contains("modified by an inplace operation")
        );
    }

    /// <summary>No sequence in the batch: gradients in weights are zero, the others have no number.</summary>
    [TestCaseSource(nameof(Cases))]
    public void AnEmptyBatchHasEmptyGradients(Case function)
    {
        var arguments = function.Arguments();
        long batch = arguments[0].shape[function.Name.StartsWith("Elman", StringComparison.Ordinal) ? 1 : 0];
        // Only the batch has that many.
        var empty = arguments
            .Select(t => Array.IndexOf(t.shape, batch) is var d and >= 0 && t.dim() > 1 ? t.narrow(d, 0, 0) : t)
            .ToArray();
        var leaves = Leaves(empty);
        Compared.Loss(function.Function(leaves)).backward();
        foreach (var leaf in leaves)
            Assert.That(leaf.grad!.shape.SequenceEqual(leaf.shape) && leaf.grad.count_nonzero().ToInt64() == 0);
    }

    // ---- What goes wrong

    [Test]
    public void AnExceptionInForwardIsThrownAndNothingIsKept([Values] bool needsGradients)
    {
        var before = Living();
        var (argument, told) = Throw();
        Assert.That(Living(), Is.EqualTo(before));
        Assert.That((argument.IsAlive, told.IsAlive), Is.EqualTo((false, false)));
        // And the next call is none the wiser.
        Assert.That(Product.Apply(ones(2), ones(2), new Told())[1].sum().item<float>(), Is.EqualTo(4));

        [MethodImpl(MethodImplOptions.NoInlining)]
        (WeakReference Argument, WeakReference Told) Throw()
        {
            using var scope = NewDisposeScope();
            var told = new Told { Forward = () => throw new DivideByZeroException("on the way there") };
            Tensor a = ones([3], requires_grad: needsGradients),
                b = ones(3);
            Assert.That(
                () => Product.Apply(a, b, told),
                Throws.TypeOf<DivideByZeroException>().With.Message.EqualTo("on the way there")
            );
            return (new(a), new(told));
        }
    }

    [Test]
    public void AnExceptionOnTheWayBackIsThrownAsItIs([Values] bool otherThread)
    {
        var p = Parameters();
        var loss = Product.Apply(p[0], p[1], Told.Throw)[0].sum();
        void Throws() =>
            Assert.That(
                () => BackwardCall.Run(loss),
                NUnit.Framework.Throws.TypeOf<DivideByZeroException>().With.Message.EqualTo("on the way back")
            );
        if (otherThread)
            OnAnotherThread(Throws);
        else
            Throws();
        Assert.That(p.All(t => t.grad is null));
    }

    [Test]
    public void AnExceptionOnTheWayBackToGradientsIsThrownAsItIs([Values] bool otherThread, [Values] bool alone)
    {
        var p = Parameters();
        var kept = full_like(p[0], 7);
        p[0].grad = kept;
        // Two functions deep: the engine goes on through the second.
        var deep = Product.Apply(Product.Apply(p[0], p[1], new Told())[0], p[1], Told.Throw)[0];
        var loss = deep.sum();
        void Throws() =>
            Assert.That(
                () => BackwardCall.Gradients(loss, p, alone),
                NUnit.Framework.Throws.TypeOf<DivideByZeroException>().With.Message.EqualTo("on the way back")
            );
        if (otherThread)
            OnAnotherThread(Throws);
        else
            Throws();
        Assert.That(p[0].grad!.Equals(kept) && p[1].grad is null);
    }

    /// <summary>Of every shape: Torch makes one number of any gradient for an argument of one number.</summary>
    [Test]
    public void AnExceptionUnderPlainBackwardIsTorchs(
        [Values("", "1", "1,1", "3", "2,3", "0")] string sizes,
        [Values] bool otherThread
    )
    {
        long[] shape = [.. sizes.Split(',', StringSplitOptions.RemoveEmptyEntries).Select(long.Parse)];
        Tensor a = ones(shape, requires_grad: true),
            b = ones(shape);
        var loss = Product.Apply(a, b, Told.Throw)[0].sum();
        void Throws() => Assert.That(loss.backward, NUnit.Framework.Throws.InstanceOf<ExternalException>());
        if (otherThread)
            OnAnotherThread(Throws);
        else
            Throws();
        Assert.That(a.grad, Is.Null);
        // The next one is none the wiser.
        BackwardCall.Run(Product.Apply(a, b, new Told())[0].sum());
        Assert.That(a.grad!.Equals(ones(shape)));
    }

    [Test]
    public void AWrongNumberOfGradientsIsAnException([Values(0, 1, 2, 4, 9)] int count)
    {
        var told = new Told
        {
            Backward = found => [.. Enumerable.Range(0, count).Select(i => i < 2 ? found[i] : ones(1))],
        };
        var p = Parameters();
        Tensor Loss() => Product.Apply(p[0], p[1], told)[0].sum();
        string expected = $"Product returned {count} gradients for 3 arguments";
        Assert.That(() => BackwardCall.Run(Loss()), Throws.InvalidOperationException.With.Message.Contains(expected));
        Assert.That(
            () => BackwardCall.Gradients(Loss(), p, alone: false),
            Throws.InvalidOperationException.With.Message.Contains(expected)
        );
        Assert.That(() => Loss().backward(), Throws.InstanceOf<ExternalException>());
    }

    [Test]
    public void AGradientForWhatIsNoTensorIsAnException()
    {
        var told = new Told { Backward = found => [found[0], found[1], ones(1)] };
        var p = Parameters();
        Assert.That(
            () => BackwardCall.Run(Product.Apply(p[0], p[1], told)[0].sum()),
            Throws.InvalidOperationException.With.Message.Contains("no tensor")
        );
    }

    [Test]
    public void AGradientOfTheWrongShapeIsTorchsException()
    {
        var told = new Told { Backward = found => [ones(7, dtype: float64), found[1], null] };
        var p = Parameters();
        Tensor Loss() => Product.Apply(p[0], p[1], told)[0].sum();
        Assert.That(() => BackwardCall.Run(Loss()), Throws.InstanceOf<ExternalException>());
        Assert.That(() => Loss().backward(), Throws.InstanceOf<ExternalException>());
    }

    [Test]
    public void GradientsThatAutogradCouldNotGiveAreRefused([Values] bool alone)
    {
        var p = Parameters();
        Tensor[] losses = [p[0] * 2, ones(1), p[0].sum().detach()];
        foreach (var loss in losses)
            Assert.That(() => BackwardCall.Gradients(loss, p, alone), Throws.InstanceOf<Exception>());
        if (!alone)
        {
            Assert.That(() => BackwardCall.Gradients(p[0].sum(), [], alone), Throws.ArgumentException);
            Assert.That(
                () => BackwardCall.Gradients(p[0].sum(), [p[0], new(ones(1), requires_grad: false)], alone),
                Throws.ArgumentException
            );
        }
    }

    [Test]
    public void GradientsAloneAreThoseBesideOthers()
    {
        var p = Parameters(3);
        Tensor Loss() => (Product.Apply(p[0], p[1], new Told())[0] * p[0]).sum(); // Σ a² b; the third is not in it
        foreach (bool alone in (bool[])[false, true])
        {
            var found = BackwardCall.Gradients(Loss(), p, alone);
            Assert.That(found[0]!.Equals(2 * p[0] * p[1]) && found[1]!.Equals(p[0].square()) && found[2] is null);
            Assert.That(p.All(t => t.grad is null));
        }
    }

    [Test]
    public void OneThreadsExceptionIsNotAnothers()
    {
        var p = Parameters();
        using var together = new Barrier(2);
        void Work(bool fails)
        {
            for (int i = 0; i < 30; i++)
            {
                using var scope = NewDisposeScope();
                var loss = Product.Apply(p[0], p[1], fails ? Told.Throw : new Told())[0].sum();
                Assert.That(together.SignalAndWait(TimeSpan.FromMinutes(1)), "the other thread is there");
                if (fails)
                {
                    Assert.That(
                        () => BackwardCall.Gradients(loss, p, alone: false),
                        Throws.TypeOf<DivideByZeroException>()
                    );
                }
                else
                {
                    Assert.That(BackwardCall.Gradients(loss, p, alone: false)[0]!.Equals(p[1]));
                }
            }
        }
        var other = Task.Factory.StartNew(() => Work(fails: true), TaskCreationOptions.LongRunning);
        Work(fails: false);
        other.Wait();
    }

    /// <summary>What is alive when other tests' leavings are gone.</summary>
    private static (int Nodes, long Tensors) Living()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        return (AutogradNodes.Count, Tensor.TotalCount);
    }

    private static void OnAnotherThread(Action work)
    {
        Exception? failure = null;
        var thread = new Thread(() =>
        {
            try
            {
                work();
            }
            catch (Exception e)
            {
                failure = e;
            }
        });
        thread.Start();
        thread.Join();
        if (failure is not null)
            throw new AssertionException("on another thread", failure);
    }
}
