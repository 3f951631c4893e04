using System.Collections.Concurrent;
using System.Diagnostics;
using System.Numerics;
using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace EmtTorch.Kernels;

/// <summary>
/// The arguments of a call of the kernel: sizes, and the addresses of tensors, each contiguous; null for a tensor that
/// is not given. The pointers decide what is computed.
/// </summary>
internal unsafe struct ElmanCall
{
    /// <summary>T, S, B, κ, H; the number of outputs, and the first step with outputs.</summary>
    public int Steps,
        InputSteps,
        Batch,
        Inputs,
        Hidden,
        Outputs,
        From;

    /// <summary>u (S, B, κ), W_uh (H, κ), W_hh (H, H), b (H).</summary>
    public void* Input,
        InputWeights,
        RecurrentWeights,
        Bias;

    /// <summary>W_r (κ, H), its bias (κ), and the target (T − From, B, κ).</summary>
    public void* Readout,
        ReadoutBias,
        Target;

    /// <summary>h (T, B, H), written.</summary>
    public void* States;

    /// <summary>h (T, B, H) of an earlier call and ∂L/∂h (T, B, H), if only gradients are wanted.</summary>
    public void* KnownStates,
        StatesGradient;

    /// <summary>Gradients, written. They are computed if W_hh's is given.</summary>
    public void* InputGradient,
        InputWeightsGradient,
        RecurrentWeightsGradient,
        BiasGradient,
        ReadoutGradient,
        ReadoutBiasGradient;
}

/// <summary>The sum of squared errors, and the number of outputs with the target's sign.</summary>
internal readonly record struct ElmanScore(double SquaredError, double RightSigns);

/// <summary>Stopwatch ticks of one thread for each phase; for the benchmark.</summary>
internal sealed class PhaseTimes
{
    public long Packing,
        Forward,
        Readout,
        Backward,
        WeightGradients,
        Sums;
}

/// <summary>
/// The Elman recurrence and its readout, and backpropagation through time:
/// <code>
/// h(t) = tanh(W_hh h(t−1) + W_uh u(t) + b),  y(t) = W_r h(t) + b_r,  L = 1/N Σ (y − y*)²
/// g(t) = 2/N (y(t) − y*(t)),  δ(t) = (1 − h(t)²) ∘ (W_hhᵀ δ(t+1) + W_rᵀ g(t))
/// dW_hh = Σ δ(t) h(t−1)ᵀ,  dW_uh = Σ δ(t) u(t)ᵀ,  db = Σ δ(t),  du(t) = W_uhᵀ δ(t)
/// dW_r = Σ g(t) h(t)ᵀ,  db_r = Σ g(t)
/// </code>
/// </summary>
/// <remarks>
/// The sequences of a batch are independent. So the batch is cut into slices, and a thread takes a slice through all
/// time steps and back without waiting for others. Slices, and the order in which their gradients are summed, depend
/// only on the sizes, so that the number of threads changes no bit. At any time a thread works on a slice's states at
/// two steps, the weights, δ of a few steps and one weight gradient, which stay in the cache; δ of a whole sequence
/// never exists.
/// </remarks>
internal abstract class FusedElman
{
    /// <summary>
    /// The most bytes of a thread's hidden states. If a slice's sequence needs more, only the states at the ends of
    /// segments are kept, and going back computes each segment again: a third more work, and the same bits.
    /// </summary>
    internal static long MostStateBytes { get; set; } = 64 << 20;

    public abstract ElmanScore Run(in ElmanCall call, int threads, PhaseTimes? times);

    /// <summary>Whether there is a kernel for a type of numbers.</summary>
    public static bool Covers(ScalarType dtype) => dtype is ScalarType.Float32 or ScalarType.Float64;

