using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Tests;

/// <summary>
/// GSEMM by plain loops over arrays, with columns as the paper has them: what the tests compare with.
/// </summary>
internal sealed class GsemmLoops(double[,] xi, double[,] phi, GsemmSettings settings)
{
    public readonly double[,] Xi = xi,
        Dual = PseudoInverse(xi),
        Phi = phi;

    public static double[,] Gaussian(int rows, int columns, int seed)
    {
        var random = new System.Random(seed);
        return Fill(
            rows,
            columns,
            () => Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble())
        );
    }

    public static double[,] Signs(int rows, int columns, int seed)
    {
        var random = new System.Random(seed);
        return Fill(rows, columns, () => random.Next(2) * 2 - 1);
    }

    private static double[,] Fill(int rows, int columns, Func<double> next)
    {
        var a = new double[rows, columns];
        for (int i = 0; i < rows; i++)
        {
            for (int j = 0; j < columns; j++)
                a[i, j] = next();
        }

        return a;
    }

    /// <summary>(ΞᵀΞ)⁻¹Ξᵀ, by Gauss–Jordan with pivots on [ΞᵀΞ, Ξᵀ].</summary>
    private static double[,] PseudoInverse(double[,] xi)
    {
        int n = xi.GetLength(0),
            m = xi.GetLength(1);
        var a = new double[m, m + n];
        for (int i = 0; i < m; i++)
        {
            for (int j = 0; j < m; j++)
            {
                for (int k = 0; k < n; k++)
                    a[i, j] += xi[k, i] * xi[k, j];
            }

            for (int k = 0; k < n; k++)
                a[i, m + k] = xi[k, i];
        }
        for (int c = 0; c < m; c++)
        {
            int pivot = Enumerable.Range(c, m - c).MaxBy(r => Math.Abs(a[r, c]));
            for (int j = 0; j < m + n; j++)
                (a[c, j], a[pivot, j]) = (a[pivot, j], a[c, j]);
            double p = a[c, c];
            for (int j = 0; j < m + n; j++)
                a[c, j] /= p;
            for (int r = 0; r < m; r++)
            {
                double factor = a[r, c];
                if (r == c)
                    continue;
                for (int j = 0; j < m + n; j++)
                    a[r, j] -= factor * a[c, j];
            }
        }
        var dual = new double[m, n];
        for (int i = 0; i < m; i++)
        {
            for (int k = 0; k < n; k++)
                dual[i, k] = a[i, m + k];
        }

        return dual;
    }

    public static double[] Times(double[,] a, double[] x, bool transposed = false)
    {
        int rows = a.GetLength(transposed ? 1 : 0),
            columns = a.GetLength(transposed ? 0 : 1);
        var y = new double[rows];
        for (int i = 0; i < rows; i++)
        {
            for (int j = 0; j < columns; j++)
                y[i] += (transposed ? a[j, i] : a[i, j]) * x[j];
        }

        return y;
    }

    public double[] SigmaF(double[] v) =>
        [
            .. v.Select(x =>
                settings.FeatureNonlinearity == Nonlinearity.Tanh
                    ? Math.Tanh(settings.FeatureGain * x)
                    : settings.FeatureGain * x
            ),
        ];

    public double[] SigmaH(double[] v) =>
        [
            .. v.Select(x =>
                settings.HiddenNonlinearity == Nonlinearity.Tanh
                    ? Math.Tanh(settings.HiddenGain * x)
                    : settings.HiddenGain * x
            ),
        ];

    /// <summary>√α_s Ξ† σ_f(V_f) + α_c Φ'ᵀ Ξ† V_d.</summary>
    private double[] HiddenInput(double[] sigma, double[] d)
    {
        var own = Times(Dual, sigma);
        var other = Times(Phi, Times(Dual, d), transposed: true);
        return [.. own.Zip(other, (a, b) => Math.Sqrt(settings.AlphaS) * a + settings.AlphaC * b)];
    }

    /// <summary>Eq. 1; T_h = T_d = 0 stand for Eq. 16.</summary>
    public (double[] F, double[] H, double[] D) Rates(double[] f, double[] h, double[] d)
    {
        var sigma = SigmaF(f);
        if (settings.DelayTimescale == 0)
            d = sigma;
        var input = HiddenInput(sigma, d);
        if (settings.HiddenTimescale == 0)
            h = input;
        var target = Times(Xi, SigmaH(h));
        return (
            [.. f.Select((x, i) => (Math.Sqrt(settings.AlphaS) * target[i] - x) / settings.FeatureTimescale)],
            [.. h.Select((x, i) => settings.HiddenTimescale == 0 ? 0 : (input[i] - x) / settings.HiddenTimescale)],
            [.. d.Select((x, i) => settings.DelayTimescale == 0 ? 0 : (sigma[i] - x) / settings.DelayTimescale)]
        );
    }

    /// <summary>V_f after the given steps of RK4, from V_d = 0 and V_h at rest with it.</summary>
    public (double[] F, double[] H, double[] D) Solve(double[] feature, double step, int steps)
    {
        var (f, d) = (feature, new double[feature.Length]);
        var h = HiddenInput(SigmaF(f), settings.DelayTimescale == 0 ? SigmaF(f) : d);
        static double[] Add(double[] a, double[] b, double by) => [.. a.Zip(b, (x, y) => x + by * y)];
        for (int n = 0; n < steps; n++)
        {
            var k1 = Rates(f, h, d);
            var k2 = Rates(Add(f, k1.F, step / 2), Add(h, k1.H, step / 2), Add(d, k1.D, step / 2));
            var k3 = Rates(Add(f, k2.F, step / 2), Add(h, k2.H, step / 2), Add(d, k2.D, step / 2));
            var k4 = Rates(Add(f, k3.F, step), Add(h, k3.H, step), Add(d, k3.D, step));
            double[] Sum(double[] x, double[] a, double[] b, double[] c, double[] e) =>
                [.. x.Select((v, i) => v + step / 6 * (a[i] + 2 * b[i] + 2 * c[i] + e[i]))];
            (f, h, d) = (
                Sum(f, k1.F, k2.F, k3.F, k4.F),
                Sum(h, k1.H, k2.H, k3.H, k4.H),
                Sum(d, k1.D, k2.D, k3.D, k4.D)
            );
        }
        return (f, h, d);
    }

    /// <summary>W_hh = Ξ (I + Φ'ᵀ) Ξ†, entry by entry.</summary>
    public double[,] Weights()
    {
        int n = Xi.GetLength(0),
            m = Xi.GetLength(1);
        var w = new double[n, n];
        for (int i = 0; i < n; i++)
        {
            for (int j = 0; j < n; j++)
            {
                for (int a = 0; a < m; a++)
                {
                    for (int b = 0; b < m; b++)
                    {
                        w[i, j] +=
                            Xi[i, a]
                            * (
                                (a == b ? settings.AlphaS : 0)
                                + Math.Sqrt(settings.AlphaS) * settings.AlphaC * Phi[b, a]
                            )
                            * Dual[b, j];
                    }
                }
            }
        }

        return w;
    }

    /// <summary>∫₀ˣ σ by Simpson's rule on 2000 intervals.</summary>
    private static double Integral(Func<double, double> sigma, double x)
    {
        const int n = 2000;
        double sum = sigma(0) + sigma(x);
        for (int i = 1; i < n; i++)
            sum += (i % 2 == 1 ? 4 : 2) * sigma(x * i / n);
        return sum * x / n / 3;
    }

    /// <summary>The energy's definition, for a linear σ_h, or for orthogonal memories.</summary>
    public double Energy(double[] f, double[] h, double[] d)
    {
        var (sf, sh) = (SigmaF(f), SigmaH(h));
        var g = Times(Xi, Times(Xi, sh), transposed: true); // G σ_h(V_h)
        double energy = 0;
        for (int i = 0; i < f.Length; i++)
            energy += f[i] * sf[i] - Integral(x => SigmaF([x])[0], f[i]);
        // L_h is the integral of G σ_h along the straight line from 0 to V_h.
        energy +=
            h.Zip(g, (a, b) => a * b).Sum()
            - Integral(
                t =>
                    h.Zip(Times(Xi, Times(Xi, SigmaH([.. h.Select(x => t * x)])), transposed: true), (a, b) => a * b)
                        .Sum(),
                1
            );
        energy -= Math.Sqrt(settings.AlphaS) * sf.Zip(Times(Xi, sh), (a, b) => a * b).Sum();
        return energy - settings.AlphaC * Times(Phi, Times(Dual, d), transposed: true).Zip(g, (a, b) => a * b).Sum();
    }

    public static double[] Values(Tensor t) => t.contiguous().data<double>().ToArray();

    public static Tensor Row(params double[] values) => tensor(values).unsqueeze(0);

    public static double Distance(double[] a, double[] b) => a.Zip(b, (x, y) => Math.Abs(x - y)).Max();
}
