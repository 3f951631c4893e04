using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Numerics;
using System.Text.Json.Serialization;
using EmtTorch.Settings;

namespace EmtTorch.Tasks;

/// <summary>One term of a task: it adds sign_i · y_{permutation_i}(t − delay) to y_i(t).</summary>
public sealed record DelayedPermutation
{
    [Description("How many steps back the term reads: 1 is the newest variable, s the oldest.")]
    [Range(1, 1024)]
    public required int Delay { get; init; }

    [Description(
        "Which component of the delayed variable each output component reads, from 0; left out: each its own."
    )]
    [MinLength(1), Range(0, 1023)]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<int>? Permutation { get; init; }

    [Description("The sign of each output component; left out: all 1.")]
    [MinLength(1), AllowedValues(1, -1)]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<int>? Signs { get; init; }
}

/// <summary>
/// A linear variable binding task (arXiv 2310.02430): y(t) = Fᵀ [y(t−s); …; y(t−1)] with F (s·d, d). The history has
/// the oldest variable first.
/// </summary>
/// <remarks>
/// A task id of three integers stands for an F that reads d history entries, each once: id1 chooses the entries, id2
/// permutes them, id3 gives them signs. F[choice[i], i] = sign[i], and all other elements are 0.
/// </remarks>
/// <example><code>
/// var copy = LinearBinding.RepeatCopy(d: 8, s: 8);
/// var t3 = LinearBinding.FromId(9241421688590303745, 262676, 189, d: 8, s: 8);
/// </code></example>
public sealed class LinearBinding
{
    // 2²⁶ numbers take half a gigabyte; a larger matrix is a misprint rather than a task.
    private const long LargestMatrix = 1 << 26;

    private const ulong Diagonal = 9241421688590303745; // bit 9k: component k of variable k

    private static readonly Dictionary<string, (BigInteger Id1, BigInteger Id2, BigInteger Id3)> Ids = new()
    {
        ["t1"] = (255, 0, 0),
        ["t2"] = (Diagonal, 0, 0),
        ["t3"] = (Diagonal, 262676, 189),
        ["t4"] = (Diagonal, 38637, 145),
        ["compose_copy"] = (Diagonal, 0, 0),
    };

    private LinearBinding(double[,] f, int d, int s) => (F, D, S) = (f, d, s);

    /// <summary>d, the size of a variable (κ in the paper).</summary>
    public int D { get; }

    /// <summary>s, the number of variables in the history and of steps in the input phase.</summary>
    public int S { get; }

    /// <summary>F (s·d, d): row j belongs to history entry j, oldest variable first.</summary>
    public double[,] F { get; }

    /// <summary>Creates repeat copy, y(t) = y(t − s).</summary>
    public static LinearBinding RepeatCopy(int d, int s) => FromTerms([new() { Delay = s }], d, s);

    /// <summary>
    /// Creates a task by name: t1 to t4 of the paper, repeat_copy (T1 in any size), or compose_copy (T2).
    /// </summary>
    /// <exception cref="ArgumentException">The name is unknown, or the task does not exist in this size.</exception>
    public static LinearBinding Named(string name, int d = 8, int s = 8)
    {
        Refuse(CheckNamed(name, d, s));
        return name == "repeat_copy" ? RepeatCopy(d, s) : FromId(Ids[name].Id1, Ids[name].Id2, Ids[name].Id3, d, s);
    }

    /// <summary>Returns the rules that a name and a size break.</summary>
    internal static IReadOnlyList<string> CheckNamed(string name, int d, int s)
    {
        if (name == "repeat_copy")
            return CheckSize(d, s);
        if (!Ids.ContainsKey(name))
            return [$"there is no task named {name}; there are repeat_copy, {string.Join(", ", Ids.Keys)}"];
        return d == 8 && s == 8
            ? []
            :
            [
                $"{name} is a task of the paper with d = 8 and s = 8, but d is {d} and s is {s}; repeat_copy, an "
                    + "id, terms or a matrix allow other sizes",
            ];
    }

    /// <summary>Creates a task by its id.</summary>
    /// <param name="id1">A bit mask with d ones over the s·d history entries. Bit 0 is the first component of the
    /// oldest variable. The chosen entries, ascending, are `choice`.</param>
    /// <param name="id2">Swaps as digits in base d, least first: digit k, below d − k, swaps choice[k] and
    /// choice[k + digit] if it is not 0.</param>
    /// <param name="id3">A bit mask of signs: bit i makes sign[i] = −1.</param>
    /// <param name="d">The size of a variable.</param>
    /// <param name="s">The number of variables in the history.</param>
    /// <exception cref="ArgumentException">A rule is broken.</exception>
    public static LinearBinding FromId(BigInteger id1, BigInteger id2, BigInteger id3, int d, int s)
    {
        Refuse(CheckId(id1, id2, id3, d, s));
        var choice = Bits(id1).ToArray();
        foreach (var (k, digit) in Digits(id2, d))
            (choice[k], choice[k + digit]) = (choice[k + digit], choice[k]);
        var f = new double[s * d, d];
        for (int i = 0; i < d; i++)
            f[choice[i], i] = 1;
        foreach (int i in Bits(id3))
            f[choice[i], i] = -1;
        return new(f, d, s);
    }

