using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace EmtTorch.Kernels;

/// <summary>
/// The inner loops: products for a tile of R rows (<see cref="ISimd{V,T}.Rows"/>) × 2 vectors of columns, whose sums
/// over k stay in registers, and tanh. Each of the 16 sums is a local variable: the compiler would keep an array or a
/// struct in memory, at a third of the speed.
/// </summary>
internal static unsafe class Tiles<S, V, T>
    where S : struct, ISimd<V, T>
    where V : struct
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    /// <summary>The number of columns of a tile, and of a panel of packed weights.</summary>
    public static int Width => 2 * S.Count;

    /// <summary>
    /// Computes a tile, R rows × Width columns, of o = (init + a1·p1 + a2·p2) ∘ (1 − h²). Forward, the products are
    /// those of the state and the input; backward, those of δ(t+1) and the output's gradient.
    /// </summary>
    /// <remarks>
    /// a: R rows of k numbers, at a distance of lda. p, a panel: k rows of Width numbers. init, h and o: R rows, at
    /// distances of ldi, ldh and ldo. With ldi = 0 init is one row, a bias; with h null there is no factor.
    /// </remarks>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Product(
        T* a1,
        nint lda1,
        T* p1,
        nint k1,
        T* a2,
        nint lda2,
        T* p2,
        nint k2,
        T* init,
        nint ldi,
        T* h,
        nint ldh,
        T* o,
        nint ldo
    )
    {
        int n = S.Count;
        V c00 = S.Load(init),
            c01 = S.Load(init + n);
        init += ldi;
        V c10 = S.Load(init),
            c11 = S.Load(init + n);
        init += ldi;
        V c20 = S.Load(init),
            c21 = S.Load(init + n);
        init += ldi;
        V c30 = S.Load(init),
            c31 = S.Load(init + n);
        V c40 = default,
            c41 = default,
            c50 = default,
            c51 = default,
            c60 = default,
            c61 = default,
            c70 = default,
            c71 = default;
        if (S.Rows == 8)
        {
            init += ldi;
            c40 = S.Load(init);
            c41 = S.Load(init + n);
            init += ldi;
            c50 = S.Load(init);
            c51 = S.Load(init + n);
            init += ldi;
            c60 = S.Load(init);
            c61 = S.Load(init + n);
            init += ldi;
            c70 = S.Load(init);
            c71 = S.Load(init + n);
        }
        T* a = a1,
            p = p1;
        nint lda = lda1,
            k = k1;
        for (int segment = 0; ; segment++)
        {
            nint l2 = 2 * lda,
                l3 = 3 * lda;
            T* b = a + 4 * lda,
                end = a + k;
            for (; a < end; a++, b++, p += 2 * n)
            {
                V p0 = S.Load(p),
                    p1n = S.Load(p + n);
                V x = S.All(*a);
                c00 = S.MultiplyAdd(x, p0, c00);
                c01 = S.MultiplyAdd(x, p1n, c01);
                x = S.All(a[lda]);
                c10 = S.MultiplyAdd(x, p0, c10);
                c11 = S.MultiplyAdd(x, p1n, c11);
                x = S.All(a[l2]);
                c20 = S.MultiplyAdd(x, p0, c20);
                c21 = S.MultiplyAdd(x, p1n, c21);
                x = S.All(a[l3]);
                c30 = S.MultiplyAdd(x, p0, c30);
                c31 = S.MultiplyAdd(x, p1n, c31);
                if (S.Rows == 8)
                {
                    x = S.All(*b);
                    c40 = S.MultiplyAdd(x, p0, c40);
                    c41 = S.MultiplyAdd(x, p1n, c41);
                    x = S.All(b[lda]);
                    c50 = S.MultiplyAdd(x, p0, c50);
                    c51 = S.MultiplyAdd(x, p1n, c51);
                    x = S.All(b[l2]);
                    c60 = S.MultiplyAdd(x, p0, c60);
                    c61 = S.MultiplyAdd(x, p1n, c61);
                    x = S.All(b[l3]);
                    c70 = S.MultiplyAdd(x, p0, c70);
                    c71 = S.MultiplyAdd(x, p1n, c71);
                }
            }
            if (segment == 1)
                break;
            a = a2;
            p = p2;
            lda = lda2;
            k = k2;
        }
        if (h != null)
        {
            Slope(ref c00, ref c01, h);
            h += ldh;
            Slope(ref c10, ref c11, h);
            h += ldh;
            Slope(ref c20, ref c21, h);
            h += ldh;
            Slope(ref c30, ref c31, h);
            h += ldh;
            if (S.Rows == 8)
            {
                Slope(ref c40, ref c41, h);
                h += ldh;
                Slope(ref c50, ref c51, h);
                h += ldh;
                Slope(ref c60, ref c61, h);
                h += ldh;
                Slope(ref c70, ref c71, h);
            }
        }
        S.Store(c00, o);
        S.Store(c01, o + n);
        o += ldo;
        S.Store(c10, o);
        S.Store(c11, o + n);
        o += ldo;
        S.Store(c20, o);
        S.Store(c21, o + n);
        o += ldo;
        S.Store(c30, o);
        S.Store(c31, o + n);
        if (S.Rows == 8)
        {
            o += ldo;
            S.Store(c40, o);
            S.Store(c41, o + n);
            o += ldo;
            S.Store(c50, o);
            S.Store(c51, o + n);
            o += ldo;
            S.Store(c60, o);
            S.Store(c61, o + n);
            o += ldo;
            S.Store(c70, o);
            S.Store(c71, o + n);
        }
    }

    // tanh' = 1 − h²
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Slope(ref V a, ref V b, T* h)
    {
        V x = S.Load(h),
            y = S.Load(h + S.Count);
        a = S.Subtract(a, S.Multiply(S.Multiply(a, x), x));
        b = S.Subtract(b, S.Multiply(S.Multiply(b, y), y));
    }

    /// <summary>
    /// Computes a tile of 8 rows × one vector of o = init + a·p. For the readout, whose few columns (usually κ = 8)
    /// would leave most of a wide tile empty.
    /// </summary>
    /// <remarks>a: 8 rows of k numbers, at a distance of lda. p: k rows of one vector. init: one vector for all rows.
    /// o: 8 rows, at a distance of ldo.</remarks>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void NarrowProduct(T* a, nint lda, T* p, nint k, T* init, T* o, nint ldo)
    {
        int n = S.Count;
        V c0 = S.Load(init),
            c1 = c0,
            c2 = c0,
            c3 = c0,
            c4 = c0,
            c5 = c0,
            c6 = c0,
            c7 = c0;
        nint l2 = 2 * lda,
            l3 = 3 * lda;
        T* b = a + 4 * lda;
        for (T* end = a + k; a < end; a++, b++, p += n)
        {
            V w = S.Load(p);
            c0 = S.MultiplyAdd(S.All(*a), w, c0);
            c1 = S.MultiplyAdd(S.All(a[lda]), w, c1);
            c2 = S.MultiplyAdd(S.All(a[l2]), w, c2);
            c3 = S.MultiplyAdd(S.All(a[l3]), w, c3);
            c4 = S.MultiplyAdd(S.All(*b), w, c4);
            c5 = S.MultiplyAdd(S.All(b[lda]), w, c5);
            c6 = S.MultiplyAdd(S.All(b[l2]), w, c6);
            c7 = S.MultiplyAdd(S.All(b[l3]), w, c7);
        }
        S.Store(c0, o);
        o += ldo;
        S.Store(c1, o);
        o += ldo;
        S.Store(c2, o);
        o += ldo;
        S.Store(c3, o);
        o += ldo;
        S.Store(c4, o);
        o += ldo;
        S.Store(c5, o);
        o += ldo;
        S.Store(c6, o);
        o += ldo;
        S.Store(c7, o);
    }

    /// <summary>
    /// Computes a tile, R rows × Width columns, of o = init + a·b for matrices with any strides: the products of fast
    /// weights, and δᵀh, the weights' gradient.
    /// </summary>
    /// <remarks>
    /// a: R rows of k numbers, rows at a distance of lda, numbers at a distance of step; a transposed matrix has lda =
    /// 1. b: k rows, at a distance of ldb, of which Width columns are used. init and o: R rows, at distances of ldi and
    /// ldo; they may be the same matrix. With ldi = 0 init is one row.
    /// </remarks>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void StridedProduct(
        T* a,
        nint lda,
        nint step,
        T* b,
        nint ldb,
        nint k,
        T* init,
        nint ldi,
        T* o,
        nint ldo
    )
    {
        int n = S.Count;
        V c00 = S.Load(init),
            c01 = S.Load(init + n);
        init += ldi;
        V c10 = S.Load(init),
            c11 = S.Load(init + n);
        init += ldi;
        V c20 = S.Load(init),
            c21 = S.Load(init + n);
        init += ldi;
        V c30 = S.Load(init),
            c31 = S.Load(init + n);
        V c40 = default,
            c41 = default,
            c50 = default,
            c51 = default,
            c60 = default,
            c61 = default,
            c70 = default,
            c71 = default;
        if (S.Rows == 8)
        {
            init += ldi;
            c40 = S.Load(init);
            c41 = S.Load(init + n);
            init += ldi;
            c50 = S.Load(init);
            c51 = S.Load(init + n);
            init += ldi;
            c60 = S.Load(init);
            c61 = S.Load(init + n);
            init += ldi;
            c70 = S.Load(init);
            c71 = S.Load(init + n);
        }
        nint l2 = 2 * lda,
            l3 = 3 * lda;
        T* d = a + 4 * lda;
        for (nint i = 0; i < k; i++, a += step, d += step, b += ldb)
        {
            V b0 = S.Load(b),
                b1 = S.Load(b + n);
            V x = S.All(*a);
            c00 = S.MultiplyAdd(x, b0, c00);
            c01 = S.MultiplyAdd(x, b1, c01);
            x = S.All(a[lda]);
            c10 = S.MultiplyAdd(x, b0, c10);
            c11 = S.MultiplyAdd(x, b1, c11);
            x = S.All(a[l2]);
            c20 = S.MultiplyAdd(x, b0, c20);
            c21 = S.MultiplyAdd(x, b1, c21);
            x = S.All(a[l3]);
            c30 = S.MultiplyAdd(x, b0, c30);
            c31 = S.MultiplyAdd(x, b1, c31);
            if (S.Rows == 8)
            {
                x = S.All(*d);
                c40 = S.MultiplyAdd(x, b0, c40);
                c41 = S.MultiplyAdd(x, b1, c41);
                x = S.All(d[lda]);
                c50 = S.MultiplyAdd(x, b0, c50);
                c51 = S.MultiplyAdd(x, b1, c51);
                x = S.All(d[l2]);
                c60 = S.MultiplyAdd(x, b0, c60);
                c61 = S.MultiplyAdd(x, b1, c61);
                x = S.All(d[l3]);
                c70 = S.MultiplyAdd(x, b0, c70);
                c71 = S.MultiplyAdd(x, b1, c71);
            }
        }
        S.Store(c00, o);
        S.Store(c01, o + n);
        o += ldo;
        S.Store(c10, o);
        S.Store(c11, o + n);
        o += ldo;
        S.Store(c20, o);
        S.Store(c21, o + n);
        o += ldo;
        S.Store(c30, o);
        S.Store(c31, o + n);
        if (S.Rows == 8)
        {
            o += ldo;
            S.Store(c40, o);
            S.Store(c41, o + n);
            o += ldo;
            S.Store(c50, o);
            S.Store(c51, o + n);
            o += ldo;
            S.Store(c60, o);
            S.Store(c61, o + n);
            o += ldo;
            S.Store(c70, o);
            S.Store(c71, o + n);
        }
    }

    /// <summary>The same as <see cref="StridedProduct"/> for a tile of one vector of columns.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void StridedNarrowProduct(
        T* a,
        nint lda,
        nint step,
        T* b,
        nint ldb,
        nint k,
        T* init,
        nint ldi,
        T* o,
        nint ldo
    )
    {
        V c0 = S.Load(init),
            c1 = S.Load(init + ldi),
            c2 = S.Load(init + 2 * ldi),
            c3 = S.Load(init + 3 * ldi);
        init += 4 * ldi;
        V c4 = default,
            c5 = default,
            c6 = default,
            c7 = default;
        if (S.Rows == 8)
        {
            c4 = S.Load(init);
            c5 = S.Load(init + ldi);
            c6 = S.Load(init + 2 * ldi);
            c7 = S.Load(init + 3 * ldi);
        }
        nint l2 = 2 * lda,
            l3 = 3 * lda;
        T* d = a + 4 * lda;
        for (nint i = 0; i < k; i++, a += step, d += step, b += ldb)
        {
            V w = S.Load(b);
            c0 = S.MultiplyAdd(S.All(*a), w, c0);
            c1 = S.MultiplyAdd(S.All(a[lda]), w, c1);
            c2 = S.MultiplyAdd(S.All(a[l2]), w, c2);
            c3 = S.MultiplyAdd(S.All(a[l3]), w, c3);
            if (S.Rows == 8)
            {
                c4 = S.MultiplyAdd(S.All(*d), w, c4);
                c5 = S.MultiplyAdd(S.All(d[lda]), w, c5);
                c6 = S.MultiplyAdd(S.All(d[l2]), w, c6);
                c7 = S.MultiplyAdd(S.All(d[l3]), w, c7);
            }
        }
        S.Store(c0, o);
        S.Store(c1, o + ldo);
        S.Store(c2, o + 2 * ldo);
        S.Store(c3, o + 3 * ldo);
        o += 4 * ldo;
        if (S.Rows == 8)
        {
            S.Store(c4, o);
            S.Store(c5, o + ldo);
            S.Store(c6, o + 2 * ldo);
            S.Store(c7, o + 3 * ldo);
        }
    }

    /// <summary>o = init + a·b for R rows and any number of columns, in tiles of two vectors and of one. Whole vectors
    /// are written.</summary>
    /// <remarks>As <see cref="StridedProduct"/>; with ldi = 0 init has <see cref="Width"/> numbers, for all
    /// tiles.</remarks>
    public static void StridedRows(
        T* a,
        nint lda,
        nint step,
        T* b,
        nint ldb,
        nint k,
        T* init,
        nint ldi,
        T* o,
        nint ldo,
        nint columns
    )
    {
        nint j = 0;
        for (; columns - j > S.Count; j += Width)
            StridedProduct(a, lda, step, b + j, ldb, k, ldi == 0 ? init : init + j, ldi, o + j, ldo);
        if (columns > j)
            StridedNarrowProduct(a, lda, step, b + j, ldb, k, ldi == 0 ? init : init + j, ldi, o + j, ldo);
    }

    /// <summary>Copies a few numbers, without a call.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Copy(T* from, T* to, nint count)
    {
        nint i = 0;
        for (; i + S.Count <= count; i += S.Count)
            S.Store(S.Load(from + i), to + i);
        for (; i < count; i++)
            to[i] = from[i];
    }

    /// <summary>Transposes rows × columns numbers: to[j, i] = from[i, j].</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Transpose(T* from, nint fromRow, nint rows, nint columns, T* to, nint toRow)
    {
        nint i = 0;
        if (typeof(T) == typeof(float) && Avx.IsSupported)
        {
            for (; i + 8 <= rows; i += 8)
            {
                nint j = 0;
                for (; j + 4 <= columns; j += 4)
                    TransposeBlock((float*)from + i * fromRow + j, fromRow, (float*)to + j * toRow + i, toRow);
                for (; j < columns; j++)
                {
                    for (nint r = i; r < i + 8; r++)
                        to[j * toRow + r] = from[r * fromRow + j];
                }
            }
        }
        for (nint j = 0; j < columns; j++)
        {
            for (nint r = i; r < rows; r++)
                to[j * toRow + r] = from[r * fromRow + j];
        }
    }

    // 8 rows × 4 columns
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void TransposeBlock(float* from, nint fromRow, float* to, nint toRow)
    {
        float* lower = from + 4 * fromRow;
        Vector256<float> a = Vector256.Create(Vector128.Load(from), Vector128.Load(lower)),
            b = Vector256.Create(Vector128.Load(from + fromRow), Vector128.Load(lower + fromRow)),
            c = Vector256.Create(Vector128.Load(from + 2 * fromRow), Vector128.Load(lower + 2 * fromRow)),
            d = Vector256.Create(Vector128.Load(from + 3 * fromRow), Vector128.Load(lower + 3 * fromRow));
        Vector256<float> ab = Avx.UnpackLow(a, b),
            cd = Avx.UnpackLow(c, d);
        Avx.Shuffle(ab, cd, 0x44).Store(to);
        Avx.Shuffle(ab, cd, 0xee).Store(to + toRow);
        ab = Avx.UnpackHigh(a, b);
        cd = Avx.UnpackHigh(c, d);
        Avx.Shuffle(ab, cd, 0x44).Store(to + 2 * toRow);
        Avx.Shuffle(ab, cd, 0xee).Store(to + 3 * toRow);
    }

    /// <summary>
    /// Computes tanh of a tile, R rows × Width columns, in place. A method of its own, since 16 inlined copies in the
    /// product would be slower.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Tanh(T* o, nint ldo)
    {
        for (int r = 0; r < S.Rows; r++, o += ldo)
        {
            V a = S.Load(o),
                b = S.Load(o + S.Count);
            S.Store(Tanh(a), o);
            S.Store(Tanh(b), o + S.Count);
        }
    }

    /// <summary>
    /// Computes tanh x = e / (e + 2) with e = exp(2|x|) − 1, and the sign of x. With r = 2|x| − n ln 2 and
    /// p = exp(r) − 1, e = 2ⁿ p + (2ⁿ − 1) keeps small x exact, where (exp(2x) − 1) / (exp(2x) + 1) loses digits. r
    /// lies in [−0.3, 0.7] ln 2 and not symmetrically around 0, so that n = 1 begins where e is 0.62 in place of 0.41,
    /// and fewer digits are lost there. The result is never above 1 in magnitude; NaN gives NaN. `FusedTanhTests`
    /// measures the largest error over all floats.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Tanh(V x)
    {
        bool single = typeof(T) == typeof(float);
        // From 20 (40 in float64) on e / (e + 2) is 1 to the last bit, and 2ⁿ must not overflow.
        V y = S.Abs(x);
        y = S.Min(S.Add(y, y), S.Constant(single ? 20 : 40));
        V p = ExpMinusOne(y, out V scale);
        V e = S.MultiplyAdd(scale, p, S.Subtract(scale, S.Constant(1)));
        // A quotient of rounded numbers could be off by 2.4 ulp. So the remainder, with what rounding the denominator d
        // lost, is divided by d too.
        V one = S.Constant(1),
            two = S.Constant(2),
            d = S.Add(e, two),
            inverse = S.Divide(one, d),
            t = S.Multiply(e, inverse),
            minus = S.Subtract(S.All(T.Zero), t);
        V left = S.MultiplyAdd(minus, S.Add(S.Subtract(S.Max(e, two), d), S.Min(e, two)), S.MultiplyAdd(minus, d, e));
        t = S.Min(S.MultiplyAdd(left, inverse, t), one);
        return S.CopySign(t, x);
    }

    /// <summary>
    /// Computes exp x for x ≤ 1. Below −87 (−708 in float64) it gives exp of that, almost 0. NaN gives NaN.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Exp(V x)
    {
        V p = ExpMinusOne(S.Max(x, S.Constant(typeof(T) == typeof(float) ? -87 : -708)), out V scale);
        return S.MultiplyAdd(scale, p, scale);
    }

    /// <summary>
    /// Computes p = exp(r) − 1 and 2ⁿ for y = n ln 2 + r with r in [−0.3, 0.7] ln 2: exp y = 2ⁿ (1 + p).
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V ExpMinusOne(V y, out V scale)
    {
        bool single = typeof(T) == typeof(float);
        // Adding 1.5 · 2^(mantissa bits) rounds a number to an integer in the lowest bits. With the exponent's bias
        // added too, these bits are the exponent of 2ⁿ.
        V magic = S.Constant(single ? 12582912 + 127 : 6755399441055744 + 1023);
        V shifted = S.Add(S.MultiplyAdd(y, S.Constant(1.4426950408889634), S.Constant(-0.2)), magic);
        V n = S.Subtract(shifted, magic);
        scale = S.BitsToExponent(shifted);
        // In float64 ln 2 has two parts, the first so short that its product with n is exact. In float32 one part is
        // enough: where n is so large that the rest would change exp(r), tanh is 1.
        V r = S.MultiplyAdd(n, S.Constant(single ? -0.69314718055994531 : -6.93147180369123816490e-01), y);
        if (!single)
            r = S.MultiplyAdd(n, S.Constant(-1.90821492927058770002e-10), r);
        V q; // (exp(r) − 1 − r) / r²
        if (single)
        {
            // Coefficients with the smallest largest |r · error|, 1.5e-8.
            q = S.Constant(0.0015644655795767903);
            q = S.MultiplyAdd(q, r, S.Constant(0.008310620673000813));
            q = S.MultiplyAdd(q, r, S.Constant(0.04165733605623245));
            q = S.MultiplyAdd(q, r, S.Constant(0.1666678935289383));
            q = S.MultiplyAdd(q, r, S.Constant(0.5000001192092896));
        }
        else
        {
            // Taylor's series to r¹², with a rest of 3e-17.
            q = S.Constant(1.0 / 87178291200);
            q = S.MultiplyAdd(q, r, S.Constant(1.0 / 6227020800));
            q = S.MultiplyAdd(q, r, S.Constant(1.0 / 479001600));
            q = S.MultiplyAdd(q, r, S.Constant(1.0 / 39916800));
            q = S.MultiplyAdd(q, r, S.Constant(1.0 / 3628800));
            q = S.MultiplyAdd(q, r, S.Constant(1.0 / 362880));
            q = S.MultiplyAdd(q, r, S.Constant(1.0 / 40320));
            q = S.MultiplyAdd(q, r, S.Constant(1.0 / 5040));
            q = S.MultiplyAdd(q, r, S.Constant(1.0 / 720));
            q = S.MultiplyAdd(q, r, S.Constant(1.0 / 120));
            q = S.MultiplyAdd(q, r, S.Constant(1.0 / 24));
            q = S.MultiplyAdd(q, r, S.Constant(1.0 / 6));
            q = S.MultiplyAdd(q, r, S.Constant(0.5));
        }
        return S.MultiplyAdd(S.Multiply(r, r), q, r);
    }
}
