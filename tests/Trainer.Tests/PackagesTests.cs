using System.IO.Compression;
using System.Xml.Linq;

namespace EmtTorch.Trainer.Tests;

/// <summary>The packages, as a program outside the repository uses them.</summary>
[Category(Layer.Process)]
public sealed class PackagesTests : InTemporaryFolder
{
    private static readonly string[] Names = ["EmtTorch", "EmtTorch.Analysis", "EmtTorch.Reports", "EmtTorch.Studies"];

    private string Packages => Path.Combine(Folder, "packages");

    [Test]
    public void AProgramOutsideTheRepositoryTrainsAndAnalyses()
    {
        // Its own artifacts: a restore for packages would disturb the checkout's builds.
        string[] options =
        [
            "--configuration",
            "Release",
            "--artifacts-path",
            Path.Combine(Folder, "artifacts"),
            "--output",
            Packages,
            "--property:Version=0.1.0-test",
            "--property:BundleReportScripts=false",
        ];
        Run(Repository.Root, ["pack", "src/EmtTorch.Reports", .. options]); // it builds the others too
        foreach (var name in Names.Where(n => n != "EmtTorch.Reports"))
            Run(Repository.Root, ["pack", $"src/{name}", "--no-build", .. options]);
        using (Assert.EnterMultipleScope())
        {
            foreach (var name in Names)
                AssertIsComplete(name);
        }

        var (program, config) = (Path.Combine(Folder, "program"), "repeat_copy.json");
        Directory.CreateDirectory(program);
        var document = File.ReadAllText(Path.Combine(Repository.Root, "src", "PACKAGE.md"));
        var code = document.Split("```csharp")[1].Split("```")[0];
        Assert.That(code, Does.Contain("training.steps=1000").And.Contain(config));
        File.WriteAllText(Path.Combine(program, "Program.cs"), code.Replace("steps=1000", "steps=10"));
        File.WriteAllText(Path.Combine(program, config), document.Split('`').Single(t => t.StartsWith("{ \"task\"")));
        File.WriteAllText(Path.Combine(program, "Program.csproj"), Project());
        var output = Run(program, ["run", "--configuration", "Release"]);
        Assert.That(output.Trim(), Does.EndWith("report.html"));
        Assert.That(Path.Combine(program, output.Trim().Split('\n')[^1]), Does.Exist);
    }

    private void AssertIsComplete(string name)
    {
        using var package = ZipFile.OpenRead(Path.Combine(Packages, $"{name}.0.1.0-test.nupkg"));
        using var symbols = ZipFile.OpenRead(Path.Combine(Packages, $"{name}.0.1.0-test.snupkg"));
        string[] files = [.. package.Entries.Select(e => e.FullName)];
        Assert.That(files, Does.Contain("PACKAGE.md").And.Contain($"lib/net10.0/{name}.xml"));
        Assert.That(symbols.Entries.Select(e => e.FullName), Does.Contain($"lib/net10.0/{name}.pdb"));
        using var description = package.GetEntry($"{name}.nuspec")!.Open();
        var dependencies = XDocument
            .Load(description)
            .Descendants()
            .Where(e => e.Name.LocalName == "dependency")
            .Select(e => (string)e.Attribute("id")!)
            .ToList();
        Assert.That(dependencies, Does.Contain("TorchSharp"));
        Assert.That(dependencies, Has.None.Contains("libtorch").And.None.Contains("Analyzers"), "a user chooses it");
    }

    /// <summary>The packages go into a folder of the test's own; those of others are taken from where they
    /// are.</summary>
    private string Project()
    {
        var others = Environment.GetEnvironmentVariable("NUGET_PACKAGES") is { Length: > 0 } folder
            ? folder
            : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages");
        return $"""
            <Project Sdk="Microsoft.NET.Sdk">
              <PropertyGroup>
                <OutputType>Exe</OutputType>
                <TargetFramework>net10.0</TargetFramework>
                <ImplicitUsings>enable</ImplicitUsings>
                <InvariantGlobalization>true</InvariantGlobalization>
                <CreateSymbolicLinksForCopyLocalIfPossible>true</CreateSymbolicLinksForCopyLocalIfPossible>
                <RestoreAdditionalProjectSources>{Packages}</RestoreAdditionalProjectSources>
                <RestorePackagesPath>{Path.Combine(Folder, "cache")}</RestorePackagesPath>
                <RestoreFallbackFolders>{others}</RestoreFallbackFolders>
              </PropertyGroup>
              <ItemGroup>
                <PackageReference Include="EmtTorch.Reports" Version="0.1.0-test" />
                <PackageReference Include="libtorch-cpu-linux-x64" Version="2.10.0" />
              </ItemGroup>
            </Project>
            """;
    }

    private static string Run(string folder, string[] arguments)
    {
        using var command = Command.Start(folder, "dotnet", arguments, ("MSBUILDDISABLENODEREUSE", "1"));
        var (code, output, error) = command.End();
        Assert.That(code, Is.Zero, output + error);
        return output;
    }
}
