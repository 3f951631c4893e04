using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Kernels;

/// <summary>
/// A piece of the parameters of N networks, with gradients, averages and averages of squares, (N, …) each.
/// </summary>
internal readonly record struct AdamPiece(Tensor Parameters, Tensor Gradient, Tensor Means, Tensor Squares);

/// <summary>
/// Clips gradients and takes a step of Adam on a GPU in one launch (`adam.cu`), with the equations and names of
/// `EnsembleAdam` (Models). Torch's operators would take a dozen launches of 10 µs for each parameter.
/// </summary>
internal static class CudaAdam
{
    private const int Threads = 1024,
        MostPieces = 8;

    private static readonly Lock Gate = new();
    private static readonly Dictionary<(int Device, ScalarType Type), (CudaModule Module, nint Kernel)?> Loaded = [];

    /// <summary>The number of launches so far.</summary>
    public static long Launches => Interlocked.Read(ref s_launches);

    private static long s_launches;

    /// <summary>Takes a step of N networks, each with its own numbers (N) of the parameters' type.</summary>
    /// <returns>‖g‖ before clipping (N); null if the kernel cannot, and then nothing is changed.</returns>
    /// <exception cref="ExternalException">The launch failed.</exception>
    public static Tensor? Step(AdamPiece piece, Tensor limits, Tensor decays, Tensor kept, Tensor a, Tensor b)
    {
        Tensor[] numbers = [limits, decays, kept, a, b];
        if (!numbers.All(n => n.is_contiguous()))
            return null;
        return Launch(
            [piece],
            piece.Parameters.shape[0],
            numbers,
            new AdamLaunch
            {
                Limits = CudaModule.Memory(limits),
                Decays = CudaModule.Memory(decays),
                Kepts = CudaModule.Memory(kept),
                As = CudaModule.Memory(a),
                Bs = CudaModule.Memory(b),
            }
        );
    }

    /// <summary>Takes a step of one network, whose parameters are in several pieces.</summary>
    /// <returns>‖g‖ before clipping (1); null if the kernel cannot, and then nothing is changed.</returns>
    /// <exception cref="ExternalException">The launch failed.</exception>
    public static Tensor? Step(AdamPiece[] pieces, double limit, double decay, double kept, double a, double b) =>
        Launch(
            pieces,
            1,
            [],
            new AdamLaunch
            {
                Limit = limit,
                Decay = decay,
                Kept = kept,
                A = a,
                B = b,
            }
        );

    private static Tensor? Launch(AdamPiece[] pieces, long networks, Tensor[] numbers, AdamLaunch call)
    {
        var first = pieces[0].Parameters;
        if (pieces.Length > MostPieces || networks is 0 or > int.MaxValue)
            return null;
        foreach (var piece in pieces)
        {
            foreach (var tensor in (ReadOnlySpan<Tensor>)[piece.Parameters, piece.Gradient, piece.Means, piece.Squares])
            {
                if (tensor.dtype != first.dtype || tensor.device_type != first.device_type || !tensor.is_contiguous())
                    return null;
            }
        }
        if (Find(first) is not { } loaded)
            return null;

        for (int i = 0; i < pieces.Length; i++)
        {
            call.Pieces[i] = new()
            {
                Parameters = CudaModule.Memory(pieces[i].Parameters),
                Gradient = CudaModule.Memory(pieces[i].Gradient),
                Means = CudaModule.Memory(pieces[i].Means),
                Squares = CudaModule.Memory(pieces[i].Squares),
                Count = pieces[i].Parameters.numel() / networks,
            };
        }
        var norms = empty(networks, dtype: first.dtype, device: first.device);
        call.Norms = CudaModule.Memory(norms);
        call.PieceCount = pieces.Length;
        loaded.Module.Launch(loaded.Kernel, (int)networks, Threads, 0, call);
        GC.KeepAlive(pieces);
        GC.KeepAlive(numbers);
        Interlocked.Increment(ref s_launches);
        return norms;
    }

    /// <summary>Decides whether the kernel is used; null if not.</summary>
    private static (CudaModule Module, nint Kernel)? Find(Tensor parameters)
    {
        if (parameters.device_type != DeviceType.CUDA || !Simd.Used)
            return null;
        if (parameters.dtype is not (ScalarType.Float32 or ScalarType.Float64))
            return null;
        lock (Gate)
        {
            var key = (parameters.device_index, parameters.dtype);
            if (Loaded.TryGetValue(key, out var loaded))
                return loaded;
            string real = parameters.dtype == ScalarType.Float32 ? "float" : "double";
            var module = CudaModule.Load("adam.cu", [$"REAL={real}", $"THREADS={Threads}"], key.device_index);
            return Loaded[key] = module is null ? null : (module, module.Kernel("clipped_adam", 0));
        }
    }

    private struct Piece
    {
        public nint Parameters,
            Gradient,
            Means,
            Squares;
        public long Count;
    }

    [InlineArray(MostPieces)]
    private struct Pieces
    {
        private Piece _first;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct AdamLaunch
    {
        public Pieces Pieces;
        public nint Norms,
            Limits,
            Decays,
            Kepts,
            As,
            Bs;
        public double Limit,
            Decay,
            Kept,
            A,
            B;
        public long PieceCount;
    }
}
