using EmtTorch.Models;
using EmtTorch.Tasks;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>
/// One step of the input phase: the content of variable s, compared with that in a linear network of one phase.
/// </summary>
/// <param name="Step">t, from 1 to s.</param>
/// <param name="InputWeight">a of the fit c_s(t) = a u(t) + b f(x(t−1)), over live components and sequences.</param>
/// <param name="FeedbackWeight">b of it: 1 in the linear network, 0 if input overwrites. NaN without feedback.</param>
/// <param name="Explained">R² of the fit.</param>
/// <param name="Agree">The mean of c_s(t) u(t) over bits whose feedback f has the sign of u, or NaN.</param>
/// <param name="Disagree">The same over bits whose feedback has the other sign. In the linear network: 0.</param>
/// <param name="SignRight">The share of live components of variable s that have the sign of their input.</param>
/// <param name="Saturated">The share of hidden units with |h(t)| > 0.9.</param>
public sealed record LoadingStep(
    int Step,
    double InputWeight,
    double FeedbackWeight,
    double Explained,
    double Agree,
    double Disagree,
    double SignRight,
    double Saturated
);

/// <summary>The loading of the variables, step by step, and their size afterwards.</summary>
/// <param name="Steps">The input phase.</param>
/// <param name="AgreeAfter">The mean of content times value at t = s, s + 1, …, 3s for entries whose feedback agreed
/// with the input when they were loaded. The entries are followed as they move.</param>
/// <param name="DisagreeAfter">The same for entries whose feedback disagreed.</param>
/// <param name="Saturated">The share of hidden units with |h(t)| > 0.9 over the output phase.</param>
/// <param name="Null">The null of the last step: the same fit with the inputs of other sequences.</param>
public sealed record LoadingResult(
    IReadOnlyList<LoadingStep> Steps,
    IReadOnlyList<double> AgreeAfter,
    IReadOnlyList<double> DisagreeAfter,
    double Saturated,
    LoadingStep Null
);

/// <summary>
/// Measures how a network of one phase loads its variables. A linear one cannot for T2–T4: the last row of Φ (Eq. 9)
/// adds f of the half-filled memory to the input, so the content is u + f: 2u if they agree, 0 if they do not. This
/// measures in the variable memories what a trained tanh network does instead.
/// </summary>
public static class VariableLoading
{
    /// <summary>Measures the loading over random inputs.</summary>
    /// <param name="network">The network, float64 on the CPU.</param>
    /// <param name="task">The task that it was trained on.</param>
    /// <param name="memories">Its variable memories.</param>
    /// <param name="batchSize">The number of random sequences.</param>
    /// <param name="seed">The seed of the sequences.</param>
    /// <param name="rest">The state h (H) that contents are measured from. Null: 0.</param>
    /// <exception cref="ArgumentException">The network is of another size or type than the memories.</exception>
    public static LoadingResult Measure(
        ElmanRnn network,
        LinearBinding task,
        VariableMemories memories,
        int batchSize = 1024,
        long seed = 1,
        Tensor? rest = null
    )
    {
        int s = task.S,
            d = task.D,
            after = 2 * s;
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        using var generator = new Generator((ulong)seed, CPU);
        using var data = new VariableBinding(task, ScalarType.Float64, CPU);
        var input = data.Batch(batchSize, after, generator).Input; // (s, B, d)
        var states = network.HiddenStates(input, s + after); // (3s, B, H)
        var contents = memories.Contents(rest is null ? states : states - rest);
        var saturated = states.abs() > 0.9;
        double[] Flat(Tensor values) => values.transpose(0, 1).contiguous().data<double>().ToArray();
        Sequences Pair(Tensor inputs) => new(task, [.. memories.Live], Flat(contents), Flat(inputs));
        var sequences = Pair(input);
        var (with, against) = (new Mean[after + 1], new Mean[after + 1]);
        LoadingStep[] steps =
        [
            .. Enumerable
                .Range(1, s)
                .Select(t => MeasureStep(sequences, t, with, against, Share(saturated.select(0, t - 1)))),
        ];
        return new(
            steps,
            [.. with.Select(m => m.Value)],
            [.. against.Select(m => m.Value)],
            Share(saturated.narrow(0, s, after)),
            MeasureStep(Pair(input.roll(1, 1)), s, new Mean[after + 1], new Mean[after + 1], steps[^1].Saturated)
        );

        static double Share(Tensor flags) => Matrices.Values(flags.to_type(ScalarType.Float64).mean())[0];
    }