    /// <summary>Runs a call.</summary>
    /// <param name="path">A path that the processor has.</param>
    /// <param name="dtype">The type of all tensors, float32 or float64.</param>
    /// <param name="call">The arguments.</param>
    /// <param name="threads">The most threads to use.</param>
    /// <param name="times">The times that those of this call are added to, or null.</param>
    public static ElmanScore Run(
        SimdPath path,
        ScalarType dtype,
        in ElmanCall call,
        int threads,
        PhaseTimes? times = null
    )
    {
        var work = new Work(call, threads, times);
        Simd.Run(path, dtype, ref work);
        return work.Score;
    }

    private struct Work(ElmanCall call, int threads, PhaseTimes? times) : ISimdWork
    {
        public ElmanScore Score { get; private set; }

        // A kernel keeps its memory and is used again, by one caller at a time: the pages of fresh memory would take
        // longer than the arithmetic of a small network.
        public void Run<S, V, N, W, T>()
            where S : struct, ISimd<V, T>
            where V : struct
            where N : struct, ISimd<W, T>
            where W : struct
            where T : unmanaged, IBinaryFloatingPointIeee754<T>
        {
            if (!Spare<FusedElman<S, V, N, W, T>>.Kernels.TryTake(out var kernel))
                kernel = new();
            try
            {
                Score = kernel.Run(call, threads, times);
            }
            finally
            {
                Spare<FusedElman<S, V, N, W, T>>.Kernels.Add(kernel);
            }
        }
    }

    private static class Spare<K>
    {
        public static readonly ConcurrentBag<K> Kernels = [];
    }
}

