using System.Numerics;
using System.Runtime.CompilerServices;

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
/// Rows in scratch memory are padded to whole vectors, and their number to whole tiles. No result depends on what
/// stands in the padding. A matrix that stands "across" is transposed. Of scores, only tiles that begin at the first
/// key that some query of the tile sees are computed. Vectors V are for products and scores, vectors W for rotations,
/// of which a head has few columns.
/// </remarks>
internal sealed unsafe class AttentionHead<S, V, N, W, T>
    where S : struct, ISimd<V, T>
    where V : struct
    where N : struct, ISimd<W, T>
    where W : struct
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    // Queries in a block of backward: as many as the products of dK and dV add up at once.
    private const int Block = 32;

    // Keys that backward takes at once, so that scores and their gradients stay in the first cache.
    private const int MostKeys = 256;

    private static readonly int Width = Tiles<S, V, T>.Width;

    private readonly AttentionCall _c;
    private readonly int _document,
        _head,
        _keyCount; // P + T
    private readonly nint _row, // d_h, padded to a vector
        _across, // the distance of rows that stand across
        _scoreRow;
    private readonly T _scale; // 1/√d_h
    private T* _zero;
    private T* _q; // (T, d_h), rotated, times 1/√d_h
    private T* _k,
        _v; // (P + T, d_h)
    private T* _kAcross,
        _vAcross; // (d_h, P + T)
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
        _row = Up(_c.Size, S.Count);
        // An odd number of vectors: with a power of two all rows would begin at the same few places of the cache.
        _across = ((_keyCount + Width) / S.Count | 1) * S.Count;
        _scale = T.CreateTruncating(1 / Math.Sqrt(_c.Size));
        long seen = Math.Min(_keyCount, (long)_c.Window + Block);
        _scoreRow = Up((nint)(back ? Math.Min(seen, MostKeys) : seen), S.Count) + Width;
        Lay((T*)FastWeightKernel.Scratch(Lay(null, back)), back);
        Clear(_zero, Width);
        Load(back);
    }

    /// <summary>O, ℓ, and the keys and values that are kept.</summary>
    public void Forward()
    {
        T* inverse = stackalloc T[S.Rows];
        for (int first = 0; first < _c.Tokens; first += Block)
        {
            int endOfQueries = Math.Min(first + Block, _c.Tokens);
            for (int query = first; query < endOfQueries; query += S.Rows)
            {
                var (start, end) = Seen(query, endOfQueries, 0, int.MaxValue);
                Score(_q + query * _row, _kAcross, start, end, _scores);
                int count = Math.Min(S.Rows, endOfQueries - query);
                for (int r = 0; r < count; r++)
                    (inverse[r], LogSums[query + r]) = Softmax(query + r, _scores + r * _scoreRow, start, end);
                AddWeighted(_scores, _v, start, end, _zero, 0, _rows);
                for (int r = 0; r < count; r++)
                    Scale(_rows + r * _row, inverse[r], Attended(_c.Attended, query + r));
            }
        }
        Keep(_k, (T*)_c.Keys);
        Keep(_v, (T*)_c.Values);
    }

    /// <summary>Gradients in queries, keys and values, those of the tokens before included.</summary>
    public void Backward()
    {
        nint numbers = (_keyCount + S.Rows) * _row;
        Clear(_ofK, numbers);
        Clear(_ofV, numbers);
        T* inner = stackalloc T[Block]; // rowsum(dO ∘ O)
        int most = (int)_scoreRow - Width;
        for (int first = 0; first < _c.Tokens; first += Block)
        {
            int endOfQueries = Math.Min(first + Block, _c.Tokens),
                end = EndKey(endOfQueries - 1);
            LoadGradients(first, endOfQueries - first, inner);
            Clear(_rows, Block * _row);
            for (int from = FirstKey(first); from < end; from += most)
            {
                int to = Math.Min(end, from + most);
                for (int query = first; query < endOfQueries; query += S.Rows)
                {
                    var (start, stop) = Seen(query, endOfQueries, from, to);
                    if (stop <= start)
                        continue;
                    // Whole tiles of keys, for AddAcross
                    int firstOfTiles = from + (start - from) / S.Rows * S.Rows,
                        endOfTiles = from + (int)Up(stop - from, S.Rows);
                    nint r = query - first,
                        at = r * _scoreRow + firstOfTiles - from;
                    T* rows = _rows + r * _row;
                    Score(_q + query * _row, _kAcross, firstOfTiles, endOfTiles, _scores + at);
                    Score(_ofRows + r * _row, _vAcross, firstOfTiles, endOfTiles, _ofScores + at);
                    for (int i = 0; i < Math.Min(S.Rows, endOfQueries - query); i++)
                        Slopes(query + i, inner[r + i], firstOfTiles, endOfTiles, at + i * _scoreRow);
                    AddWeighted(_ofScores + at + start - firstOfTiles, _k, start, stop, rows, _row, rows);
                }
                for (int key = from; key < to; key += S.Rows)
                    AddAcross(first, endOfQueries - first, key, key - from);
            }
            for (int query = first; query < endOfQueries; query++)
            {
                T* of = _rows + (query - first) * _row;
                Rotate(of, query, Projected(_c.OfProjected, query, 0), _scale, -_scale);
            }
        }
        StoreKeys();
    }

    private int FirstKey(int query) => (int)Math.Max(0, (long)_c.Past + query - _c.Window + 1);

    /// <summary>One more than the last key that a query sees.</summary>
    private int EndKey(int query) => _c.Past + query + 1;

    /// <summary>The keys that a tile's queries see, between two keys.</summary>
    private (int Start, int End) Seen(int query, int endOfQueries, int from, int to) =>
        (Math.Max(from, FirstKey(query)), Math.Min(to, EndKey(Math.Min(query + S.Rows, endOfQueries) - 1)));

    /// <summary>A tile's left·right for a range of keys.</summary>
    private void Score(T* left, T* right, int start, int end, T* into) =>
        Tiles<S, V, T>.StridedRows(
            left,
            _row,
            1,
            right + start,
            _across,
            _c.Size,
            _zero,
            0,
            into,
            _scoreRow,
            end - start
        );

    /// <summary>A row of scores of a range of keys becomes exp(s − max), and 0 where the query does not look.</summary>
    /// <returns>1/Σ and ℓ.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private (T Inverse, T LogSum) Softmax(int query, T* scores, int start, int stop)
    {
        int n = S.Count,
            first = FirstKey(query) - start,
            end = EndKey(query) - start,
            endOfVectors = (end + n - 1) / n * n;
        for (int i = 0; i < first; i++)
            scores[i] = T.NegativeInfinity;
        for (int i = end; i < endOfVectors; i++)
            scores[i] = T.NegativeInfinity;
        V most = S.Load(scores);
        for (int i = n; i < endOfVectors; i += n)
            most = S.Max(S.Load(scores + i), most);
        T largest = S.Largest(most);
        V minus = S.All(-largest),
            sums = S.All(T.Zero);
        for (int i = 0; i < endOfVectors; i += n)
        {
            V p = Tiles<S, V, T>.Exp(S.Add(S.Load(scores + i), minus));
            S.Store(p, scores + i);
            sums = S.Add(sums, p); // of −∞ less than 10⁻³⁷
        }
        ClearOutside(scores, first, end, stop - start);
        T sum = S.Sum(sums);
        return (T.One / sum, largest + T.Log(sum));
    }

    /// <summary>Scores and dP of a row become P and dS, 0 where the query does not look.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Slopes(int query, T inner, int start, int stop, nint at)
    {
        T* scores = _scores + at;
        T* slopes = _ofScores + at;
        int n = S.Count,
            first = Math.Max(0, FirstKey(query) - start),
            end = Math.Min(stop, EndKey(query)) - start;
        V logSum = S.All(-LogSums[query]),
            product = S.All(inner);
        for (int i = 0; i < end; i += n)
        {
            V p = Tiles<S, V, T>.Exp(S.Add(S.Load(scores + i), logSum));
            S.Store(p, scores + i);
            S.Store(S.Multiply(p, S.Subtract(S.Load(slopes + i), product)), slopes + i);
        }
        ClearOutside(scores, first, end, stop - start);
        ClearOutside(slopes, first, end, stop - start);
    }

    // At both ends at most a tile's rows: not worth a call.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void ClearOutside(T* row, int first, int end, int count)
    {
        for (int i = 0; i < Math.Min(first, count); i++)
            row[i] = T.Zero;
        for (int i = Math.Max(end, 0); i < count; i++)
            row[i] = T.Zero;
    }

    /// <summary>A tile's weights·rows for a range of keys, added to what is given: P V, or dS K.</summary>
    private void AddWeighted(T* weights, T* rows, int start, int end, T* given, nint givenRow, T* into) =>
        Tiles<S, V, T>.StridedRows(
            weights,
            _scoreRow,
            1,
            rows + start * _row,
            _row,
            end - start,
            given,
            givenRow,
            into,
            _row,
            _c.Size
        );

    /// <summary>Adds a block's part of dSᵀQ and PᵀdO to a tile's rows of dK and dV.</summary>
    private void AddAcross(int first, int count, int key, nint place)
    {
        // The queries that see one of these keys
        nint start = Math.Clamp(key - _c.Past - first, 0, count),
            end = (nint)Math.Clamp((long)key + S.Rows - 1 + _c.Window - _c.Past - first, 0, count);
        if (end <= start)
            return;
        T* ofK = _ofK + key * _row;
        T* ofV = _ofV + key * _row;
        nint at = start * _scoreRow + place;
        AddRows(_ofScores + at, _q + (first + start) * _row, end - start, ofK);
        AddRows(_scores + at, _ofRows + start * _row, end - start, ofV);
    }

    private void AddRows(T* weights, T* rows, nint count, T* into) =>
        Tiles<S, V, T>.StridedRows(weights, 1, _scoreRow, rows, _row, count, into, _row, into, _row, _c.Size);

    private void Load(bool back)
    {
        for (int j = 0; j < _c.Past; j++)
        {
            Copy(Kept(_c.PastKeys, _c.Past, j), _k + j * _row);
            Copy(Kept(_c.PastValues, _c.Past, j), _v + j * _row);
        }
        for (int t = 0; t < _c.Tokens; t++)
        {
            Rotate(Projected(_c.Projected, t, 0), t, _q + t * _row, _scale, _scale);
            Rotate(Projected(_c.Projected, t, 1), t, _k + (_c.Past + t) * _row, T.One, T.One);
            Copy(Projected(_c.Projected, t, 2), _v + (_c.Past + t) * _row);
        }
        Tiles<S, V, T>.Transpose(_k, _row, _keyCount, _c.Size, _kAcross, _across);
        if (back)
            Tiles<S, V, T>.Transpose(_v, _row, _keyCount, _c.Size, _vAcross, _across);
    }

    private void LoadGradients(int first, int count, T* inner)
    {
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
                Rotate(ofK, j - _c.Past, Projected(_c.OfProjected, j - _c.Past, 1), T.One, -T.One);
                Copy(ofV, Projected(_c.OfProjected, j - _c.Past, 2));
            }
        }
    }

    private void Keep(T* rows, T* kept)
    {
        for (int j = 0; j < _c.Kept; j++)
            Copy(rows + (_keyCount - _c.Kept + j) * _row, Kept(kept, _c.Kept, j));
    }

    /// <summary>Each pair (x_i, x_{i + d_h/2}) turned by the token's angles, with factors for cosines and
    /// sines.</summary>
    private void Rotate(T* from, int token, T* to, T ofCosines, T ofSines)
    {
        int half = _c.Size / 2,
            i = 0;
        T* cos = (T*)_c.Cos + (nint)token * half;
        T* sin = (T*)_c.Sin + (nint)token * half;
        W cosines = N.All(ofCosines),
            sines = N.All(ofSines);
        for (; i + N.Count <= half; i += N.Count)
        {
            W a = N.Load(from + i),
                b = N.Load(from + half + i),
                c = N.Multiply(cosines, N.Load(cos + i)),
                s = N.Multiply(sines, N.Load(sin + i));
            N.Store(N.Subtract(N.Multiply(a, c), N.Multiply(b, s)), to + i);
            N.Store(N.MultiplyAdd(b, c, N.Multiply(a, s)), to + half + i);
        }
        for (; i < half; i++)
        {
            T a = from[i],
                b = from[half + i],
                c = ofCosines * cos[i],
                s = ofSines * sin[i];
            to[i] = a * c - b * s;
            to[half + i] = b * c + a * s;
        }
    }

    private void Scale(T* row, T factor, T* into)
    {
        V f = S.All(factor);
        int i = 0;
        for (; i + S.Count <= _c.Size; i += S.Count)
            S.Store(S.Multiply(S.Load(row + i), f), into + i);
        for (; i < _c.Size; i++)
            into[i] = row[i] * factor;
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

    private void Copy(T* from, T* to) => Tiles<S, V, T>.Copy(from, to, _c.Size);

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
        nint keys = Up(_keyCount, S.Rows),
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
        _kAcross = Take(_across * _c.Size);
        _scores = Take((back ? Block : S.Rows) * _scoreRow);
        _rows = Take(Block * _row);
        if (back)
        {
            _vAcross = Take(_across * _c.Size);
            _ofScores = Take(Block * _scoreRow);
            _ofRows = Take(Block * _row);
            // A tile of keys begins at any key, so that the last one may end a tile behind the last key.
            _ofK = Take((_keyCount + S.Rows) * _row);
            _ofV = Take((_keyCount + S.Rows) * _row);
        }
        return used * sizeof(T);
    }
}
