using System.Numerics;

namespace EmtTorch.Kernels;

/// <summary>
/// One head of one document: q and k are rotated, and o_i = Σ_j p_ij v_j with p_i = softmax_j(q_i·k_j/√d_h) over the
/// keys j that query i sees. Queries go in blocks; the scores of a block stand in a thread's scratch memory and nowhere
/// else. Backward computes them again from ℓ_i = ln Σ_j exp(s_ij), which forward leaves (Dao et al. 2022, arXiv
/// 2205.14135):
/// <code>
/// p_ij = exp(s_ij − ℓ_i)    dV = Pᵀ dO    dP = dO Vᵀ    dS = P ∘ (dP − rowsum(dO ∘ O))    dQ = dS K    dK = dSᵀ Q
/// </code>
/// </summary>
/// <remarks>
/// Rows in scratch memory are padded with zeros to whole tiles, in number too. A matrix that stands "across" is
/// transposed and lies in panels of a tile's width. Of scores, only tiles that some query of the tile sees are
/// computed. Vectors V are for products and scores, vectors W for rotations, of which a head has few columns.
/// </remarks>
internal sealed unsafe class AttentionHead<S, V, N, W, T>
    where S : struct, ISimd<V, T>
    where V : struct
    where N : struct, ISimd<W, T>
    where W : struct
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    // Queries in a block: as many as the products of dK and dV add up at once.
    private const int Block = 32;

    // Keys that backward takes at once, so that scores and their gradients stay in the first cache.
    private const int MostKeys = 256;

    private static readonly int Width = Tiles<S, V, T>.Width;

    private readonly AttentionCall _c;
    private readonly int _document,
        _head,
        _keyCount; // P + T
    private readonly nint _row, // d_h, padded to a tile's width
        _scoreRow;
    private readonly T _scale; // 1/√d_h
    private T* _zero;
    private T* _q; // (T, d_h), rotated, times 1/√d_h
    private T* _k,
        _v; // (P + T, d_h)
    private T* _kAcross,
        _vAcross; // panels of (d_h, Width)
    private T* _scores,
        _ofScores; // (Block, keys): S and then P; dP and then dS
    private T* _rows,
        _ofRows; // (Block, d_h): O, or dQ and dO
    private T* _ofK,
        _ofV; // (P + T, d_h)

    public AttentionHead(in AttentionCall call, int item, bool back)
    {
        (_c, _document, _head) = (call, item / call.Heads, item % call.Heads);
        _keyCount = _c.Past + _c.Tokens;
        _row = Up(_c.Size, Width);
        _scale = T.CreateTruncating(1 / Math.Sqrt(_c.Size));
        long seen = Math.Min(_keyCount, (long)_c.Window + Block) + 2 * Width;
        _scoreRow = Up((nint)(back ? Math.Min(seen, MostKeys) : seen), Width);
        Lay((T*)FastWeightKernel.Scratch(Lay(null, back)), back);
        Clear(_zero, Width);
        Load(back);
    }

    /// <summary>O, ℓ, and the keys and values that are kept.</summary>
    public void Forward()
    {
        T* inverse = stackalloc T[Block];
        T* logSums = LogSums;
        for (int first = 0; first < _c.Tokens; first += Block)
        {
            int count = Math.Min(Block, _c.Tokens - first),
                from = FirstKey(first) / Width * Width;
            Score(first, count, from, EndKey(first + count - 1), _q + first * _row, _kAcross, _scores);
            for (int r = 0; r < count; r++)
                (inverse[r], logSums[first + r]) = Softmax(first + r, _scores + r * _scoreRow, from);
            for (nint r = count; r < Block; r++)
                Clear(_scores + r * _scoreRow, _scoreRow);
            Clear(_rows, Block * _row);
            AddWeighted(first, count, from, int.MaxValue, _scores, _v);
            for (int r = 0; r < count; r++)
            {
                Scale(_rows + r * _row, inverse[r]);
                Copy(_rows + r * _row, Attended(_c.Attended, first + r));
            }
        }
        Keep(_k, (T*)_c.Keys);
        Keep(_v, (T*)_c.Values);
    }

    /// <summary>Gradients in queries, keys and values, those of the tokens before included.</summary>
    public void Backward()
    {
        nint numbers = Up(_keyCount, Width) * _row;
        Clear(_ofK, numbers);
        Clear(_ofV, numbers);
        T* inner = stackalloc T[Block]; // rowsum(dO ∘ O)
        for (int first = 0; first < _c.Tokens; first += Block)
        {
            int count = Math.Min(Block, _c.Tokens - first),
                end = EndKey(first + count - 1);
            LoadGradients(first, count, inner);
            Clear(_rows, Block * _row);
            for (int from = FirstKey(first) / Width * Width; from < end; from += (int)_scoreRow)
            {
                int to = Math.Min(end, from + (int)_scoreRow);
                Score(first, count, from, to, _q + first * _row, _kAcross, _scores);
                Score(first, count, from, to, _ofRows, _vAcross, _ofScores);
                for (int r = 0; r < Block; r++)
                    Slopes(first, r, r < count, from, to, inner[r]);
                AddWeighted(first, count, from, to, _ofScores, _k);
                for (int key = from; key < to; key += S.Rows)
                    AddAcross(first, key, key - from);
            }
            for (int r = 0; r < count; r++)
            {
                Scale(_rows + r * _row, _scale);
                Rotate(_rows + r * _row, first + r, Projected(_c.OfProjected, first + r, 0), -T.One);
            }
        }
        StoreKeys();
    }

    private int FirstKey(int query) => (int)Math.Max(0, (long)_c.Past + query - _c.Window + 1);

    /// <summary>One more than the last key that a query sees.</summary>
    private int EndKey(int query) => _c.Past + query + 1;

    /// <summary>left·right in the tiles that a query sees between two keys, of which the first begins a
    /// panel.</summary>
    private void Score(int first, int count, int from, int to, T* left, T* right, T* into)
    {
        for (int r = 0; r < count; r += S.Rows)
        {
            var (start, end) = Seen(first + r, first + count, from, to);
            for (nint panel = start / Width * Width; panel < end; panel += Width)
            {
                Tiles<S, V, T>.StridedProduct(
                    left + r * _row,
                    _row,
                    1,
                    right + panel * _c.Size,
                    Width,
                    _c.Size,
                    _zero,
                    0,
                    into + r * _scoreRow + panel - from,
                    _scoreRow
                );
            }
        }
    }

    /// <summary>The keys that a tile's queries see, between two keys.</summary>
    private (int Start, int End) Seen(int query, int endOfQueries, int from, int to) =>
        (Math.Max(from, FirstKey(query)), Math.Min(to, EndKey(Math.Min(query + S.Rows, endOfQueries) - 1)));

    /// <summary>A row of scores becomes exp(s − max) where the query looks, and 0 in the rest of its tile.</summary>
    /// <returns>1/Σ and ℓ.</returns>
    private (T Inverse, T LogSum) Softmax(int query, T* scores, int from)
    {
        int n = S.Count,
            start = FirstKey(query) - from,
            end = EndKey(query) - from,
            firstVector = start / n * n,
            endOfVectors = (end + n - 1) / n * n;
        new Span<T>(scores + firstVector, start - firstVector).Fill(T.NegativeInfinity);
        new Span<T>(scores + end, endOfVectors - end).Fill(T.NegativeInfinity);
        V most = S.Load(scores + firstVector);
        for (int i = firstVector + n; i < endOfVectors; i += n)
            most = S.Max(S.Load(scores + i), most);
        T* each = stackalloc T[n];
        S.Store(most, each);
        T largest = each[0];
        for (int i = 1; i < n; i++)
            largest = T.Max(largest, each[i]);
        V minus = S.All(-largest),
            sums = S.All(T.Zero);
        for (int i = firstVector; i < endOfVectors; i += n)
            S.Store(Tiles<S, V, T>.Exp(S.Add(S.Load(scores + i), minus)), scores + i);
        // The first and the last tile of a row begin and end at most a tile's rows away.
        int before = Math.Min(start, Math.Max(S.Rows, start - firstVector));
        Clear(scores + start - before, before);
        Clear(scores + end, Math.Max(S.Rows, endOfVectors - end));
        for (int i = firstVector; i < endOfVectors; i += n)
            sums = S.Add(sums, S.Load(scores + i));
        T sum = S.Sum(sums);
        return (T.One / sum, largest + T.Log(sum));
    }

    /// <summary>Scores and dP of a row become P and dS, 0 where the query does not look.</summary>
    private void Slopes(int first, int r, bool exists, int from, int to, T inner)
    {
        T* scores = _scores + r * _scoreRow;
        T* slopes = _ofScores + r * _scoreRow;
        int query = first + r,
            start = exists ? Math.Max(from, FirstKey(query)) - from : 0,
            end = exists ? Math.Min(to, EndKey(query)) - from : 0;
        if (end <= start)
            (start, end) = (0, 0);
        int n = S.Count;
        if (end > start)
        {
            V logSum = S.All(-LogSums[query]),
                product = S.All(inner);
            for (int i = start / n * n; i < end; i += n)
            {
                V p = Tiles<S, V, T>.Exp(S.Add(S.Load(scores + i), logSum));
                S.Store(p, scores + i);
                S.Store(S.Multiply(p, S.Subtract(S.Load(slopes + i), product)), slopes + i);
            }
        }
        Clear(scores, start);
        Clear(slopes, start);
        Clear(scores + end, _scoreRow - end);
        Clear(slopes + end, _scoreRow - end);
    }

    /// <summary>Adds weights·rows to the block's rows: P V, or dS K.</summary>
    private void AddWeighted(int first, int count, int from, int to, T* weights, T* rows)
    {
        for (int r = 0; r < count; r += S.Rows)
        {
            var (start, end) = Seen(first + r, first + count, from, to);
            if (end <= start)
                continue;
            for (nint column = 0; column < _c.Size; column += Width)
            {
                T* into = _rows + r * _row + column;
                Tiles<S, V, T>.StridedProduct(
                    weights + r * _scoreRow + start - from,
                    _scoreRow,
                    1,
                    rows + start * _row + column,
                    _row,
                    end - start,
                    into,
                    _row,
                    into,
                    _row
                );
            }
        }
    }

    /// <summary>Adds a block's part of dSᵀQ and PᵀdO to a tile's rows of dK and dV.</summary>
    private void AddAcross(int first, int key, nint place)
    {
        // The block's queries that see one of these keys
        nint start = Math.Clamp(key - _c.Past - first, 0, Block),
            end = (nint)Math.Clamp((long)key + S.Rows - 1 + _c.Window - _c.Past - first, start, Block);
        if (end <= start)
            return;
        for (nint column = 0; column < _c.Size; column += Width)
        {
            T* ofK = _ofK + key * _row + column;
            T* ofV = _ofV + key * _row + column;
            Tiles<S, V, T>.StridedProduct(
                _ofScores + start * _scoreRow + place,
                1,
                _scoreRow,
                _q + (first + start) * _row + column,
                _row,
                end - start,
                ofK,
                _row,
                ofK,
                _row
            );
            Tiles<S, V, T>.StridedProduct(
                _scores + start * _scoreRow + place,
                1,
                _scoreRow,
                _ofRows + start * _row + column,
                _row,
                end - start,
                ofV,
                _row,
                ofV,
                _row
            );
        }
    }

    private void Load(bool back)
    {
        Clear(_q, Up(_c.Tokens, Block) * _row);
        Clear(_k, Up(_keyCount, Width) * _row);
        Clear(_v, Up(_keyCount, Width) * _row);
        for (int j = 0; j < _c.Past; j++)
        {
            Copy(Kept(_c.PastKeys, _c.Past, j), _k + j * _row);
            Copy(Kept(_c.PastValues, _c.Past, j), _v + j * _row);
        }
        for (int t = 0; t < _c.Tokens; t++)
        {
            T* q = _q + t * _row;
            Rotate(Projected(_c.Projected, t, 0), t, q, T.One);
            Scale(q, _scale);
            Rotate(Projected(_c.Projected, t, 1), t, _k + (_c.Past + t) * _row, T.One);
            Copy(Projected(_c.Projected, t, 2), _v + (_c.Past + t) * _row);
        }
        SetAcross(_k, _kAcross);
        if (back)
            SetAcross(_v, _vAcross);
    }

    private void SetAcross(T* rows, T* panels)
    {
        for (nint panel = 0; panel < _keyCount; panel += Width)
        {
            for (nint i = 0; i < _c.Size; i++)
            {
                T* to = panels + panel * _c.Size + i * Width;
                T* from = rows + panel * _row + i;
                for (nint j = 0; j < Width; j++)
                    to[j] = from[j * _row];
            }
        }
    }

    private void LoadGradients(int first, int count, T* inner)
    {
        Clear(_ofRows, Block * _row);
        for (int r = 0; r < count; r++)
        {
            T* given = Attended(_c.OfAttended, first + r);
            T* attended = Attended(_c.Attended, first + r);
            Copy(given, _ofRows + r * _row);
            inner[r] = Dot(given, attended);
        }
    }

    private void StoreKeys()
    {
        int dropped = _keyCount - _c.Kept;
        for (int j = 0; j < _keyCount; j++)
        {
            T* ofK = _ofK + j * _row;
            T* ofV = _ofV + j * _row;
            if (j >= dropped && _c.OfKeys != null)
                Add(Kept(_c.OfKeys, _c.Kept, j - dropped), ofK);
            if (j >= dropped && _c.OfValues != null)
                Add(Kept(_c.OfValues, _c.Kept, j - dropped), ofV);
            if (j < _c.Past)
            {
                Copy(ofK, Kept(_c.OfPastKeys, _c.Past, j));
                Copy(ofV, Kept(_c.OfPastValues, _c.Past, j));
            }
            else
            {
                Rotate(ofK, j - _c.Past, Projected(_c.OfProjected, j - _c.Past, 1), -T.One);
                Copy(ofV, Projected(_c.OfProjected, j - _c.Past, 2));
            }
        }
    }

    private void Keep(T* rows, T* kept)
    {
        for (int j = 0; j < _c.Kept; j++)
            Copy(rows + (_keyCount - _c.Kept + j) * _row, Kept(kept, _c.Kept, j));
    }

    /// <summary>Each pair (x_i, x_{i + d_h/2}) turned by the token's angles, or back: ±1.</summary>
    private void Rotate(T* from, int token, T* to, T direction)
    {
        int half = _c.Size / 2,
            i = 0;
        T* cos = (T*)_c.Cos + (nint)token * half;
        T* sin = (T*)_c.Sin + (nint)token * half;
        W sign = N.All(direction);
        for (; i + N.Count <= half; i += N.Count)
        {
            W a = N.Load(from + i),
                b = N.Load(from + half + i),
                c = N.Load(cos + i),
                s = N.Multiply(sign, N.Load(sin + i));
            N.Store(N.Subtract(N.Multiply(a, c), N.Multiply(b, s)), to + i);
            N.Store(N.MultiplyAdd(b, c, N.Multiply(a, s)), to + half + i);
        }
        for (; i < half; i++)
        {
            T a = from[i],
                b = from[half + i],
                s = direction * sin[i];
            to[i] = a * cos[i] - b * s;
            to[half + i] = b * cos[i] + a * s;
        }
    }

    /// <summary>A padded row times a factor.</summary>
    private void Scale(T* row, T factor)
    {
        V f = S.All(factor);
        for (nint i = 0; i < _row; i += S.Count)
            S.Store(S.Multiply(S.Load(row + i), f), row + i);
    }

    private T Dot(T* a, T* b)
    {
        V sums = S.All(T.Zero);
        int i = 0;
        for (; i + S.Count <= _c.Size; i += S.Count)
            sums = S.MultiplyAdd(S.Load(a + i), S.Load(b + i), sums);
        T sum = S.Sum(sums);
        for (; i < _c.Size; i++)
            sum += a[i] * b[i];
        return sum;
    }

    private T* LogSums => (T*)_c.LogSums + ((nint)_document * _c.Heads + _head) * _c.Tokens;

    /// <summary>A token's query (0), key (1) or value (2).</summary>
    private T* Projected(void* tensor, nint token, int part) =>
        (T*)tensor + ((((nint)_document * _c.Tokens + token) * 3 + part) * _c.Heads + _head) * _c.Size;

    private T* Attended(void* tensor, nint token) =>
        (T*)tensor + (((nint)_document * _c.Tokens + token) * _c.Heads + _head) * _c.Size;

    private T* Kept(void* tensor, int count, nint place) =>
        (T*)tensor + (((nint)_document * _c.Heads + _head) * count + place) * _c.Size;

    private void Copy(T* from, T* to) => new Span<T>(from, _c.Size).CopyTo(new(to, _c.Size));

    private void Add(T* from, T* to)
    {
        for (int i = 0; i < _c.Size; i++)
            to[i] += from[i];
    }

    private static void Clear(T* at, nint count) => new Span<T>(at, checked((int)count)).Clear();

    private static nint Up(nint count, int to) => (count + to - 1) / to * to;

    /// <summary>Lays the matrices out one after the other; with null, only their size in bytes.</summary>
    private nint Lay(T* memory, bool back)
    {
        nint keys = Up(_keyCount, Width),
            used = 0;
        T* Take(nint numbers)
        {
            T* at = memory + used;
            used += Up(numbers, 64);
            return at;
        }
        _zero = Take(Width);
        _q = Take(Up(_c.Tokens, Block) * _row);
        _k = Take(keys * _row);
        _v = Take(keys * _row);
        _kAcross = Take(keys * _c.Size);
        _scores = Take(Block * _scoreRow);
        _rows = Take(Block * _row);
        if (back)
        {
            _vAcross = Take(keys * _c.Size);
            _ofScores = Take(Block * _scoreRow);
            _ofRows = Take(Block * _row);
            _ofK = Take(keys * _row);
            _ofV = Take(keys * _row);
        }
        return used * sizeof(T);
    }
}
