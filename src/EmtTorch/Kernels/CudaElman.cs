using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Kernels;

/// <summary>
/// Computes all time steps of the Elman recurrence in one launch on a GPU, for one network or several (`elman.cu`), in
/// float32 and float64, if W fits a multiprocessor's registers and shared memory (on an H100 up to H = 300 in float32,
/// 220 in float64). Otherwise results are null, and the caller uses Torch's operators.
/// </summary>
/// <remarks>
/// A launch through TorchSharp takes about 10 µs, and the arithmetic of a time step of a small network less than 1 µs.
/// So with one operator after the other the GPU waits for launches. Both kernels add in plain float32 or float64, so
/// that results equal the CPU's to rounding. The source is compiled for each H, type and number of rows at first use,
/// which takes about a second.
/// </remarks>
internal static class CudaElman
{
    private static readonly Lock Gate = new();
    private static readonly Dictionary<(int Device, ElmanTile Tile), Kernels?> Loaded = [];
    private static readonly Dictionary<int, (int Multiprocessors, int SharedMemory)> Devices = [];

    private sealed record Kernels(CudaModule Module, ElmanTile Tile, nint Forward, nint Backward);

    /// <summary>The number of launches so far.</summary>
    public static long Launches => Interlocked.Read(ref s_launches);

    private static long s_launches;

    /// <summary>Computes h(t) = tanh(x(t) + W h(t−1)) with h(0) = 0.</summary>
    /// <param name="given">x of the first S steps (N, S, B, H).</param>
    /// <param name="weights">W (N, H, H).</param>
    /// <param name="bias">x of the other steps (N, H); null for 0.</param>
    /// <param name="steps">T, the number of steps.</param>
    /// <param name="lengths">Each network's last step (N), int32; null if it is T for all.</param>
    /// <returns>h(1) … h(T) (N, T, B, H), 0 after a network's last step; null if the kernel cannot.</returns>
    /// <exception cref="ExternalException">The launch failed.</exception>
    public static Tensor? States(Tensor given, Tensor weights, Tensor? bias, long steps, Tensor? lengths)
    {
        if (Find(given, weights, steps * given.shape[2]) is not { } kernels)
            return null;
        var result = empty([given.shape[0], steps, .. given.shape[2..]], dtype: given.dtype, device: given.device);
        Launch(kernels, backward: false, given.contiguous(), weights, bias, null, result, lengths);
        return result;
    }

    /// <summary>Computes δ(t) = (1 − h(t)²) ∘ (g(t) + Wᵀ δ(t+1)) from each network's last step to the first.</summary>
    /// <param name="given">g, the gradient of the loss in h (N, T, B, H).</param>
    /// <param name="weights">W (N, H, H).</param>
    /// <param name="states">h (N, T, B, H).</param>
    /// <param name="lengths">Each network's last step (N), int32; null if it is T for all.</param>
    /// <returns>δ(1) … δ(T) (N, T, B, H), 0 after a network's last step; null if the kernel cannot.</returns>
    /// <exception cref="ExternalException">The launch failed.</exception>
    public static Tensor? Deltas(Tensor given, Tensor weights, Tensor states, Tensor? lengths)
    {
        if (Find(given, weights, given.shape[1] * given.shape[2]) is not { } kernels)
            return null;
        var result = empty(given.shape, dtype: given.dtype, device: given.device);
        Launch(kernels, backward: true, given.contiguous(), weights, null, states.contiguous(), result, lengths);
        return result;
    }

    /// <summary>Whether a network's score should be computed by these launches in place of autograd.</summary>
    public static bool Serves(Tensor input, Tensor target) =>
        Simd.Used
        && input.device_type == DeviceType.CUDA
        && input.dtype is (ScalarType.Float32 or ScalarType.Float64)
        && input.numel() > 0
        && target.numel() > 0;

    /// <summary>Decides whether the kernel is used, and with how many rows in a block; null if it is not.</summary>
    private static Kernels? Find(Tensor given, Tensor weights, long rows)
    {
        long networks = given.shape[0],
            batch = given.shape[2],
            hidden = given.shape[3];
        if (given.device_type != DeviceType.CUDA || !Simd.Used)
            return null;
        if (given.dtype is not (ScalarType.Float32 or ScalarType.Float64) || weights.dtype != given.dtype)
            return null;
        if (networks * rows * hidden == 0 || hidden > 1024 || rows > int.MaxValue || networks * batch > int.MaxValue)
            return null;
        int number = given.device_index;
        lock (Gate)
        {
            if (!Devices.TryGetValue(number, out var device))
                Devices[number] = device = CudaModule.Size(number);
            var tiles =
                from rowsOfBlock in new[] { 1, 2, 4, 8 }
                let tile = new ElmanTile((int)hidden, rowsOfBlock, given.dtype == ScalarType.Float32 ? 4 : 8)
                where tile.SharedBytes <= device.SharedMemory
                // Each multiprocessor takes one block in a round. A round takes about the time of its rows and of two
                // more, for W and the barriers.
                let rounds = (networks * tile.Blocks(batch) + device.Multiprocessors - 1) / device.Multiprocessors
                orderby rounds * (2 + rowsOfBlock)
                select (ElmanTile?)tile;
            if (tiles.FirstOrDefault() is not { } best)
                return null;
            if (!Loaded.TryGetValue((number, best), out var kernels))
                Loaded[(number, best)] = kernels = Load(best, number);
            return kernels;
        }
    }

