using System.Numerics;
using System.Runtime.CompilerServices;

namespace EmtTorch.Kernels;

/// <summary>
/// Takes one head of one sequence forward or back through its chunks, in a thread's scratch memory. The equations are
/// those of `FastWeightChunks` (Memory). Reads by keys are written as reads by queries γk, so that X = [Q; γK] needs
/// one table of decays. With S = X Kᵀ, W_ij = γ^{i−1−j} S_ij for j &lt; i, X̃_i = γ^i x_i, K̃_j = γ^{C−1−j} k_j:
/// <code>
/// [r; p] = X̃F + W u     e = v − p (delta), v (Hebbian)     u = β e     F' = γ^C F + K̃ᵀu
/// </code>
/// p_i depends on u_j only for j &lt; i, so that rows are computed one after the other. Backward, with dr and dF'
/// given:
/// <code>
/// du = K̃ dF' + Wᵀ[dr; dp]     dv = β du = −dp     dβ = du·e
/// dW = [dr; dp] uᵀ     dS_ij = γ^{i−1−j} dW_ij     dX = dS K + γ^i [dr; dp] Fᵀ
/// dq = the upper half of dX     dk = dSᵀX + γ^{C−1−j} u dF'ᵀ + γ times the lower half of dX
/// dF = γ^C dF' + X̃ᵀ[dr; dp]
/// </code>
/// dp_i depends only on du_i, so that rows are computed from the last to the first. Nothing divides.
/// </summary>
/// <remarks>
/// In scratch memory rows, and their number, are padded with zeros to whole tiles. Of triangular matrices only the
/// tiles on and below the diagonal are computed.
/// </remarks>
internal sealed unsafe class FastWeightHead<S, V, T>
    where S : struct, ISimd<V, T>
    where V : struct
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    /// <summary>The address of a matrix, and the distances between its rows and between numbers in a row.</summary>
    private readonly struct Matrix(T* at, nint row, nint step = 1)
    {
        public readonly T* At = at;
        public readonly nint Row = row,
            Step = step;
        public Matrix Transposed => new(At, Step, Row);

        public Matrix From(nint row, nint column = 0) => new(At + row * Row + column * Step, Row, Step);

        public T* this[nint row] => At + row * Row;
    }

    private readonly FastWeightCall _c;
    private readonly int _item;
    private readonly bool _back;
    private readonly nint _keys,
        _values,
        _size; // d_k, d_v, C, padded to a tile's width
    private readonly T _decay;
    private nint _first,
        _count,
        _rows; // of the chunk: its first token, how many, padded to a tile's rows
    private T* _zero;
    private T* _powers,
        _slopes; // γ^e and e γ^{e−1}, e = 0 … C
    private T* _among,
        // The powers and slopes for e = i − 1 − j if j < i, and 0 otherwise; see Decays for the place of row i.
        _amongSlopes;
    private T* _strength,
        _ofStrength; // β, dβ
    private Matrix _k,
        _kAcross,
        _decayedK; // K (C, d_k), Kᵀ, K̃
    private Matrix _x,
        _decayedX; // X, X̃ (2C, d_k)
    private Matrix _products,
        _weights,
        _ofWeights; // S, W, dW and then dS (2C, C)
    private Matrix _out,
        _ofOut; // [r; p], [dr; dp] (2C, d_v)
    private Matrix _e,
        _u,
        _uAcross,
        _ofU,
        _ofV; // (C, d_v)
    private Matrix _states; // F before each chunk of a part (Stride d_k, d_v)
    private Matrix _ofState,
        _stateAcross; // dF' (d_k, d_v); Fᵀ or dF'ᵀ
    private Matrix _ofX,
        _ofK; // dX (2C, d_k), dK (C, d_k)
    private T* _lengthsOfQ,
        _lengthsOfK; // where q and k are brought to length 1
    private V _ofDecay; // of a chunk

    private static readonly T Shortest = T.CreateTruncating(1e-12);

    public FastWeightHead(in FastWeightCall call, int item, bool back)
    {
        (_c, _item, _back) = (call, item, back);
        _decay = ((T*)_c.Decay)[item % _c.Heads];
        nint width = Tiles<S, V, T>.Width;
        (_keys, _values, _size) = (Up(_c.KeySize, width), Up(_c.ValueSize, width), Up(_c.Size, width));
        Lay((T*)FastWeightKernel.Scratch(Lay(null)));
        new Span<T>(_zero, (int)Math.Max(_size, Math.Max(_keys, _values))).Clear();
        double decay = double.CreateTruncating(_decay);
        for (int e = 0; e <= _size; e++)
            _powers[e] = T.CreateTruncating(Math.Pow(decay, e));
        for (int e = 0; e <= _size; e++)
            _slopes[e] = e == 0 ? T.Zero : T.CreateTruncating(e * Math.Pow(decay, e - 1));
        for (nint m = 0; m < 2 * _size; m++)
        {
            _among[m] = m < _size ? _powers[_size - 1 - m] : T.Zero;
            _amongSlopes[m] = m < _size ? _slopes[_size - 1 - m] : T.Zero;
        }
    }

    /// <summary>Computes r, F_T and the kept states.</summary>
    public void Forward()
    {
        Load(State(_c.State), _c.KeySize, _c.ValueSize, _states);
        for (int chunk = 0; chunk < _c.Chunks; chunk++)
        {
            if (chunk % _c.Stride == 0)
                Store(_states, _c.KeySize, _c.ValueSize, Kept(chunk / _c.Stride));
            Prepare(chunk, _states);
            Product(_rows, _c.ValueSize, _decayedX, _states, _c.KeySize, _out);
            for (nint r = 0; r < _rows; r += S.Rows)
                AddProduct(S.Rows, _c.ValueSize, _weights.From(r), _u, r + S.Rows, _out.From(r));
            Store(_out, _count, _c.ValueSize, _c.Read);
            Advance(_states, _states);
        }
        Store(_states, _c.KeySize, _c.ValueSize, State(_c.After));
    }

    /// <summary>
    /// Computes all gradients, from the last chunk to the first. The states within a part are computed again from the
    /// kept state before it.
    /// </summary>
    public void Backward()
    {
        double ofDecay = 0;
        Load(State(_c.OfAfter), _c.KeySize, _c.ValueSize, _ofState);
        for (int part = _c.Parts - 1; part >= 0; part--)
        {
            int first = part * _c.Stride,
                last = Math.Min(first + _c.Stride, _c.Chunks) - 1;
            Matrix Before(int chunk) => _states.From((chunk - first) * _keys);
            Load(Kept(part), _c.KeySize, _c.ValueSize, _states);
            for (int chunk = first; chunk < last; chunk++)
            {
                Prepare(chunk, Before(chunk));
                Advance(Before(chunk), Before(chunk + 1));
            }
            for (int chunk = last; chunk >= first; chunk--)
            {
                Prepare(chunk, Before(chunk));
                _ofDecay = S.All(T.Zero);
                Gradients(Before(chunk));
                ofDecay += double.CreateTruncating(S.Sum(_ofDecay));
            }
        }
        Store(_ofState, _c.KeySize, _c.ValueSize, State(_c.OfState));
        if (_c.OfDecay != null)
            _c.OfDecay[_item] = ofDecay;
    }

    /// <summary>Computes what both directions need of a chunk: its tokens, S, W, e and u.</summary>
    private void Prepare(int chunk, Matrix state)
    {
        _first = (nint)chunk * _c.Size;
        _count = Math.Min(_c.Size, _c.Tokens - _first);
        _rows = Up(_count, S.Rows);
        Load(_c.Q, _c.KeySize, _x);
        Load(_c.K, _c.KeySize, _k);
        Load(_c.V, _c.ValueSize, _e);
        Load(Strengths(_c.Strength), 1, _count, new(_strength, _size));
        if (_c.Unit)
        {
            BringToLengthOne(_x, _lengthsOfQ);
            BringToLengthOne(_k, _lengthsOfK);
        }
        Transpose(_k, _count, _c.KeySize, _kAcross);
        if (_c.Delta)
        {
            for (nint i = 0; i < _rows; i++)
                Scale(_k[i], _decay, Lower(_x)[i], _keys);
        }

        for (nint i = 0; i < _rows; i++)
        {
            Scale(_k[i], _powers[Math.Max(_count - 1 - i, 0)], _decayedK[i], _keys);
            Scale(_x[i], _powers[i], _decayedX[i], _keys);
            if (_c.Delta)
                Scale(Lower(_x)[i], _powers[i], Lower(_decayedX)[i], _keys);
        }
        for (nint half = 0; half < Halves; half += _size)
        {
            for (nint r = 0; r < _rows; r += S.Rows)
            {
                nint columns = r + S.Rows;
                Product(S.Rows, columns, _x.From(half + r), _kAcross, _c.KeySize, _products.From(half + r));
                for (nint i = r; i < r + S.Rows; i++)
                    Multiply(_products[half + i], Decays(_among, i), _weights[half + i], columns);
            }
        }

        if (_c.Delta)
            Product(_rows, _c.ValueSize, Lower(_decayedX), state, _c.KeySize, Lower(_out));
        for (nint r = 0; r < _rows; r += S.Rows)
        {
            if (_c.Delta && r > 0)
                AddProduct(S.Rows, _c.ValueSize, Lower(_weights).From(r), _u, r, Lower(_out).From(r));
            Write(r);
        }
    }

    /// <summary>Computes F' = γ^C F + K̃ᵀu.</summary>
    private void Advance(Matrix state, Matrix after)
    {
        for (nint i = 0; i < _c.KeySize; i++)
            Scale(state[i], _powers[_count], after[i], _values);
        AddProduct(_c.KeySize, _c.ValueSize, _decayedK.Transposed, _u, _count, after);
    }

    private void Gradients(Matrix state)
    {
        bool wantsDecay = _c.OfDecay != null;
        int keys = _c.KeySize,
            values = _c.ValueSize;
        Load(_c.OfRead, values, _ofOut);

        // du, dv, dβ and dp, from the last row to the first.
        Product(_rows, values, _decayedK, _ofState, keys, _ofU);
        for (nint r = _rows - S.Rows; r >= 0; r -= S.Rows)
        {
            AddProduct(S.Rows, values, _weights.From(r, r).Transposed, _ofOut.From(r), _rows - r, _ofU.From(r));
            nint after = r + S.Rows;
            if (_c.Delta && after < _rows)
            {
                AddProduct(
                    S.Rows,
                    values,
                    Lower(_weights).From(after, r).Transposed,
                    Lower(_ofOut).From(after),
                    _rows - after,
                    _ofU.From(r)
                );
            }

            WriteBack(r);
        }
        Store(_ofV, _count, values, _c.OfV);
        new Span<T>(_ofStrength, (int)_count).CopyTo(new(Strengths(_c.OfStrength), (int)_count));

        // dW, and dS in its place.
        Transpose(_u, _count, values, _uAcross);
        for (nint half = 0; half < Halves; half += _size)
        {
            for (nint r = 0; r < _rows; r += S.Rows)
            {
                nint columns = r + S.Rows;
                Product(S.Rows, columns, _ofOut.From(half + r), _uAcross, values, _ofWeights.From(half + r));
                for (nint i = r; i < r + S.Rows; i++)
                {
                    T* ofWeights = _ofWeights[half + i];
                    if (wantsDecay)
                        AddToDecay(ofWeights, _products[half + i], Decays(_amongSlopes, i), columns);
                    Multiply(ofWeights, Decays(_among, i), ofWeights, columns);
                }
            }
        }

        // dX and dK: first the terms with states, which have a decay for each row.
        Transpose(state, keys, values, _stateAcross);
        for (nint half = 0; half < Halves; half += _size)
        {
            Product(_rows, keys, _ofOut.From(half), _stateAcross, values, _ofX.From(half));
            for (nint i = 0; i < _count; i++)
            {
                T* ofX = _ofX[half + i];
                if (wantsDecay)
                    AddToDecay(ofX, _x[half + i], _slopes[i], _keys);
                Scale(ofX, _powers[i], ofX, _keys);
            }
        }
        Transpose(_ofState, keys, values, _stateAcross);
        Product(_rows, keys, _u, _stateAcross, values, _ofK);
        for (nint i = 0; i < _count; i++)
        {
            if (wantsDecay)
                AddToDecay(_ofK[i], _k[i], _slopes[_count - 1 - i], _keys);
            Scale(_ofK[i], _powers[_count - 1 - i], _ofK[i], _keys);
        }
        for (nint half = 0; half < Halves; half += _size)
        {
            for (nint r = 0; r < _rows; r += S.Rows)
            {
                AddProduct(S.Rows, keys, _ofWeights.From(half + r), _k, r + S.Rows, _ofX.From(half + r));
                AddProduct(
                    S.Rows,
                    keys,
                    _ofWeights.From(half + r, r).Transposed,
                    _x.From(half + r),
                    _rows - r,
                    _ofK.From(r)
                );
            }
        }

        if (_c.Delta)
        {
            for (nint i = 0; i < _count; i++)
            {
                if (wantsDecay)
                    AddToDecay(Lower(_ofX)[i], _k[i], T.One, _keys);
                Scale(Lower(_ofX)[i], _decay, Lower(_ofX)[i], _keys);
                Add(Lower(_ofX)[i], _ofK[i], _keys);
            }
        }

        if (_c.Unit)
        {
            ThroughLength(_x, _lengthsOfQ, _ofX);
            ThroughLength(_k, _lengthsOfK, _ofK);
        }
        Store(_ofX, _count, keys, _c.OfQ);
        Store(_ofK, _count, keys, _c.OfK);

        // dF, in the place of dF'.
        for (nint i = 0; i < keys; i++)
        {
            if (wantsDecay)
                AddToDecay(_ofState[i], state[i], _slopes[_count], _values);
            Scale(_ofState[i], _powers[_count], _ofState[i], _values);
        }
        for (nint half = 0; half < Halves; half += _size)
            AddProduct(keys, values, _decayedX.From(half).Transposed, _ofOut.From(half), _count, _ofState);
    }

    /// <summary>Computes e and u of a tile's rows; p holds the terms of the rows before the tile.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Write(nint r)
    {
        T* p = _out.At + _size * _values,
            e = _e.At,
            u = _u.At,
            weights = _weights.At + _size * _size,
            strength = _strength;
        bool delta = _c.Delta;
        nint values = _values,
            size = _size,
            end = r + S.Rows;
        for (nint j = 0; j < values; j += S.Count)
        {
            for (nint i = r; i < end; i++)
            {
                V error = S.Load(e + i * values + j);
                if (delta)
                {
                    V predicted = S.Load(p + i * values + j);
                    for (nint m = r; m < i; m++)
                        predicted = S.MultiplyAdd(S.All(weights[i * size + m]), S.Load(u + m * values + j), predicted);
                    error = S.Subtract(error, predicted);
                    S.Store(error, e + i * values + j);
                }
                S.Store(S.Multiply(error, S.All(strength[i])), u + i * values + j);
            }
        }
    }

    /// <summary>Computes du, dv, dp and dβ of a tile's rows; du holds the terms of the rows after the tile.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void WriteBack(nint r)
    {
        T* du = _ofU.At,
            dv = _ofV.At,
            dp = _ofOut.At + _size * _values,
            weights = _weights.At + _size * _size,
            strength = _strength;
        bool delta = _c.Delta;
        nint values = _values,
            size = _size,
            end = r + S.Rows;
        for (nint j = 0; j < values; j += S.Count)
        {
            for (nint i = end - 1; i >= r; i--)
            {
                V given = S.Load(du + i * values + j);
                if (delta)
                {
                    for (nint m = i + 1; m < end; m++)
                        given = S.MultiplyAdd(S.All(weights[m * size + i]), S.Load(dp + m * values + j), given);
                    S.Store(given, du + i * values + j);
                    S.Store(S.Multiply(given, S.All(-strength[i])), dp + i * values + j);
                }
                S.Store(S.Multiply(given, S.All(strength[i])), dv + i * values + j);
            }
        }

        for (nint i = r; i < end; i++)
        {
            V sum = S.All(T.Zero);
            for (nint j = 0; j < values; j += S.Count)
                sum = S.MultiplyAdd(S.Load(du + i * values + j), S.Load(_e.At + i * values + j), sum);
            _ofStrength[i] = S.Sum(sum);
        }
    }

    /// <summary>Computes o = a·b in whole tiles, which may go beyond the given rows and columns.</summary>
    private void Product(nint rows, nint columns, Matrix a, Matrix b, nint k, Matrix o)
    {
        for (nint j = 0; j < columns; j += Tiles<S, V, T>.Width)
        {
            for (nint r = 0; r < rows; r += S.Rows)
            {
                Tiles<S, V, T>.StridedProduct(
                    a.At + r * a.Row,
                    a.Row,
                    a.Step,
                    b.At + j,
                    b.Row,
                    k,
                    _zero,
                    0,
                    o.At + r * o.Row + j,
                    o.Row
                );
            }
        }
    }

    /// <summary>Computes o += a·b.</summary>
    private static void AddProduct(nint rows, nint columns, Matrix a, Matrix b, nint k, Matrix o)
    {
        for (nint j = 0; j < columns; j += Tiles<S, V, T>.Width)
        {
            for (nint r = 0; r < rows; r += S.Rows)
            {
                T* tile = o.At + r * o.Row + j;
                Tiles<S, V, T>.StridedProduct(
                    a.At + r * a.Row,
                    a.Row,
                    a.Step,
                    b.At + j,
                    b.Row,
                    k,
                    tile,
                    o.Row,
                    tile,
                    o.Row
                );
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Scale(T* a, T factor, T* o, nint count)
    {
        V f = S.All(factor);
        for (nint j = 0; j < count; j += S.Count)
            S.Store(S.Multiply(S.Load(a + j), f), o + j);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Multiply(T* a, T* b, T* o, nint count)
    {
        for (nint j = 0; j < count; j += S.Count)
            S.Store(S.Multiply(S.Load(a + j), S.Load(b + j)), o + j);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Add(T* a, T* o, nint count)
    {
        for (nint j = 0; j < count; j += S.Count)
            S.Store(S.Add(S.Load(a + j), S.Load(o + j)), o + j);
    }

    /// <summary>Computes dγ += Σ a b slope.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void AddToDecay(T* a, T* b, T* slope, nint count)
    {
        V sum = _ofDecay;
        for (nint j = 0; j < count; j += S.Count)
            sum = S.MultiplyAdd(S.Multiply(S.Load(a + j), S.Load(b + j)), S.Load(slope + j), sum);
        _ofDecay = sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void AddToDecay(T* a, T* b, T slope, nint count)
    {
        V sum = _ofDecay,
            f = S.All(slope);
        for (nint j = 0; j < count; j += S.Count)
            sum = S.MultiplyAdd(S.Multiply(S.Load(a + j), S.Load(b + j)), f, sum);
        _ofDecay = sum;
    }

    /// <summary>Copies a chunk's tokens and pads them with zeros.</summary>
    private void Load(TokenRows from, nint columns, Matrix to) => Load(Tokens(from), from.Row, _count, columns, to);

    private static void Load(T* from, nint rows, nint columns, Matrix to) => Load(from, columns, rows, columns, to);

    private static void Load(T* from, nint fromRow, nint rows, nint columns, Matrix to)
    {
        Copy(from, fromRow, to.At, to.Row, rows, columns);
        if (columns < to.Row)
        {
            for (nint i = 0; i < rows; i++)
                new Span<T>(to[i] + columns, (int)(to.Row - columns)).Clear();
        }

        nint padding = Up(rows, S.Rows) - rows;
        new Span<T>(to[rows], (int)(padding * to.Row)).Clear();
    }

    private static void Store(Matrix from, nint rows, nint columns, T* to) =>
        Copy(from.At, from.Row, to, columns, rows, columns);

    private void Store(Matrix from, nint rows, nint columns, TokenRows to) =>
        Copy(from.At, from.Row, Tokens(to), to.Row, rows, columns);

    /// <summary>x / max(|x|, 10⁻¹²) for a chunk's rows, which leaves the divisors.</summary>
    private void BringToLengthOne(Matrix rows, T* lengths)
    {
        for (nint i = 0; i < _count; i++)
        {
            T length = T.Max(T.Sqrt(Dot(rows[i], rows[i], rows.Row)), Shortest);
            lengths[i] = length;
            Scale(rows[i], T.One / length, rows[i], rows.Row);
        }
    }

    /// <summary>The gradient in a row of length 1 becomes that in x: (dx̂ − x̂ (x̂·dx̂)) / |x|.</summary>
    private void ThroughLength(Matrix rows, T* lengths, Matrix gradients)
    {
        for (nint i = 0; i < _count; i++)
        {
            T* of = gradients[i];
            // A row that was too short was divided by a constant.
            T along = lengths[i] > Shortest ? Dot(rows[i], of, rows.Row) : T.Zero,
                inverse = T.One / lengths[i];
            V minus = S.All(-along),
                factor = S.All(inverse);
            for (nint j = 0; j < rows.Row; j += S.Count)
                S.Store(S.Multiply(S.MultiplyAdd(minus, S.Load(rows[i] + j), S.Load(of + j)), factor), of + j);
        }
    }

    private static T Dot(T* a, T* b, nint count)
    {
        V sum = S.All(T.Zero);
        for (nint j = 0; j < count; j += S.Count)
            sum = S.MultiplyAdd(S.Load(a + j), S.Load(b + j), sum);
        return S.Sum(sum);
    }

    private static void Copy(T* from, nint fromRow, T* to, nint toRow, nint rows, nint columns)
    {
        if (columns == fromRow && columns == toRow)
            (rows, columns) = (1, rows * columns); // without gaps: one copy
        for (nint i = 0; i < rows; i++, from += fromRow, to += toRow)
            Tiles<S, V, T>.Copy(from, to, columns);
    }

    /// <summary>Transposes a matrix and pads its rows with zeros to a tile's width.</summary>
    private static void Transpose(Matrix from, nint rows, nint columns, Matrix to)
    {
        Tiles<S, V, T>.Transpose(from.At, from.Row, rows, columns, to.At, to.Row);
        nint padding = Up(rows, Tiles<S, V, T>.Width) - rows;
        for (nint j = 0; j < columns && padding > 0; j++)
            new Span<T>(to[j] + rows, (int)padding).Clear();
    }

    private nint Halves => _c.Delta ? 2 * _size : _size; // rows of X, half by half

    private Matrix Lower(Matrix matrix) => matrix.From(_size);

    private T* Decays(T* table, nint i) => table + _size - i; // C − i + j is where i − 1 − j stands

    private T* Tokens(TokenRows rows) => rows.First<T>(_item / _c.Heads, _item % _c.Heads) + _first * rows.Row;

    private T* Strengths(void* tensor) => (T*)tensor + (nint)_item * _c.Tokens + _first;

    private T* State(void* tensor) => (T*)tensor + (nint)_item * _c.KeySize * _c.ValueSize;

    private T* Kept(int part) => (T*)_c.Kept + ((nint)_item * _c.Parts + part) * _c.KeySize * _c.ValueSize;

    private static nint Up(nint n, nint to) => (n + to - 1) / to * to;

    /// <summary>Places everything in the scratch memory.</summary>
    /// <returns>The number of bytes.</returns>
    private nint Lay(T* memory)
    {
        nint at = 0;
        T* Take(nint numbers)
        {
            T* from = memory + at;
            at += Up(numbers * sizeof(T), 64) / sizeof(T);
            return from;
        }
        Matrix Rows(nint rows, nint columns) => new(Take(rows * columns), columns);

        _zero = Take(Math.Max(_size, Math.Max(_keys, _values)));
        _powers = Take(_size + 1);
        _slopes = Take(_size + 1);
        _among = Take(2 * _size);
        _amongSlopes = Take(2 * _size);
        _strength = Take(_size * S.Rows);
        _ofStrength = Take(_size);
        _lengthsOfQ = Take(_size);
        _lengthsOfK = Take(_size);
        (_k, _kAcross, _decayedK) = (Rows(_size, _keys), Rows(_keys, _size), Rows(_size, _keys));
        (_x, _decayedX) = (Rows(Halves, _keys), Rows(Halves, _keys));
        (_products, _weights, _out) = (Rows(Halves, _size), Rows(Halves, _size), Rows(Halves, _values));
        (_e, _u) = (Rows(_size, _values), Rows(_size, _values));
        _states = Rows((_back ? _c.Stride : 1) * _keys, _values);
        if (_back)
        {
            (_ofWeights, _ofOut, _ofX) = (Rows(Halves, _size), Rows(Halves, _values), Rows(Halves, _keys));
            (_ofU, _ofV, _uAcross, _ofK) = (
                Rows(_size, _values),
                Rows(_size, _values),
                Rows(_values, _size),
                Rows(_size, _keys)
            );
            (_ofState, _stateAcross) = (Rows(_keys, _values), Rows(_values, _keys));
        }
        return at * sizeof(T);
    }
}
