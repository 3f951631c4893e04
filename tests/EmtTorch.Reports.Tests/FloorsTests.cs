using System.Reflection;
using EmtTorch.Analysis;
using EmtTorch.Studies;
using EmtTorch.Training;
using NetArchTest.Rules;

namespace EmtTorch.Reports.Tests;

/// <summary>
/// Namespaces are floors, and arrows go down. Between projects the compiler sees to it, and within them these tests.
/// </summary>
public sealed class FloorsTests
{
    // From the ground up. Those of one line do not know each other. A floor below is open to all above.
    private static readonly string[][] Library =
    [
        ["EmtTorch"],
        ["EmtTorch.Settings", "EmtTorch.Kernels"],
        ["EmtTorch.Tasks", "EmtTorch.Memory"],
        ["EmtTorch.Models"],
        ["EmtTorch.Training"],
        ["EmtTorch.Configuration"],
    ];

    private static readonly string[][] Analysis =
    [
        ["EmtTorch.Analysis"],
        ["EmtTorch.Analysis.Episodic"],
        ["EmtTorch.Analysis.Charts"],
        ["EmtTorch.Analysis.FreeRecall"],
        ["EmtTorch.Analysis.Runs"],
    ];

    private static IEnumerable<TestCaseData> Floors() =>
        Of(typeof(RunConfiguration).Assembly, Library).Concat(Of(typeof(TrainedNetwork).Assembly, Analysis));

    private static IEnumerable<TestCaseData> Of(Assembly assembly, string[][] floors) =>
        from height in Enumerable.Range(0, floors.Length)
        from name in floors[height]
        let above = floors[height..].SelectMany(f => f).Where(f => f != name).ToArray()
        where above.Length > 0
        select new TestCaseData(assembly, name, above).SetArgDisplayNames(name);

    [TestCaseSource(nameof(Floors))]
    public void AFloorKnowsNothingOfThoseAboveIt(Assembly assembly, string floor, string[] above)
    {
        // A namespace that others begin with is one alone: EmtTorch is not EmtTorch.Models.
        var types = Types.InAssembly(assembly).That().ResideInNamespaceMatching(Inside(floor, above));
        Assert.That(types.GetTypes(), Is.Not.Empty);
        var result = types.ShouldNot().HaveDependencyOnAny(above).GetResult();
        Assert.That(result.FailingTypeNames ?? [], Is.Empty, $"of {floor} know one of {string.Join(", ", above)}");
    }

    [Test]
    public void AnArrowIsSeenWhereThereIsOne()
    {
        var models = Types
            .InAssembly(typeof(RunConfiguration).Assembly)
            .That()
            .ResideInNamespaceMatching("^EmtTorch\\.Models$");
        Assert.That(models.ShouldNot().HaveDependencyOnAny("EmtTorch.Memory").GetResult().IsSuccessful, Is.False);
    }

    [Test]
    public void EachNamespaceIsAFloor()
    {
        string[] known = [.. Library.Concat(Analysis).SelectMany(f => f)];
        foreach (var assembly in new[] { typeof(RunConfiguration).Assembly, typeof(TrainedNetwork).Assembly })
        {
            var names = assembly
                .GetTypes()
                .Select(t => t.Namespace)
                .Where(n => n?.StartsWith("EmtTorch", StringComparison.Ordinal) == true)
                .Distinct();
            Assert.That(
                names.Where(n =>
                    !known.Any(k => n == k || (k != "EmtTorch" && n!.StartsWith(k + ".", StringComparison.Ordinal)))
                ),
                Is.Empty
            );
        }
        foreach (var assembly in new[] { typeof(Sweep).Assembly, typeof(RunReport).Assembly })
        {
            Assert.That(
                assembly
                    .GetTypes()
                    .Select(t => t.Namespace)
                    .Where(n => n?.StartsWith("EmtTorch", StringComparison.Ordinal) == true)
                    .Distinct(),
                Has.One.Items
            );
        }
    }

    private static string Inside(string floor, string[] above) =>
        above.Any(a => a.StartsWith(floor + ".", StringComparison.Ordinal))
            ? $"^{floor.Replace(".", "\\.")}$"
            : $"^{floor.Replace(".", "\\.")}(\\.|$)";
}
