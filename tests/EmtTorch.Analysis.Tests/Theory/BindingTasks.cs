using System.Numerics;
using EmtTorch.Settings;
using EmtTorch.Tasks;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Tests;

/// <summary>The paper's tasks, and random linear f whose spectrum is bounded by 1.</summary>
internal static class BindingTasks
{
    public static readonly string[] Paper = ["t1", "t2", "t3", "t4"];

    public static IEnumerable<TestCaseData> All()
    {
        foreach (var name in Paper)
            yield return new TestCaseData(LinearBinding.Named(name)).SetArgDisplayNames(name);
        for (int seed = 0; seed < 4; seed++)
            yield return new TestCaseData(RandomId(seed, d: 5, s: 4)).SetArgDisplayNames($"random id {seed}");
        for (int seed = 0; seed < 2; seed++)
            yield return new TestCaseData(Rotation(seed, d: 6, s: 3)).SetArgDisplayNames($"rotation {seed}");
        for (int seed = 0; seed < 2; seed++)
        {
            yield return new TestCaseData(UnitRoots(seed, d: 3, s: 6, decaying: 0)).SetArgDisplayNames(
                $"unit roots {seed}"
            );
        }

        for (int seed = 0; seed < 2; seed++)
        {
            yield return new TestCaseData(UnitRoots(seed, d: 3, s: 6, decaying: 2)).SetArgDisplayNames(
                $"unit and decaying roots {seed}"
            );
        }
    }

    /// <summary>Each output reads one entry of its own, with a sign.</summary>
    public static LinearBinding RandomId(int seed, int d, int s)
    {
        var random = new Random(seed);
        var choice = Enumerable.Range(0, s * d).OrderBy(_ => random.Next()).Take(d).ToArray();
        BigInteger id1 = 0,
            id2 = 0,
            id3 = 0,
            place = 1;
        foreach (int entry in choice)
            id1 |= BigInteger.One << entry;
        for (int k = 0; k < d; k++, place *= d)
        {
            id2 += place * random.Next(d - k);
            if (random.Next(2) == 1)
                id3 |= BigInteger.One << k;
        }
        return LinearBinding.FromId(id1, id2, id3, d, s);
    }

    /// <summary>y(t) = Q y(t − s), Q orthogonal: reads the oldest variable alone.</summary>
    public static LinearBinding Rotation(int seed, int d, int s)
    {
        var f = new double[s * d][];
        for (int j = 0; j < s * d; j++)
            f[j] = new double[d];
        var q = Orthogonal(seed, d);
        for (int i = 0; i < d; i++)
        {
            for (int j = 0; j < d; j++)
                f[j][i] = q[i, j];
        }

        return LinearBinding.FromMatrix(f, d, s);
    }

    /// <summary>
    /// d channels, mixed by an orthogonal matrix, each with s characteristic roots on the unit circle but some of
    /// magnitude 0.5.
    /// </summary>
    public static LinearBinding UnitRoots(int seed, int d, int s, int decaying)
    {
        var random = new Random(seed + 100);
        var q = Orthogonal(seed + 10, d);
        var f = new double[s * d][];
        for (int j = 0; j < s * d; j++)
            f[j] = new double[d];
        for (int channel = 0; channel < d; channel++)
        {
            // (z² − 2 r cos θ z + r²) for each pair of roots, the angles well apart.
            double[] polynomial = [1];
            for (int pair = 0; pair < s / 2; pair++)
            {
                double r = pair < decaying / 2 ? 0.5 : 1,
                    angle = Math.PI * (pair + 0.2 + 0.6 * random.NextDouble()) / (s / 2);
                polynomial = Multiply(polynomial, [r * r, -2 * r * Math.Cos(angle), 1]);
            }
            // z^s = −Σ p_k z^k: y(t) = −Σ p_k y(t − s + k), variable k of the history.
            for (int k = 0; k < s; k++)
            {
                for (int i = 0; i < d; i++)
                {
                    for (int j = 0; j < d; j++)
                        f[k * d + j][i] -= polynomial[k] * q[i, channel] * q[j, channel];
                }
            }
        }
        return LinearBinding.FromMatrix(f, d, s);
    }

    /// <summary>A basis with independent columns that are far from orthogonal.</summary>
    public static Tensor RandomBasis(int hidden, int columns, int seed)
    {
        using var generator = new Generator((ulong)seed, CPU);
        return randn([hidden, columns], dtype: ScalarType.Float64, generator: generator);
    }

    public static Tensor Inputs(LinearBinding task, int batch, int seed)
    {
        using var generator = new Generator((ulong)seed, CPU);
        return randint(0, 2, new long[] { task.S, batch, task.D }, dtype: ScalarType.Float64, generator: generator)
            .mul_(2)
            .sub_(1);
    }

    private static double[] Multiply(double[] a, double[] b)
    {
        var product = new double[a.Length + b.Length - 1];
        for (int i = 0; i < a.Length; i++)
        {
            for (int j = 0; j < b.Length; j++)
                product[i + j] += a[i] * b[j];
        }

        return product;
    }

    private static double[,] Orthogonal(int seed, int n)
    {
        var (q, _) = linalg.qr(RandomBasis(n, n, seed + 1));
        var rows = Matrices.Rows(q);
        var result = new double[n, n];
        for (int i = 0; i < n; i++)
        {
            for (int j = 0; j < n; j++)
                result[i, j] = rows[i][j];
        }

        return result;
    }
}
