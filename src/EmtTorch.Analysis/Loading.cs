using EmtTorch.Models;
using EmtTorch.Tasks;
using static TorchSharp.torch;

namespace EmtTorch.Analysis;

/// <summary>
/// One step of the input phase: what variable s holds, and what it would have held in a linear network of one phase.
/// </summary>
/// <param name="Step">t, from 1 to s.</param>
/// <param name="InputWeight">a of the least squares fit c_s(t) = a u(t) + b f(x(t−1)), over live components and
/// sequences.</param>
/// <param name="FeedbackWeight">b of it: 1 in the linear network, 0 where input overwrites. NaN where nothing feeds
/// back yet.</param>
/// <param name="Explained">R² of the fit.</param>
/// <param name="Agree">Mean of c_s(t) u(t) where the feedback f has u's sign; NaN where there is no such bit.</param>
/// <param name="Disagree">The same where it has the other sign. In the linear network of one phase: 0.</param>
/// <param name="SignRight">Share of variable s's live components that have their input's sign.</param>
/// <param name="Saturated">Share of hidden units with |h(t)| > 0.9.</param>
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

/// <summary>How a network loads its variables, step by step, and how their size settles afterwards.</summary>
/// <param name="Steps">The input phase.</param>
/// <param name="AgreeAfter">Mean of content times value for entries that were loaded with the feedback's help, at t =
/// s, s + 1, …, 3s, averaged over their entries wherever they have moved.</param>
/// <param name="DisagreeAfter">The same for entries loaded against the feedback.</param>
/// <param name="Saturated">Share of hidden units with |h(t)| > 0.9 over the output phase.</param>
public sealed record LoadingResult(
    IReadOnlyList<LoadingStep> Steps,
    IReadOnlyList<double> AgreeAfter,
    IReadOnlyList<double> DisagreeAfter,
    double Saturated
);

/// <summary>
/// How a network of one phase loads what a linear one can't: for T2–T4 the last row of Φ feeds f of the half-filled
/// memory into variable s while input is written there. In a linear network content would be u + f: 2u where they agree
/// and 0 where they don't. What a trained tanh network does is measured in its variable memories.
/// </summary>
public static class Loading
{
    /// <summary>Measures it over random inputs.</summary>
    /// <param name="network">The network.</param>
    /// <param name="task">What it was trained on.</param>
    /// <param name="memories">Its variable memories.</param>
    /// <param name="batchSize">Random sequences.</param>
    /// <param name="seed">Of the sequences.</param>
    /// <param name="rest">The state that contents are measured from; null: 0.</param>
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
            last = (s - 1) * d,
            after = 2 * s;
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        using var generator = new Generator((ulong)seed, CPU);
        using var data = new VariableBinding(task, ScalarType.Float64, CPU);
        var (input, target) = data.Batch(batchSize, after, generator);
        var states = network.HiddenStates(input, s + after); // (3s, B, H)
        var contents = memories.Contents(rest is null ? states : states - rest);
        var saturated = states.abs() > 0.9;
        // Components of variable s that are live; the newest variable has all that are ever read.
        int[] live = [.. memories.Live.Where(j => j >= last).Select(j => j - last)];
        double[,] f = task.F;

        // In plain arrays: the sums are over many small groups.
        var c = contents.transpose(0, 1).contiguous().data<double>().ToArray(); // [B][3s][s·d]
        var u = input.transpose(0, 1).contiguous().data<double>().ToArray(); // [B][s][d]
        var y = target.transpose(0, 1).contiguous().data<double>().ToArray(); // [B][2s][d]
        int n = s * d;
        double Content(int b, int t, int entry) => c[(b * 3 * s + t - 1) * n + entry];
        double Input(int b, int t, int i) => u[(b * s + t - 1) * d + i];
        double Feedback(int b, int t, int i)
        {
            if (t == 1)
                return 0;
            double sum = 0;
            for (int j = 0; j < n; j++)
            {
                if (f[j, i] != 0)
                    sum += f[j, i] * Content(b, t - 1, j);
            }

            return sum;
        }

        var steps = new List<LoadingStep>();
        var with = new Mean[after + 1];
        var against = new Mean[after + 1];
        for (int t = 1; t <= s; t++)
        {
            double uu = 0,
                uf = 0,
                ff = 0,
                uc = 0,
                fc = 0,
                cc = 0;
            Mean agree = new(),
                disagree = new(),
                right = new();
            for (int b = 0; b < batchSize; b++)
            {
                foreach (int i in live)
                {
                    double content = Content(b, t, last + i),
                        given = Input(b, t, i),
                        feedback = Feedback(b, t, i);
                    (uu, uf, ff) = (uu + given * given, uf + given * feedback, ff + feedback * feedback);
                    (uc, fc, cc) = (uc + given * content, fc + feedback * content, cc + content * content);
                    right.Add(content * given > 0 ? 1 : 0);
                    // Only where a stored value of full size comes back, or none: what lies between says little.
                    if (Math.Abs(feedback) < 0.5)
                        continue;
                    bool helps = feedback * given > 0;
                    if (helps)
                        agree.Add(content * given);
                    else
                        disagree.Add(content * given);
                    Follow(b, t, i, given, helps ? with : against);
                }
            }

            double determinant = uu * ff - uf * uf;
            bool feeds = ff > 1e-3 * uu;
            double a = feeds ? (uc * ff - fc * uf) / determinant : uc / uu,
                w = feeds ? (fc * uu - uc * uf) / determinant : double.NaN;
            double explained = (a * uc + (feeds ? w * fc : 0)) / cc;
            steps.Add(
                new(t, a, w, explained, agree.Value, disagree.Value, right.Value, Share(saturated.select(0, t - 1)))
            );
        }
        return new(
            steps,
            [.. with.Select(m => m.Value)],
            [.. against.Select(m => m.Value)],
            Share(saturated.narrow(0, s, after))
        );

        // The value u_i(t) moves down one variable a step; by T1's rule and its like it comes back to variable s. As
        // long as it is only moved, entry (s − 1 − steps)·d + i holds it.
        void Follow(int b, int t, int i, double given, Mean[] into)
        {
            for (int k = 0; k <= after; k++)
            {
                int age = s + k - t,
                    entry = (s - 1 - age) * d + i;
                if (age < 0)
                    continue;
                if (age >= s || !memories.Live.Contains(entry))
                    break;
                into[k].Add(Content(b, s + k, entry) * given);
            }
        }
        static double Share(Tensor flags) => Matrices.Values(flags.to_type(ScalarType.Float64).mean())[0];
    }

    private struct Mean
    {
        private double _sum;
        private long _count;

        public void Add(double value) => (_sum, _count) = (_sum + value, _count + 1);

        public readonly double Value => _count == 0 ? double.NaN : _sum / _count;
    }
}