    private static Kernels? Load(ElmanTile tile, int device) =>
        CudaModule.Load("elman.cu", tile.Definitions, device) is { } module
            ? new(
                module,
                tile,
                module.Kernel("elman_forward", tile.SharedBytes),
                module.Kernel("elman_backward", tile.SharedBytes)
            )
            : null;

    private static void Launch(
        Kernels kernels,
        bool backward,
        Tensor given,
        Tensor weights,
        Tensor? bias,
        Tensor? states,
        Tensor result,
        Tensor? lengths
    )
    {
        var tile = kernels.Tile;
        long hidden = tile.Hidden,
            batch = given.shape[2];
        // The numbers of one network must be contiguous; there may be gaps between networks.
        var w = weights.stride(1) == hidden && weights.stride(2) == 1 ? weights : weights.contiguous();
        var b = bias is null || bias.stride(1) == 1 ? bias : bias.contiguous();
        kernels.Module.Launch(
            backward ? kernels.Backward : kernels.Forward,
            checked((int)(given.shape[0] * tile.Blocks(batch))),
            tile.Threads,
            tile.SharedBytes,
            new ElmanLaunch
            {
                Weights = CudaModule.Memory(w),
                Given = CudaModule.Memory(given),
                Bias = CudaModule.Memory(b),
                States = CudaModule.Memory(states),
                Result = CudaModule.Memory(result),
                Lengths = CudaModule.Memory(lengths),
                WeightsStride = w.stride(0),
                BiasStride = b?.stride(0) ?? 0,
                Steps = (int)result.shape[1],
                GivenSteps = (int)given.shape[1],
                Batch = (int)batch,
            }
        );
        // After this Torch may use their memory again: later launches on the same stream come after this one.
        foreach (var tensor in (ReadOnlySpan<Tensor?>)[w, given, b, states, result, lengths])
            GC.KeepAlive(tensor);
        Interlocked.Increment(ref s_launches);
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct ElmanLaunch
    {
        public nint Weights,
            Given,
            Bias,
            States,
            Result,
            Lengths;
        public long WeightsStride,
            BiasStride;
        public int Steps,
            GivenSteps,
            Batch;
    }
}

/// <summary>The division of W among a block's threads, for the definitions of `elman.cu`.</summary>
/// <param name="Hidden">H, the number of hidden units.</param>
/// <param name="Rows">The number of sequences in a block.</param>
/// <param name="Size">The bytes of a number.</param>
internal readonly record struct ElmanTile(int Hidden, int Rows, int Size)
{
    private const int Registers = 16384,
        MostOfThread = 255,
        OfTheCode = 45; // of a quarter of a multiprocessor

    private int Units => Math.Clamp((Hidden + 31) / 32, 1, 4);

    private int Parts => Hidden < 16 ? 1 : 4;

    // A multiple of a load of 16 bytes.
    private int Inputs => Up((Hidden + Parts - 1) / Parts, 16 / Size);

    /// <summary>The number of threads in a block.</summary>
    public int Threads => (Hidden + Units - 1) / Units * Parts;

    // The weights of a thread in registers: as many as the sums, their added terms and the code's own variables leave.
    private int Held
    {
        get
        {
            int registers = Math.Min(MostOfThread, Registers / (Up(Threads, 128) / 4) / 8 * 8);
            int items = (Rows * Hidden + Threads - 1) / Threads;
            return Math.Clamp((registers - OfTheCode) * 4 / Size - Units * Rows - 2 * items, 0, Units * Inputs);
        }
    }

    /// <summary>
    /// The shared memory of a block: states, partial sums, and the weights that are not in registers.
    /// </summary>
    public int SharedBytes => (Rows * Parts * (Inputs + Hidden) + (Units * Inputs - Held) * Threads) * Size;

    /// <summary>The number of blocks for a network.</summary>
    public long Blocks(long batch) => (batch + Rows - 1) / Rows;

    /// <summary>The macros of `elman.cu`.</summary>
    public IEnumerable<string> Definitions =>
        [
            $"REAL={(Size == 4 ? "float" : "double")}",
            $"H={Hidden}",
            $"ROWS={Rows}",
            $"UNITS={Units}",
            $"PARTS={Parts}",
            $"INPUTS={Inputs}",
            $"HELD={Held}",
        ];

    private static int Up(int number, int multiple) => (number + multiple - 1) / multiple * multiple;
}
