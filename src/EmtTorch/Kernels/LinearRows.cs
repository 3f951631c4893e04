using System.Numerics;
using System.Runtime.InteropServices;

namespace EmtTorch.Kernels;

/// <summary>
/// One call of <see cref="LinearKernel"/>. W lies packed: in panels of a tile's width, padded with zeros. Rows go in
/// blocks that stay in the first cache while all panels are multiplied with them.
/// </summary>
internal sealed unsafe class LinearRows<S, V, T>
    where S : struct, ISimd<V, T>
    where V : struct
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private const int Block = 128;

    private static readonly int Width = Tiles<S, V, T>.Width;

    private readonly LinearCall _c;
    private readonly nint _inputs,
        _outputs, // I and O, padded to a tile's width
        _part; // the numbers of an item's dW and db
    private readonly T* _memory,
        _panels, // forward Wᵀ, panels of (I, Width); backward W, panels of (O, Width)
        _bias, // b, or zeros
        _parts; // each item's dW (O, I) and db (O)

    /// <summary>The number of items.</summary>
    public int Items { get; }

    /// <summary>Whether the gradients are wanted.</summary>
    public bool Back { get; }

    public LinearRows(in LinearCall call, int items, bool back)
    {
        (_c, Items, Back) = (call, items, back);
        (_inputs, _outputs) = (Up(call.Inputs, Width), Up(call.Outputs, Width));
        _part = _outputs * (_inputs + 1);
        nint packed = back ? call.Outputs * _inputs : call.Inputs * _outputs,
            initial = Math.Max(_inputs, _outputs);
        nuint numbers = (nuint)(packed + initial + (back ? items * _part : 0));
        _memory = (T*)NativeMemory.AlignedAlloc(numbers * (nuint)sizeof(T), 64);
        _panels = _memory;
        _bias = _memory + packed;
        _parts = _bias + initial;
        new Span<T>(_bias, (int)initial).Clear();
        if (!back && call.Bias != null)
            new Span<T>(call.Bias, call.Outputs).CopyTo(new(_bias, call.Outputs));
        Pack();
    }

    /// <summary>Frees the memory; nothing else can be called after it.</summary>
    public void Free() => NativeMemory.AlignedFree(_memory);

    private void Pack()
    {
        T* weights = (T*)_c.Weights;
        int inputs = _c.Inputs,
            outputs = _c.Outputs;
        nint columns = Back ? inputs : outputs,
            rows = Back ? outputs : inputs;
        T* to = _panels;
        for (nint panel = 0; panel < columns; panel += Width, to += rows * Width)
        {
            nint count = Math.Min(Width, columns - panel);
            if (count < Width)
                new Span<T>(to, (int)(rows * Width)).Clear();
            if (Back)
            {
                for (nint k = 0; k < rows; k++)
                    new Span<T>(weights + k * inputs + panel, (int)count).CopyTo(new(to + k * Width, Width));
                continue;
            }
            Tiles<S, V, T>.Transpose(weights + panel * inputs, inputs, count, rows, to, Width);
        }
    }

    // Items are of whole tiles, except the last.
    private (nint From, nint To) Range(int item)
    {
        long each = Up((_c.Rows + Items - 1) / Items, S.Rows);
        return ((nint)Math.Min(_c.Rows, each * item), (nint)Math.Min(_c.Rows, each * (item + 1)));
    }

    /// <summary>Computes an item's rows of y.</summary>
    public void Forward(int item)
    {
        T* x = (T*)_c.Input;
        T* y = (T*)_c.Output;
        T* scratch = Scratch();
        var (from, to) = Range(item);
        for (nint first = from; first < to; first += Block)
        {
            Multiply(
                x + first * _c.Inputs,
                _c.Inputs,
                Math.Min(Block, to - first),
                y + first * _c.Outputs,
                _c.Outputs,
                _c.Onto == null ? null : (T*)_c.Onto + first * _c.Outputs,
                scratch
            );
        }
    }

    /// <summary>Computes an item's rows of dx, and its part of dW and db.</summary>
    public void Backward(int item)
    {
        T* scratch = Scratch();
        T* part = _parts + item * _part;
        T* ofBias = part + _outputs * _inputs;
        new Span<T>(part, (int)_part).Clear();
        var (from, to) = Range(item);
        for (nint first = from; first < to; first += Block)
        {
            nint count = Math.Min(Block, to - first);
            T* x = (T*)_c.Input + first * _c.Inputs;
            T* ofY = (T*)_c.OfOutput + first * _c.Outputs;
            if (_c.OfInput != null)
            {
                Multiply(ofY, _c.Outputs, count, (T*)_c.OfInput + first * _c.Inputs, _c.Inputs, null, scratch);
            }
            if (_c.OfWeights == null && _c.OfBias == null)
                continue;
            // A tile reads whole vectors of a row: where rows end within one, padded copies are read.
            T* padded = scratch + S.Rows * (Width + Math.Max(_inputs, _outputs));
            x = Padded(x, _c.Inputs, count, _inputs, padded);
            ofY = Padded(ofY, _c.Outputs, count, _outputs, padded + Block * _inputs);
            if (_c.OfBias != null)
                AddRows(ofY, count, ofBias);
            if (_c.OfWeights != null)
                AddProducts(ofY, x, count, part);
        }
    }

    /// <summary>dW and db: the items' parts in their order.</summary>
    public void AddParts()
    {
        for (int item = 1; item < Items; item++)
        {
            T* part = _parts + item * _part;
            for (nint i = 0; i < _part; i += S.Count)
                S.Store(S.Add(S.Load(_parts + i), S.Load(part + i)), _parts + i);
        }
        for (nint o = 0; o < _c.Outputs && _c.OfWeights != null; o++)
            new Span<T>(_parts + o * _inputs, _c.Inputs).CopyTo(new((T*)_c.OfWeights + o * _c.Inputs, _c.Inputs));
        if (_c.OfBias != null)
            new Span<T>(_parts + _outputs * _inputs, _c.Outputs).CopyTo(new(_c.OfBias, _c.Outputs));
    }

    /// <summary>o = a·panels + b for a few rows; with r, o = r + a·panels.</summary>
    private void Multiply(T* a, int k, nint rows, T* o, int columns, T* onto, T* scratch)
    {
        for (nint panel = 0; panel < columns; panel += Width)
        {
            nint count = Math.Min(Width, columns - panel);
            for (nint r = 0; r < rows; r += S.Rows)
            {
                bool whole = count == Width && rows - r >= S.Rows;
                T* from = a + r * k;
                bool added = whole && onto != null;
                nint at = r * columns + panel;
                T* to = whole ? o + at : scratch;
                if (rows - r < S.Rows)
                {
                    // The tile's other rows may be beyond the matrix.
                    from = scratch + S.Rows * Width;
                    new Span<T>(a + r * k, (int)(rows - r) * k).CopyTo(new(from, S.Rows * k));
                }
                Tiles<S, V, T>.StridedProduct(
                    from,
                    k,
                    1,
                    _panels + panel * k,
                    Width,
                    k,
                    added ? onto + at : _bias + panel,
                    added ? columns : 0,
                    to,
                    whole ? columns : Width
                );
                if (whole)
                    continue;
                for (nint i = 0; i < Math.Min(S.Rows, rows - r); i++)
                {
                    for (nint j = 0; j < count; j++)
                    {
                        T given = onto == null ? T.Zero : onto[at + i * columns + j];
                        o[at + i * columns + j] = given + scratch[i * Width + j];
                    }
                }
            }
        }
    }

    /// <summary>Adds dyᵀ x of a block to dW.</summary>
    private void AddProducts(T* ofY, T* x, nint count, T* part)
    {
        nint lda = Distance(_c.Outputs, _outputs),
            ldb = Distance(_c.Inputs, _inputs);
        for (nint i = 0; i < _inputs; i += Width)
        {
            for (nint o = 0; o < _c.Outputs; o += S.Rows)
            {
                T* into = part + o * _inputs + i;
                Tiles<S, V, T>.StridedProduct(ofY + o, 1, lda, x + i, ldb, count, into, _inputs, into, _inputs);
            }
        }
    }

    private void AddRows(T* ofY, nint count, T* ofBias)
    {
        nint row = Distance(_c.Outputs, _outputs);
        for (nint o = 0; o < _outputs; o += S.Count)
        {
            V sum = S.All(T.Zero);
            for (nint r = 0; r < count; r++)
                sum = S.Add(sum, S.Load(ofY + r * row + o));
            S.Store(S.Add(S.Load(ofBias + o), sum), ofBias + o);
        }
    }

    /// <summary>The distance of a block's rows, as <see cref="Padded"/> gives them.</summary>
    private static nint Distance(int columns, nint padded) => columns == padded ? columns : padded;

    private static T* Padded(T* rows, int columns, nint count, nint width, T* copy)
    {
        if (columns == width)
            return rows;
        for (nint r = 0; r < count; r++)
        {
            new Span<T>(rows + r * columns, columns).CopyTo(new(copy + r * width, columns));
            new Span<T>(copy + r * width + columns, (int)width - columns).Clear();
        }
        return copy;
    }

    /// <summary>A tile, rows for a tile, and two padded blocks.</summary>
    private T* Scratch() =>
        (T*)
            FastWeightKernel.Scratch(
                (S.Rows * (Width + Math.Max(_inputs, _outputs)) + Block * (_inputs + _outputs)) * sizeof(T)
            );

    private static nint Up(nint count, int to) => (count + to - 1) / to * to;
}