    private static LoadingStep MeasureStep(Sequences x, int t, Mean[] with, Mean[] against, double saturated)
    {
        var fit = new Fit();
        Mean agree = new(),
            disagree = new(),
            right = new();
        for (int b = 0; b < x.Count; b++)
        {
            foreach (int i in x.LiveComponents)
            {
                double content = x.Content(b, t, x.Last + i),
                    given = x.Input(b, t, i),
                    feedback = x.Feedback(b, t, i);
                fit.Add(given, feedback, content);
                right.Add(content * given > 0 ? 1 : 0);
                // Only feedback of a stored value of full size. Smaller values say little.
                if (Math.Abs(feedback) < 0.5)
                    continue;
                bool helps = feedback * given > 0;
                if (helps)
                    agree.Add(content * given);
                else
                    disagree.Add(content * given);
                x.Follow(b, t, i, helps ? with : against);
            }
        }
        return new(
            t,
            fit.InputWeight,
            fit.FeedbackWeight,
            fit.Explained,
            agree.Value,
            disagree.Value,
            right.Value,
            saturated
        );
    }

    /// <summary>Random sequences as plain arrays, since the sums are over many small groups.</summary>
    /// <param name="live">The live entries.</param>
    /// <param name="contents">[B][3s][s·d].</param>
    /// <param name="inputs">[B][s][d].</param>
    private sealed class Sequences(LinearBinding task, HashSet<int> live, double[] contents, double[] inputs)
    {
        private readonly int _s = task.S,
            _d = task.D;
        private readonly double[,] _f = task.F;

        public int Count { get; } = inputs.Length / (task.S * task.D);

        /// <summary>The first entry of variable s.</summary>
        public int Last { get; } = (task.S - 1) * task.D;

        public int[] LiveComponents { get; } =
        [.. Enumerable.Range(0, task.D).Where(i => live.Contains((task.S - 1) * task.D + i))];

        public double Input(int b, int t, int i) => inputs[(b * _s + t - 1) * _d + i];

        public double Content(int b, int t, int entry) => contents[(b * 3 * _s + t - 1) * _s * _d + entry];

        /// <summary>Component i of f(x(t−1)).</summary>
        public double Feedback(int b, int t, int i)
        {
            double sum = 0;
            for (int j = 0; j < _s * _d && t > 1; j++)
            {
                if (_f[j, i] != 0)
                    sum += _f[j, i] * Content(b, t - 1, j);
            }
            return sum;
        }

        // The value u_i(t) moves down one variable per step, and by a rule like T1's returns to variable s. While it
        // only moves, entry (s − 1 − age)·d + i holds it.
        public void Follow(int b, int t, int i, Mean[] into)
        {
            for (int k = 0; k < into.Length; k++)
            {
                int age = _s + k - t,
                    entry = (_s - 1 - age) * _d + i;
                if (age >= _s || !live.Contains(entry))
                    break;
                into[k].Add(Content(b, _s + k, entry) * Input(b, t, i));
            }
        }
    }

    /// <summary>Least squares c = a u + b f, without b while f is negligible.</summary>
    private struct Fit
    {
        private double _uu,
            _uf,
            _ff,
            _uc,
            _fc,
            _cc;

        public void Add(double u, double f, double c)
        {
            (_uu, _uf, _ff) = (_uu + u * u, _uf + u * f, _ff + f * f);
            (_uc, _fc, _cc) = (_uc + u * c, _fc + f * c, _cc + c * c);
        }

        private readonly bool HasFeedback => _ff > 1e-3 * _uu;

        private readonly double Determinant => _uu * _ff - _uf * _uf;

        public readonly double InputWeight => HasFeedback ? (_uc * _ff - _fc * _uf) / Determinant : _uc / _uu;

        public readonly double FeedbackWeight => HasFeedback ? (_fc * _uu - _uc * _uf) / Determinant : double.NaN;

        public readonly double Explained => (InputWeight * _uc + (HasFeedback ? FeedbackWeight * _fc : 0)) / _cc;
    }

    private struct Mean
    {
        private double _sum;
        private long _count;

        public void Add(double value) => (_sum, _count) = (_sum + value, _count + 1);

        public readonly double Value => _count == 0 ? double.NaN : _sum / _count;
    }
}