    /// <summary>Returns the rules that an id breaks.</summary>
    internal static IReadOnlyList<string> CheckId(BigInteger id1, BigInteger id2, BigInteger id3, int d, int s) =>
        CheckSize(d, s) is { Count: > 0 } broken
            ? broken
            : [.. CheckChoice(id1, d, s), .. CheckSwaps(id2, d), .. CheckSigns(id3, d)];

    private static IEnumerable<string> CheckChoice(BigInteger id1, int d, int s)
    {
        if (id1 < 0)
        {
            yield return $"id1 is {id1}: a bit mask can't be negative";
            yield break;
        }
        if (id1.GetBitLength() > (long)s * d)
        {
            yield return $"id1 has its highest bit at {id1.GetBitLength() - 1}: the history has s·d = {s * d} entries, "
                + $"bits 0 to {s * d - 1}";
        }
        int ones = Bits(id1).Count();
        if (ones != d)
        {
            yield return $"id1 chooses {ones} history entries (ones in its binary form): it must be exactly d = {d}, "
                + "one for each output component";
        }
    }

    private static IEnumerable<string> CheckSwaps(BigInteger id2, int d)
    {
        if (id2 < 0)
            return [$"id2 is {id2}: the swaps, read in base d, can't be negative"];
        if (d == 1 && id2 > 0)
            return [$"id2 is {id2}: with d = 1 there is nothing to swap, so that it must be 0"];
        if (id2 >= BigInteger.Pow(d, d))
            return [$"id2 has more than d = {d} digits in base {d}: it must be below {d}^{d}"];
        return Digits(id2, d)
            .Where(p => p.Digit >= d - p.Place)
            .Select(p =>
                $"id2's digit {p.Place} in base {d} (least first) is {p.Digit}: it must be below d − {p.Place} = "
                + $"{d - p.Place}, as choice[{p.Place}] is swapped with choice[{p.Place} + digit] and there are "
                + $"only {d}"
            );
    }

    private static IEnumerable<string> CheckSigns(BigInteger id3, int d) =>
        id3 < 0 ? [$"id3 is {id3}: a mask of signs can't be negative"]
        : id3.GetBitLength() > d
            ?
            [
                $"id3 has its highest bit at {id3.GetBitLength() - 1}: there is one sign for each of the d = {d} "
                    + $"components, so that it must be below 2^{d}",
            ]
        : [];

    /// <summary>Creates a task by its matrix F, row by row.</summary>
    /// <exception cref="ArgumentException">The shape is not (s·d, d), or a number is not finite.</exception>
    public static LinearBinding FromMatrix(IReadOnlyList<IReadOnlyList<double>> matrix, int d, int s)
    {
        Refuse(CheckMatrix(matrix, d, s));
        var f = new double[s * d, d];
        for (int j = 0; j < s * d; j++)
        {
            for (int i = 0; i < d; i++)
                f[j, i] = matrix[j][i];
        }

        return new(f, d, s);
    }

    /// <summary>Returns the rules that a matrix breaks.</summary>
    internal static IReadOnlyList<string> CheckMatrix(IReadOnlyList<IReadOnlyList<double>> matrix, int d, int s)
    {
        var broken = CheckSize(d, s);
        if (broken.Count > 0)
            return broken;
        if (matrix.Count != s * d)
        {
            broken.Add(
                $"the matrix has {matrix.Count} rows: it must be s·d = {s} · {d} = {s * d}, one for each history entry"
            );
        }

        for (int j = 0; j < matrix.Count; j++)
        {
            if (matrix[j].Count != d)
            {
                broken.Add(
                    $"the matrix's row {j} has {matrix[j].Count} numbers: it must be d = {d}, one for each output "
                        + "component"
                );
            }

            if (!matrix[j].All(double.IsFinite))
                broken.Add($"the matrix's row {j} holds a number that is not finite");
        }
        return broken;
    }

