using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

[NonParallelizable] // it collects garbage without end
public sealed class LateScalarsTests
{
    // Without LateScalars a number is freed while libtorch reads it, within a second: "Expected false to be true", or
    // sums of another number.
    [Test]
    public void NumbersOutliveTheOperatorsThatReadThem()
    {
        TorchRuntime.Start(threads: null);
        using var stop = new CancellationTokenSource();
        var collector = Task.Run(() =>
        {
            while (!stop.IsCancellationRequested)
                GC.Collect(0);
        });
        var workers = Enumerable
            .Range(0, 4)
            .Select(_ =>
                Task.Run(() =>
                {
                    using var scope = NewDisposeScope();
                    Tensor sum = zeros(1, dtype: ScalarType.Float64),
                        one = ones(1, dtype: ScalarType.Float64);
                    for (int i = 0; i < 20_000; i++)
                        sum.add_(one).mul_(1.0).add_(2.0);
                    return sum.item<double>();
                })
            )
            .ToArray();
        try
        {
            Assert.That(Task.WhenAll(workers).GetAwaiter().GetResult(), Has.All.EqualTo(60_000));
        }
        finally
        {
            stop.Cancel();
            collector.Wait();
        }
    }

    [Test]
    public void TheyAreFreedInTheEnd()
    {
        TorchRuntime.Start(threads: null);
        using var scope = NewDisposeScope();
        var sum = zeros(1);
        void Add(int times)
        {
            for (int i = 0; i < times; i++)
                sum.add_(1);
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
        Add(10_000);
        Assert.That(LateScalars.Count, Is.GreaterThan(1000), "else they are freed at once");
        Thread.Sleep(1200);
        Add(100);
        Assert.That(LateScalars.Count, Is.LessThan(1000));
    }
}