/// <inheritdoc/>
/// <remarks>S and V are the vectors of the recurrence; N and W, of at most eight float32, those of the readout, which
/// has only κ columns.</remarks>
internal sealed unsafe class FusedElman<S, V, N, W, T> : FusedElman
    where S : struct, ISimd<V, T>
    where V : struct
    where N : struct, ISimd<W, T>
    where W : struct
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private const int MostRows = 32; // of a slice

    // A group is slices with one sum of gradients, so at most so many threads are useful.
    private const int MostGroups = 64;
    private const int ChunkRows = 128; // rows (steps × sequences) of δ that are summed to weight gradients at a time
    private const nuint KeptBytes = 256 << 20;

    private ElmanCall _c;
    private PhaseTimes? _times;
    private readonly Action<int, int> _group;

    private byte* _memory;
    private nuint _bytes;

    // Sizes. H and κ are padded to whole panels or vectors. Rows of states get one more cache line if their stride
    // would be a multiple of a large power of two, since then all rows of a column would share a few sets of the cache.
    private int _rows,
        _slices,
        _groups,
        _chunk,
        _segment,
        _width,
        _hidden,
        _inputs,
        _outputs;
    private nint _ld;
    private T _scale; // 2/N

    // Packed weights: panels of Width columns, k rows each. For the readout and the input's gradient a panel is a
    // vector.
    private T* _forwardHh,
        _forwardIh,
        _backwardHh,
        _backwardReadout,
        _readout,
        _inputGradient,
        _bias,
        _readoutBias,
        _zero;

    // The memory of the first thread and of the first group; the others follow at these distances.
    private T* _threads,
        _gradients;
    private nint _threadSize,
        _gradientSize;
    private readonly double[] _squares = new double[MostGroups],
        _right = new double[MostGroups];

    public FusedElman() => _group = Group;

    ~FusedElman() => NativeMemory.AlignedFree(_memory);

    private static int Up(int n, int to) => (n + to - 1) / to * to;

    public override ElmanScore Run(in ElmanCall call, int threads, PhaseTimes? times)
    {
        (_c, _times) = (call, times);
        Lay(ref threads);
        long start = Now();
        Pack();
        if (times is not null)
            times.Packing += Now() - start;
        SliceWorkers.Run(_groups, threads, _group);
        start = Now();
        double squares = 0,
            right = 0;
        for (int g = 0; g < _groups; g++)
        {
            squares += _squares[g];
            right += _right[g];
        }
        if (_c.RecurrentWeightsGradient != null)
            Sum();
        if (times is not null)
            times.Sums += Now() - start;
        if (_bytes > KeptBytes)
            Free();
        return new(squares, right);
    }

    private long Now() => _times is null ? 0 : Stopwatch.GetTimestamp();

    private void Free()
    {
        NativeMemory.AlignedFree(_memory);
        _memory = null;
        _bytes = 0;
    }

    /// <summary>Computes the sizes, and places everything in one block of memory.</summary>
    private void Lay(ref int threads)
    {
        _width = Tiles<S, V, T>.Width;
        _hidden = Up(_c.Hidden, _width);
        _inputs = Up(_c.Inputs, _width);
        _outputs = Up(_c.Outputs, Math.Max(S.Rows, N.Count));
        _ld = _hidden + (_hidden * sizeof(T) % 512 == 0 ? 64 / sizeof(T) : 0);
        // Several slices for each thread, so that others take over the share of a thread that is held up or starts
        // late: eight at B = 64 if the weights fit the first-level cache; otherwise four, since longer slices read the
        // weights less often.
        int slices = _c.Hidden <= 64 ? 8 : 4;
        _rows = Math.Clamp(Up((_c.Batch + slices - 1) / slices, 8), 8, MostRows);
        _slices = (_c.Batch + _rows - 1) / _rows;
        _groups = Math.Min(_slices, MostGroups);
        _chunk = Math.Min(ChunkRows / _rows, _c.Steps);
        // Segments are whole chunks, so that sums of gradients do not depend on their length.
        long fitting = MostStateBytes / (_rows * _ld * sizeof(T));
        _segment = fitting >= _c.Steps ? _c.Steps : (int)Math.Max(_chunk, fitting / _chunk * _chunk);
        threads = Math.Clamp(threads, 1, _groups);
        if (_c.Target != null)
            _scale = T.CreateTruncating(2.0 / ((double)(_c.Steps - _c.From) * _c.Batch * _c.Outputs));

        nint h = _hidden,
            at = 0;
        bool back = _c.RecurrentWeightsGradient != null;
        nint Take(nint numbers)
        {
            nint from = at;
            at += (numbers * sizeof(T) + 63) / 64 * 64 / sizeof(T);
            return from;
        }
        nint forwardHh = Take(h * _c.Hidden),
            forwardIh = Take(h * _c.Inputs),
            backwardHh = Take(h * _c.Hidden),
            backwardReadout = Take(h * _c.Outputs);
        nint readout = Take((nint)_outputs * _c.Hidden),
            inputGradient = Take((nint)_inputs * _c.Hidden),
            bias = Take(h),
            readoutBias = Take(_outputs),
            zero = Take(Math.Max(h, _inputs));
        nint gradients = at;
        _gradientSize = back ? h * h + h * _inputs + _outputs * h + h + _outputs : 0;
        at += _gradientSize * _groups;
        nint thread = at;
        int segments = (_c.Steps + _segment - 1) / _segment;
        _threadSize =
            (_segment + segments) * _rows * _ld
            + (nint)_c.InputSteps * _rows * _inputs
            + (back ? (_chunk + 1) * _rows * _ld + _rows * _ld + _rows * (nint)_inputs : 0)
            + (_chunk + 1) * _rows * (nint)_outputs;
        at += _threadSize * threads;

        nuint bytes = (nuint)at * (nuint)sizeof(T);
        if (bytes > _bytes)
        {
            Free();
            _memory = (byte*)NativeMemory.AlignedAlloc(bytes, 64);
            _bytes = bytes;
        }
        T* m = (T*)_memory;
        _forwardHh = m + forwardHh;
        _forwardIh = m + forwardIh;
        _backwardHh = m + backwardHh;
        _backwardReadout = m + backwardReadout;
        _readout = m + readout;
        _inputGradient = m + inputGradient;
        _bias = m + bias;
        _readoutBias = m + readoutBias;
        _zero = m + zero;
        _gradients = m + gradients;
        _threads = m + thread;
    }

    private void Pack()
    {
        int h = _c.Hidden,
            n = N.Count;
        T* hh = (T*)_c.RecurrentWeights,
            ih = (T*)_c.InputWeights,
            r = (T*)_c.Readout;
        if (_c.KnownStates == null)
        {
            Transposed(hh, h, h, _width, _forwardHh);
            Transposed(ih, h, _c.Inputs, _width, _forwardIh);
            Row((T*)_c.Bias, h, _hidden, _bias);
        }
        if (r != null)
        {
            Transposed(r, _c.Outputs, h, n, _readout);
            Row((T*)_c.ReadoutBias, _c.Outputs, _outputs, _readoutBias);
        }
        Row(null, 0, Math.Max(_hidden, _inputs), _zero);
        if (_c.RecurrentWeightsGradient == null)
            return;
        AsTheyAre(hh, h, h, _width, _backwardHh);
        if (r != null)
            AsTheyAre(r, _c.Outputs, h, _width, _backwardReadout);
        if (_c.InputGradient != null)
            AsTheyAre(ih, h, _c.Inputs, n, _inputGradient);

        // Packs w (rows, columns) in panels of `width` rows: k runs over the columns.
        static void Transposed(T* w, int rows, int columns, int width, T* to)
        {
            for (int from = 0; from < rows; from += width, to += (nint)columns * width)
            {
                for (int j = 0; j < width; j++)
                {
                    T* row = w + (nint)(from + j) * columns;
                    bool there = from + j < rows;
                    for (int k = 0; k < columns; k++)
                        to[(nint)k * width + j] = there ? row[k] : T.Zero;
                }
            }
        }

        // Packs w (rows, columns) in panels of `width` columns: k runs over the rows.
        static void AsTheyAre(T* w, int rows, int columns, int width, T* to)
        {
            for (int from = 0; from < columns; from += width)
            {
                for (int k = 0; k < rows; k++, to += width)
                {
                    int there = Math.Min(width, columns - from);
                    new Span<T>(w + (nint)k * columns + from, there).CopyTo(new(to, width));
                    new Span<T>(to + there, width - there).Clear();
                }
            }
        }

        static void Row(T* from, int count, int padded, T* to)
        {
            new Span<T>(to, padded).Clear();
            if (from != null)
                new Span<T>(from, count).CopyTo(new(to, padded));
        }
    }

    /// <summary>Takes a group's slices forward and back, one after the other.</summary>
    private void Group(int thread, int group)
    {
        var times = _times is { } && thread == 0 ? _times : null;
        // The state before the segment, the segment's states, and the states at the ends of the other segments.
        T* before = _threads + thread * _threadSize,
            states = before + _rows * _ld,
            ends = states + _segment * _rows * _ld;
        int segments = (_c.Steps + _segment - 1) / _segment;
        T* input = ends + (segments - 1) * _rows * _ld,
            errors = input + (nint)_c.InputSteps * _rows * _inputs;
        T* outputs = errors + _chunk * _rows * (nint)_outputs,
            deltas = outputs + _rows * (nint)_outputs,
            given = deltas + (_chunk + 1) * _rows * _ld,
            inputGradients = given + _rows * _ld;
        T* gradients = _gradients + group * _gradientSize;
        new Span<T>(gradients, checked((int)_gradientSize)).Clear();
        (_squares[group], _right[group]) = (0, 0);
        int slicesEach = _slices / _groups,
            more = _slices % _groups; // the first groups have one more
        int first = group * slicesEach + Math.Min(group, more),
            end = first + slicesEach + (group < more ? 1 : 0);
        for (int slice = first; slice < end; slice++)
        {
            int from = slice * _rows,
                real = Math.Min(_rows, _c.Batch - from),
                rows = Up(real, 8);
            var s = new Slice
            {
                From = from,
                Real = real,
                Rows = rows,
                Group = group,
                States = states,
                Input = input,
                Errors = errors,
                Outputs = outputs,
                Deltas = deltas,
                Given = given,
                InputGradients = inputGradients,
                Gradients = gradients,
                Times = times,
            };
            LoadInput(s);
            bool back = _c.RecurrentWeightsGradient != null;
            nint step = rows * _ld;
            if (_c.KnownStates == null)
            {
                for (int segment = 0; segment < segments; segment++)
                {
                    (s.First, s.End) = (segment * _segment, Math.Min((segment + 1) * _segment, _c.Steps));
                    Forward(s);
                    if (_c.States != null)
                        StoreStates(s);
                    if (!back && _c.Target != null)
                    {
                        for (int t = s.End - 1; t >= Math.Max(s.First, _c.From); t--)
                            ReadOut(s, t, errors);
                    }

                    if (segment + 1 == segments)
                        break;
                    T* last = states + (s.End - 1 - s.First) * step;
                    Copy(last, ends + segment * step, step);
                    Copy(last, states - step, step);
                }
            }

            if (!back)
                continue;
            // From the last segment to the first. All but the last are computed again.
            for (int segment = segments - 1; segment >= 0; segment--)
            {
                (s.First, s.End) = (segment * _segment, Math.Min((segment + 1) * _segment, _c.Steps));
                if (_c.KnownStates != null)
                {
                    LoadStates(s);
                }
                else if (segment + 1 < segments)
                {
                    if (segment > 0)
                        Copy(ends + (segment - 1) * step, states - step, step);
                    Forward(s);
                }
                Backward(s);
            }
        }

        static void Copy(T* from, T* to, nint count) =>
            Buffer.MemoryCopy(from, to, count * sizeof(T), count * sizeof(T));
    }

    /// <summary>
    /// A slice of the batch: its rows, and the thread's memory for it. Rows are padded to a multiple of 8 with copies
    /// of the last sequence, whose gradients are zero.
    /// </summary>
    private struct Slice
    {
        public int From,
            Real,
            Rows,
            Group;

        // The segment whose states are in memory: steps First to End − 1, after the state at First − 1.
        public int First,
            End;
        public T* States,
            Input,
            Errors,
            Outputs,
            Deltas,
            Given,
            InputGradients,
            Gradients;
        public PhaseTimes? Times;
    }

    private void LoadInput(in Slice s)
    {
        T* to = s.Input;
        for (int t = 0; t < _c.InputSteps; t++)
        {
            for (int r = 0; r < s.Rows; r++, to += _inputs)
            {
                T* row = (T*)_c.Input + ((nint)t * _c.Batch + s.From + Math.Min(r, s.Real - 1)) * _c.Inputs;
                new Span<T>(row, _c.Inputs).CopyTo(new(to, _inputs));
                new Span<T>(to + _c.Inputs, _inputs - _c.Inputs).Clear();
            }
        }
    }

    private void LoadStates(in Slice s)
    {
        int first = Math.Max(s.First - 1, 0);
        T* to = s.States + (first - s.First) * s.Rows * _ld;
        for (int t = first; t < s.End; t++)
        {
            for (int r = 0; r < s.Rows; r++, to += _ld)
            {
                T* row = (T*)_c.KnownStates + ((nint)t * _c.Batch + s.From + Math.Min(r, s.Real - 1)) * _c.Hidden;
                new Span<T>(row, _c.Hidden).CopyTo(new(to, _hidden));
                new Span<T>(to + _c.Hidden, _hidden - _c.Hidden).Clear();
            }
        }
    }

    private void StoreStates(in Slice s)
    {
        for (int t = s.First; t < s.End; t++)
        {
            for (int r = 0; r < s.Real; r++)
            {
                new Span<T>(s.States + ((nint)(t - s.First) * s.Rows + r) * _ld, _c.Hidden).CopyTo(
                    new((T*)_c.States + ((nint)t * _c.Batch + s.From + r) * _c.Hidden, _c.Hidden)
                );
            }
        }
    }

    private void Forward(in Slice s)
    {
        long start = Now();
        nint step = s.Rows * _ld;
        for (int t = s.First; t < s.End; t++)
        {
            T* h = s.States + (t - s.First) * step,
                before = h - step,
                u = s.Input + (nint)t * s.Rows * _inputs;
            int k1 = t > 0 ? _c.Hidden : 0,
                k2 = t < _c.InputSteps ? _c.Inputs : 0;
            // Panels in the outer loop: a panel stays in the first-level cache for all rows.
            for (int j = 0; j < _hidden; j += _width)
            {
                for (int r = 0; r < s.Rows; r += S.Rows)
                {
                    T* o = h + r * _ld + j;
                    Tiles<S, V, T>.Product(
                        before + r * _ld,
                        _ld,
                        _forwardHh + (nint)j * _c.Hidden,
                        k1,
                        u + (nint)r * _inputs,
                        _inputs,
                        _forwardIh + (nint)j * _c.Inputs,
                        k2,
                        _bias + j,
                        0,
                        null,
                        0,
                        o,
                        _ld
                    );
                    Tiles<S, V, T>.Tanh(o, _ld);
                }
            }
        }
        if (s.Times is { } times)
            times.Forward += Now() - start;
    }

    private void Backward(in Slice s)
    {
        nint step = s.Rows * _ld,
            errorStep = s.Rows * (nint)_outputs;
        if (s.End == _c.Steps)
            new Span<T>(s.Errors, (int)(_chunk * errorStep)).Clear();
        for (int t = s.End - 1; t >= s.First; t--)
        {
            int slot = t % _chunk;
            T* d = s.Deltas + slot * step,
                after = d + step,
                h = s.States + (t - s.First) * step,
                g = s.Errors + slot * errorStep;
            bool output = _c.Target != null && t >= _c.From;
            if (output)
                ReadOut(s, t, g);
            long start = Now();
            T* init = _zero;
            nint ldi = 0;
            if (_c.StatesGradient != null)
            {
                init = s.Given;
                ldi = _ld;
                LoadGiven(s, t);
            }
            // At the end of a chunk δ(t+1) belongs to the next chunk; a copy of it lies behind this chunk's last δ.
            int k1 = t < _c.Steps - 1 ? _c.Hidden : 0,
                k2 = output ? _c.Outputs : 0;
            for (int j = 0; j < _hidden; j += _width)
            {
                for (int r = 0; r < s.Rows; r += S.Rows)
                {
                    Tiles<S, V, T>.Product(
                        after + r * _ld,
                        _ld,
                        _backwardHh + (nint)j * _c.Hidden,
                        k1,
                        g + (nint)r * _outputs,
                        _outputs,
                        _backwardReadout + (nint)j * _c.Outputs,
                        k2,
                        init + r * ldi + j,
                        ldi,
                        h + r * _ld + j,
                        _ld,
                        d + r * _ld + j,
                        _ld
                    );
                }
            }

            if (_c.InputGradient != null && t < _c.InputSteps)
                StoreInputGradient(s, t, d);
            long then = Now();
            if (slot == 0)
            {
                WeightGradients(s, t, Math.Min(t + _chunk, _c.Steps));
                Buffer.MemoryCopy(d, d + _chunk * step, step * sizeof(T), step * sizeof(T));
            }
            if (s.Times is { } times)
            {
                times.Backward += then - start;
                times.WeightGradients += Now() - then;
            }
        }
    }

    private void LoadGiven(in Slice s, int t)
    {
        for (int r = 0; r < s.Rows; r++)
        {
            T* to = s.Given + r * _ld;
            int there = r < s.Real ? _c.Hidden : 0;
            new Span<T>((T*)_c.StatesGradient + ((nint)t * _c.Batch + s.From + r) * _c.Hidden, there).CopyTo(
                new(to, _hidden)
            );
            new Span<T>(to + there, _hidden - there).Clear();
        }
    }

    private void StoreInputGradient(in Slice s, int t, T* d)
    {
        for (int r = 0; r < s.Rows; r += 8)
        {
            for (int j = 0; j < _c.Inputs; j += N.Count)
            {
                Tiles<N, W, T>.NarrowProduct(
                    d + r * _ld,
                    _ld,
                    _inputGradient + (nint)j * _c.Hidden,
                    _c.Hidden,
                    _zero,
                    s.InputGradients + (nint)r * _inputs + j,
                    _inputs
                );
            }
        }

        for (int r = 0; r < s.Real; r++)
        {
            new Span<T>(s.InputGradients + (nint)r * _inputs, _c.Inputs).CopyTo(
                new((T*)_c.InputGradient + ((nint)t * _c.Batch + s.From + r) * _c.Inputs, _c.Inputs)
            );
        }
    }

    /// <summary>Computes y(t), adds its score, and writes g(t) to errors (Rows, κ padded).</summary>
    private void ReadOut(in Slice s, int t, T* errors)
    {
        long start = Now();
        int n = N.Count;
        T* h = s.States + (nint)(t - s.First) * s.Rows * _ld;
        for (int r = 0; r < s.Rows; r += 8)
        {
            for (int j = 0; j < _c.Outputs; j += n)
            {
                Tiles<N, W, T>.NarrowProduct(
                    h + r * _ld,
                    _ld,
                    _readout + (nint)j * _c.Hidden,
                    _c.Hidden,
                    _readoutBias + j,
                    s.Outputs + (nint)r * _outputs + j,
                    _outputs
                );
            }
        }

        W squares = N.All(T.Zero),
            right = squares,
            scale = N.All(_scale);
        T* last = stackalloc T[n];
        nint total = (nint)(_c.Steps - _c.From) * _c.Batch * _c.Outputs;
        for (int r = 0; r < s.Real; r++)
        {
            nint at = ((nint)(t - _c.From) * _c.Batch + s.From + r) * _c.Outputs;
            for (int j = 0; j < _c.Outputs; j += n)
            {
                T* target = (T*)_c.Target + at + j;
                int there = Math.Min(n, _c.Outputs - j);
                // Loading a vector from a shorter row reads into the next row, which the tensor's last row does not
                // have.
                if (at + j + n > total)
                {
                    new Span<T>(target, there).CopyTo(new(last, n));
                    target = last;
                }
                W y = N.Load(s.Outputs + (nint)r * _outputs + j),
                    wanted = N.Load(target);
                W error = N.Subtract(y, wanted),
                    agree = N.SameSign(y, wanted);
                if (there < n)
                    (error, agree) = (N.Keep(error, there), N.Keep(agree, there));
                squares = N.MultiplyAdd(error, error, squares);
                right = N.Add(right, agree);
                N.Store(N.Multiply(error, scale), errors + (nint)r * _outputs + j);
            }
        }
        // Sums over steps are in float64.
        N.Store(squares, last);
        for (int i = 0; i < n; i++)
            _squares[s.Group] += double.CreateTruncating(last[i]);
        N.Store(right, last);
        for (int i = 0; i < n; i++)
            _right[s.Group] += double.CreateTruncating(last[i]);
        if (s.Times is { } times)
            times.Readout += Now() - start;
    }

    /// <summary>Adds the steps from … end − 1, which are in the chunk, to the weights' gradients.</summary>
    private void WeightGradients(in Slice s, int from, int end)
    {
        nint h = _hidden;
        T* hh = s.Gradients,
            ih = hh + h * h,
            readout = ih + h * _inputs,
            bias = readout + _outputs * h,
            readoutBias = bias + h;
        // The first step adds nothing to W_hh's, since h(0) = 0.
        int first = Math.Max(from, 1);
        nint d = (nint)s.Rows * _ld;
        if (end > first)
        {
            for (int j = 0; j < _hidden; j += _width)
            {
                for (int i = 0; i < _c.Hidden; i += S.Rows)
                {
                    T* w = hh + i * h + j;
                    Tiles<S, V, T>.StridedProduct(
                        s.Deltas + (first - from) * d + i,
                        1,
                        _ld,
                        s.States + (first - 1 - s.First) * d + j,
                        _ld,
                        (nint)(end - first) * s.Rows,
                        w,
                        h,
                        w,
                        h
                    );
                }
            }
        }

        int lastInput = Math.Min(end, _c.InputSteps);
        if (lastInput > from)
        {
            for (int j = 0; j < _c.Inputs; j += _width)
            {
                for (int i = 0; i < _c.Hidden; i += S.Rows)
                {
                    T* w = ih + (nint)i * _inputs + j;
                    Tiles<S, V, T>.StridedProduct(
                        s.Deltas + i,
                        1,
                        _ld,
                        s.Input + (nint)from * s.Rows * _inputs + j,
                        _inputs,
                        (nint)(lastInput - from) * s.Rows,
                        w,
                        _inputs,
                        w,
                        _inputs
                    );
                }
            }
        }

        if (_c.BiasGradient != null)
            AddRows(s.Deltas, _ld, (nint)(end - from) * s.Rows, _hidden, bias);
        first = Math.Max(from, _c.From);
        if (_c.Target == null || end <= first)
            return;
        T* g = s.Errors + (nint)(first - from) * s.Rows * _outputs;
        for (int j = 0; j < _hidden; j += _width)
        {
            for (int i = 0; i < _c.Outputs; i += S.Rows)
            {
                T* w = readout + i * h + j;
                Tiles<S, V, T>.StridedProduct(
                    g + i,
                    1,
                    _outputs,
                    s.States + (first - s.First) * d + j,
                    _ld,
                    (nint)(end - first) * s.Rows,
                    w,
                    h,
                    w,
                    h
                );
            }
        }

        if (_c.ReadoutBiasGradient != null)
            AddRows(g, _outputs, (nint)(end - first) * s.Rows, _outputs, readoutBias);

        static void AddRows(T* rows, nint ld, nint count, int columns, T* to)
        {
            for (nint r = 0; r < count; r++, rows += ld)
            {
                for (int j = 0; j < columns; j += N.Count)
                    N.Store(N.Add(N.Load(to + j), N.Load(rows + j)), to + j);
            }
        }
    }

    /// <summary>Adds the groups' gradients in the order of the groups, without the padding.</summary>
    private void Sum()
    {
        nint h = _hidden,
            at = 0;
        Sum(_c.Hidden, _c.Hidden, h, (T*)_c.RecurrentWeightsGradient);
        at += h * h;
        Sum(_c.Hidden, _c.Inputs, _inputs, (T*)_c.InputWeightsGradient);
        at += h * _inputs;
        Sum(_c.Outputs, _c.Hidden, h, (T*)_c.ReadoutGradient);
        at += _outputs * h;
        Sum(1, _c.Hidden, h, (T*)_c.BiasGradient);
        at += h;
        Sum(1, _c.Outputs, _outputs, (T*)_c.ReadoutBiasGradient);

        void Sum(int rows, int columns, nint ld, T* to)
        {
            if (to == null)
                return;
            for (int i = 0; i < rows; i++, to += columns)
            {
                T* from = _gradients + at + i * ld;
                int j = 0;
                for (; j + S.Count <= columns; j += S.Count)
                {
                    V sum = S.Load(from + j);
                    for (int g = 1; g < _groups; g++)
                        sum = S.Add(sum, S.Load(from + g * _gradientSize + j));
                    S.Store(sum, to + j);
                }
                for (; j < columns; j++)
                {
                    T sum = from[j];
                    for (int g = 1; g < _groups; g++)
                        sum += from[g * _gradientSize + j];
                    to[j] = sum;
                }
            }
        }
    }
}
