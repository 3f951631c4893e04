using EmtTorch.Kernels;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

/// <summary>
/// Tests of kernels on every vector path that this processor has; the path and the threads are afterwards what they
/// were.
/// </summary>
public abstract class OnSimdPaths
{
    private SimdPath _path;
    private int _threads;

    [SetUp]
    public void Remember()
    {
        _path = Simd.Path;
        _threads = get_num_threads();
    }

    [TearDown]
    public void Restore()
    {
        Simd.Path = _path;
        Simd.Used = true;
        set_num_threads(_threads);
    }

    protected static readonly string[] Paths = Enum.GetNames<SimdPath>();

    protected static void Use(string name)
    {
        var path = Enum.Parse<SimdPath>(name);
        if (!Simd.Has(path))
            Assert.Ignore($"this processor has no {path}");
        Simd.Path = path;
    }
}
