using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace EmtTorch.Reports.Tests;

/// <summary>
/// The form of the C# sources: the width of lines, the length of methods, tuples in signatures, and code that stands
/// twice. Each test prints what is over. The numbers here may only go down.
/// </summary>
public sealed class SourceTests
{
    private const int Columns = 120;
    private const int MethodLines = 60;
    private const int SharedLines = 15;

    /// <summary>A line that holds code.</summary>
    /// <param name="Number">Its number in the file, from 1.</param>
    /// <param name="Code">Its tokens, a space between two.</param>
    private sealed record CodeLine(int Number, string Code);

    private sealed record Source(string Name, SyntaxNode Root)
    {
        public CodeLine[] Lines { get; } =
        [
            .. Root.DescendantTokens()
                .Where(t => t.Parent?.FirstAncestorOrSelf<UsingDirectiveSyntax>() is null)
                .GroupBy(Line)
                .Select(line => new CodeLine(line.Key, string.Join(' ', line.Select(t => t.Text))))
                .Where(line => line.Code.Any(char.IsLetterOrDigit)),
        ];

        public string At(SyntaxNode node) => $"{Name}:{Line(node.GetFirstToken())}";
    }

    /// <summary>Two places with the same lines of code.</summary>
    private sealed record Duplicate(Source One, int First, Source Other, int Second, int Lines)
    {
        public string Files => $"{One.Name} = {Other.Name}";

        public override string ToString() =>
            $"{One.Name}:{One.Lines[First].Number}-{One.Lines[First + Lines - 1].Number} = "
            + $"{Other.Name}:{Other.Lines[Second].Number}-{Other.Lines[Second + Lines - 1].Number} ({Lines} lines)";
    }

    // What there was when the tests were written.
    private const int LongMethods = 0;
    private const int WideTuples = 8;

    /// <summary>Files that may share code.</summary>
    private static readonly string[] Shared =
    [
        // A tile's sums stay in registers. A method for what two tiles share would put them into memory.
        "src/EmtTorch/Kernels/Tiles.cs = src/EmtTorch/Kernels/Tiles.cs",
    ];

    private static readonly Source[] Product = [.. Parse("src"), .. Parse("Trainer")];

    /// <summary>CSharpier sees to the width of code. It leaves comments and strings alone.</summary>
    [TestCase("src", 0)]
    [TestCase("Trainer", 0)]
    [TestCase("tests", 45)]
    public void NoLineIsAddedThatIsTooLong(string folder, int known) =>
        AtMost(
            known,
            $"lines in {folder} of more than {Columns} columns",
            from file in Files(folder)
            from line in File.ReadLines(file).Index()
            where line.Item.EnumerateRunes().Count() > Columns
            select $"{Name(file)}:{line.Index + 1}"
        );

    [Test]
    public void NoMethodIsAddedThatIsTooLong() =>
        AtMost(
            LongMethods,
            $"methods of more than {MethodLines} lines outside Kernels/",
            from source in Product
            where !source.Name.Contains("/Kernels/", StringComparison.Ordinal)
            from node in source.Root.DescendantNodes()
            where node is BaseMethodDeclarationSyntax or LocalFunctionStatementSyntax
            let lines = Line(node.GetLastToken()) - Line(node.GetFirstToken()) + 1
            where lines > MethodLines
            orderby lines descending
            select $"{source.At(node)} {NameOf(node)}: {lines} lines"
        );

    [Test]
    public void NoTupleOfThreeIsAddedToASignature() =>
        AtMost(
            WideTuples,
            "tuples of three or more in signatures of src",
            from source in Product
            where source.Name.StartsWith("src/", StringComparison.Ordinal)
            from tuple in source.Root.DescendantNodes().OfType<TupleTypeSyntax>()
            where tuple.Elements.Count >= 3 && IsInSignature(tuple)
            select $"{source.At(tuple)} {tuple.ToString().ReplaceLineEndings(" ")}"
        );

    [Test]
    public void NoTwoPlacesShareMoreThanFifteenLines()
    {
        var found = Duplicates(Product).ToList();
        foreach (var duplicate in found)
            TestContext.Out.WriteLine(duplicate);
        Assert.That(
            found.Where(d => !Shared.Contains(d.Files)).Select(d => d.ToString()),
            Is.Empty,
            $"the same code, more than {SharedLines} lines of it, in two places"
        );
    }