    /// <summary>
    /// Creates a task that sums delayed signed permutations: y_i(t) = Σ sign_i · y_{permutation_i}(t − delay).
    /// </summary>
    /// <exception cref="ArgumentException">A rule is broken.</exception>
    public static LinearBinding FromTerms(IReadOnlyList<DelayedPermutation> terms, int d, int s)
    {
        Refuse(CheckTerms(terms, d, s));
        var f = new double[s * d, d];
        foreach (var term in terms)
        {
            for (int i = 0; i < d; i++)
                f[(s - term.Delay) * d + (term.Permutation?[i] ?? i), i] += term.Signs?[i] ?? 1;
        }

        return new(f, d, s);
    }

    /// <summary>Returns the rules that terms break.</summary>
    internal static IReadOnlyList<string> CheckTerms(IReadOnlyList<DelayedPermutation> terms, int d, int s)
    {
        var broken = CheckSize(d, s);
        if (broken.Count > 0)
            return broken;
        if (terms.Count == 0)
            broken.Add("there are no terms: at least one is needed");
        for (int n = 0; n < terms.Count; n++)
        {
            var (delay, permutation, signs) = (terms[n].Delay, terms[n].Permutation, terms[n].Signs);
            if (delay < 1 || delay > s)
                broken.Add($"term {n}'s delay is {delay}: it must be from 1 to s = {s}");
            if (permutation is not null && !permutation.Order().SequenceEqual(Enumerable.Range(0, d)))
            {
                broken.Add(
                    $"term {n}'s permutation is [{string.Join(", ", permutation)}]: it must hold each of 0 to "
                        + $"d − 1 = {d - 1} exactly once"
                );
            }

            if (signs is not null && (signs.Count != d || signs.Any(sign => sign is not (1 or -1))))
            {
                broken.Add(
                    $"term {n}'s signs are [{string.Join(", ", signs)}]: there must be d = {d} of them, each 1 or −1"
                );
            }
        }
        return broken;
    }

    /// <summary>
    /// Computes Φ (s·d, s·d), the map of the history x = [y(t−s); …; y(t−1)] to the next one: block i receives block
    /// i + 1, and the last block f(x) = Fᵀ x (Eq. 9).
    /// </summary>
    public double[,] Phi()
    {
        int n = S * D;
        var phi = new double[n, n];
        for (int i = 0; i < n - D; i++)
            phi[i, i + D] = 1;
        for (int i = 0; i < D; i++)
        {
            for (int j = 0; j < n; j++)
                phi[n - D + i, j] = F[j, i];
        }

        return phi;
    }

    /// <summary>Continues a history step by step. Faster forms are tested against this one.</summary>
    /// <param name="history">s variables of d numbers, oldest first.</param>
    /// <param name="steps">The number of variables to add.</param>
    /// <returns>The added variables, d numbers each.</returns>
    /// <exception cref="ArgumentException">The history is not s variables of d numbers.</exception>
    public double[][] Continue(IReadOnlyList<IReadOnlyList<double>> history, int steps)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(steps);
        if (history.Count != S || history.Any(variable => variable.Count != D))
            throw new ArgumentException($"the history must be {S} variables of {D} numbers", nameof(history));
        var all = new List<IReadOnlyList<double>>(history);
        for (int t = 0; t < steps; t++)
        {
            var y = new double[D];
            for (int block = 0; block < S; block++)
            {
                for (int component = 0; component < D; component++)
                {
                    for (int i = 0; i < D; i++)
                        y[i] += F[block * D + component, i] * all[t + block][component];
                }
            }

            all.Add(y);
        }
        return [.. all.Skip(S).Select(y => y.ToArray())];
    }

    private static List<string> CheckSize(int d, int s)
    {
        var broken = new List<string>();
        if (d < 1)
            broken.Add($"d is {d}: a variable has at least one number");
        if (s < 1)
            broken.Add($"s is {s}: the history has at least one variable");
        if (broken.Count == 0 && (Int128)s * d * d > LargestMatrix)
            broken.Add($"d = {d} and s = {s} make a matrix of s·d·d numbers: at most {LargestMatrix} are allowed");
        return broken;
    }

    private static void Refuse(IReadOnlyList<string> broken)
    {
        if (broken.Count > 0)
            throw new ArgumentException(string.Join("; ", broken));
    }

    /// <summary>The places of the ones in a binary number ≥ 0, ascending.</summary>
    private static IEnumerable<int> Bits(BigInteger number)
    {
        var bytes = number.ToByteArray(isUnsigned: true);
        for (int bit = 0; bit < bytes.Length * 8; bit++)
        {
            if ((bytes[bit / 8] >> bit % 8 & 1) == 1)
                yield return bit;
        }
    }

    /// <summary>The digits of a number that are not 0, least first, with their places.</summary>
    private static IEnumerable<(int Place, int Digit)> Digits(BigInteger number, int radix)
    {
        for (int place = 0; number > 0; place++, number /= radix)
        {
            if ((int)(number % radix) is var digit and not 0)
                yield return (place, digit);
        }
    }
}