    [Test]
    public void TheSameCodeIsFoundInAnotherLayout()
    {
        var lines = Enumerable.Range(0, SharedLines + 1).Select(i => $"M({i});").ToArray();
        Source Of(string name, IEnumerable<string> body) =>
            new(name, CSharpSyntaxTree.ParseText($"void {name}()\n{{\n{string.Join('\n', body)}\n}}").GetRoot());
        var one = Of("One", lines);
        var other = Of("Other", lines.SelectMany(l => new[] { "", "// a comment", $"    {l.Replace("(", " ( ")}" }));
        Assert.That(
            Duplicates([one, other]).Select(d => d.ToString()),
            Is.EqualTo(new[] { "One:3-18 = Other:5-50 (16 lines)" })
        );
        Assert.That(Duplicates([one, Of("Shorter", lines[1..])]), Is.Empty);
    }

    private static void AtMost(int known, string what, IEnumerable<string> found)
    {
        var all = found.ToList();
        var text = $"{all.Count} {what}; {known} when this was written:\n{string.Join('\n', all)}";
        TestContext.Out.WriteLine(text);
        Assert.That(all, Has.Count.AtMost(known), text);
    }

    private static bool IsInSignature(TupleTypeSyntax tuple)
    {
        SyntaxNode inner = tuple;
        foreach (var node in tuple.Ancestors())
        {
            switch (node)
            {
                case ParameterSyntax { Parent.Parent: AnonymousFunctionExpressionSyntax }:
                case StatementSyntax and not LocalFunctionStatementSyntax:
                case ExpressionSyntax and not TypeSyntax:
                    return false;
                case ParameterSyntax:
                case BasePropertyDeclarationSyntax property when property.Type == inner:
                case MethodDeclarationSyntax method when method.ReturnType == inner:
                case LocalFunctionStatementSyntax local when local.ReturnType == inner:
                case DelegateDeclarationSyntax one when one.ReturnType == inner:
                    return true;
            }
            inner = node;
        }
        return false;
    }

    /// <summary>All pairs of places that share too many lines, each as long as it is.</summary>
    private static IEnumerable<Duplicate> Duplicates(IReadOnlyList<Source> sources)
    {
        const int window = SharedLines + 1;
        var windows =
            from source in sources
            from start in Enumerable.Range(0, Math.Max(0, source.Lines.Length - window + 1))
            group (Source: source, Start: start) by string.Join(
                '\n',
                source.Lines.Skip(start).Take(window).Select(l => l.Code)
            );
        foreach (var same in windows.Where(w => w.Count() > 1).Select(w => w.ToArray()))
        {
            for (int i = 0; i < same.Length; i++)
            {
                for (int j = i + 1; j < same.Length; j++)
                {
                    var ((one, a), (other, b)) = (same[i], same[j]);
                    // In the middle of a longer one, or overlapping itself.
                    if ((a > 0 && b > 0 && Equal(a - 1, b - 1)) || (one == other && b - a < window))
                        continue;
                    int lines = window;
                    int most = Math.Min(one.Lines.Length - a, other.Lines.Length - b);
                    while (lines < most && Equal(a + lines, b + lines))
                        lines++;
                    yield return new(one, a, other, b, lines);
                    bool Equal(int x, int y) => one.Lines[x].Code == other.Lines[y].Code;
                }
            }
        }
    }

    private static string NameOf(SyntaxNode node) =>
        node switch
        {
            MethodDeclarationSyntax m => m.Identifier.Text,
            ConstructorDeclarationSyntax c => c.Identifier.Text,
            LocalFunctionStatementSyntax f => f.Identifier.Text,
            _ => node.Kind().ToString(),
        };

    private static int Line(SyntaxToken token) => token.GetLocation().GetLineSpan().StartLinePosition.Line + 1;

    private static IEnumerable<Source> Parse(string folder) =>
        Files(folder).Select(f => new Source(Name(f), CSharpSyntaxTree.ParseText(File.ReadAllText(f)).GetRoot()));

    private static string Name(string file) => Path.GetRelativePath(Repository.Root, file).Replace('\\', '/');

    /// <summary>The C# files below a folder, without what a build makes.</summary>
    private static IEnumerable<string> Files(string folder) =>
        Directory
            .EnumerateFiles(Path.Combine(Repository.Root, folder), "*.cs", SearchOption.AllDirectories)
            .Where(f => !Name(f).Split('/').Any(part => part is "bin" or "obj"))
            .Order(StringComparer.Ordinal);
}
