using System.Buffers.Binary;
using System.Text;
using EmtTorch.Analysis;
using static TorchSharp.torch;

namespace EmtTorch.Trainer.Tests;

/// <summary>Loading of libtorch, and what is said where it cannot be loaded.</summary>
[Category(Layer.Process)]
public sealed class NativeTorchTests : InTemporaryFolder
{
    private static readonly string Beside = TestContext.CurrentContext.TestDirectory;
    private static readonly string Natives = Path.Combine(Beside, "runtimes", "linux-x64", "native");

    private static void OnLinuxAlone()
    {
        if (!OperatingSystem.IsLinux())
            Assert.Inconclusive("the libraries of Linux");
    }

    /// <summary>A Trainer without libtorch, as -p:Libtorch=none makes it.</summary>
    private string TrainerWithoutLibtorch()
    {
        string folder = Path.Combine(Folder, "none"),
            natives = Path.Combine(folder, "runtimes", "linux-x64", "native");
        Directory.CreateDirectory(natives);
        foreach (string file in Directory.GetFiles(Beside))
            File.CreateSymbolicLink(Path.Combine(folder, Path.GetFileName(file)), file);
        // .NET takes the folder that the program really lies in.
        File.Delete(Path.Combine(folder, "Trainer.dll"));
        File.Copy(Command.TrainerFile, Path.Combine(folder, "Trainer.dll"));
        File.CreateSymbolicLink(
            Path.Combine(natives, "libLibTorchSharp.so"),
            Path.Combine(Natives, "libLibTorchSharp.so")
        );
        return Path.Combine(folder, "Trainer.dll");
    }

    private (int Code, string Output, string Error) Train(string trainer, params (string, string)[] environment)
    {
        string config = Path.Combine(Folder, "small.json");
        File.WriteAllText(
            config,
            """
            {
              "device": "cpu", "task": { "name": "repeat_copy", "d": 2, "s": 2 }, "model": { "hidden_size": 8 },
              "training": { "steps": 2, "batch_size": 4, "curriculum": { "horizons": [3] } },
              "evaluation": { "horizon": 4, "batches": 1, "batch_size": 4 }
            }
            """
        );
        using var command = Command.Start(
            Folder,
            "dotnet",
            [trainer, config, "--out", Path.Combine(Folder, "runs")],
            environment
        );
        return command.End();
    }

    private void AssertFailsWith((int Code, string Output, string Error) end, params string[] words)
    {
        var (code, output, error) = end;
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.EqualTo(1), output + error);
            foreach (string word in words)
                Assert.That(error, Does.Contain(word));
            Assert.That(error.Split('\n'), Has.Length.LessThan(5));
            Assert.That(error + output, Does.Not.Contain("   at "), "a stack trace");
            Assert.That(Directory.Exists(Path.Combine(Folder, "runs")), Is.False);
        }
    }

    [Test]
    public void WithoutALibtorchItSaysSo()
    {
        OnLinuxAlone();
        var end = Train(TrainerWithoutLibtorch(), (NativeTorch.FolderVariable, ""));
        AssertFailsWith(end, "no libtorch with this program", "-p:Libtorch=none", NativeTorch.FolderVariable);
    }

    [Test]
    public void AFolderWithoutALibtorchIsNamed()
    {
        OnLinuxAlone();
        var end = Train(TrainerWithoutLibtorch(), (NativeTorch.FolderVariable, Folder));
        AssertFailsWith(end, NativeTorch.FolderVariable, Folder, "libtorch_cpu.so");
    }

    [Test]
    public void ALibraryThatIsNoneIsNamed()
    {
        OnLinuxAlone();
        string folder = Path.Combine(Folder, "broken");
        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, "libtorch_cpu.so"), "no library");
        var end = Train(TrainerWithoutLibtorch(), (NativeTorch.FolderVariable, folder));
        AssertFailsWith(end, Path.Combine(folder, "libtorch_cpu.so"));
    }

    [Test]
    public void ALibtorchFromElsewhereIsTaken()
    {
        OnLinuxAlone();
        var (code, output, error) = Train(TrainerWithoutLibtorch(), (NativeTorch.FolderVariable, Natives));
        Assert.That(code, Is.Zero, output + error);
    }

    // Two in one process end it.
    [Test]
    public void ALibtorchFromElsewhereIsRefusedByAProgramThatHasItsOwn()
    {
        OnLinuxAlone();
        var end = Train(Command.TrainerFile, (NativeTorch.FolderVariable, Natives));
        AssertFailsWith(
            end,
            NativeTorch.FolderVariable,
            "a libtorch of its own",
            "libtorch_cpu.so",
            "-p:Libtorch=none"
        );
    }

    /// <summary>libgomp itself says how often its idle threads look for work before they sleep.</summary>
    [TestCase("", "", "0")]
    [TestCase("", "1000", "1000")]
    [TestCase("active", "", "30000000000")]
    public void IdleThreadsOfLibtorchSleepUnlessTheEnvironmentHasItOtherwise(string policy, string count, string taken)
    {
        OnLinuxAlone();
        var (code, output, error) = Train(
            Command.TrainerFile,
            ("OMP_DISPLAY_ENV", "verbose"),
            ("OMP_WAIT_POLICY", policy),
            ("GOMP_SPINCOUNT", count)
        );
        Assert.That(code, Is.Zero, output + error);
        Assert.That(error, Does.Contain($"GOMP_SPINCOUNT = '{taken}'"));
    }

    // What glibc 2.31 said (Debian 11), and glibc 2.36 (Debian 12) without the copy.
    private const string OldGlibc =
            """
                Unable to load shared library 'LibTorchSharp' or one of its dependencies. In order to help …
                /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.34' not found (required by /program/LibTorchSharp.so)
                LibTorchSharp.so: cannot open shared object file: No such file or directory
                /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.34' not found (required by /program/libLibTorchSharp.so)
                libLibTorchSharp.so: cannot open shared object file: No such file or directory
                /program/LibTorchSharp: cannot open shared object file: No such file or directory

                """,
        OldLibstdcxx =
            """
                Unable to load shared library 'LibTorchSharp' or one of its dependencies. In order to help …
                libtorch.so: cannot open shared object file: No such file or directory
                /lib/x86_64-linux-gnu/libstdc++.so.6: version `GLIBCXX_3.4.32' not found (required by /program/libLibTorchSharp.so)
                /program/LibTorchSharp: cannot open shared object file: No such file or directory

                """;

    [Test]
    public void OfWhatTheLoaderSaysTheReasonsAreKept()
    {
        using (Assert.EnterMultipleScope())
        {
            Assert.That(
                NativeTorch.Reasons("LibTorchSharp", OldGlibc),
                Has.Count.EqualTo(2).And.All.Contains("GLIBC_2.34")
            );
            Assert.That(
                NativeTorch.Reasons("LibTorchSharp", OldLibstdcxx),
                Is.EqualTo(new[] { "libtorch.so: cannot open shared object file: No such file or directory" })
            );
        }
    }

    /// <summary>By the ELF specification's own words, not by the code that makes the copy.</summary>
    [Test]
    public void TheCopyForAnOlderLibstdcxxDiffersInTheWeakVersionAndTheRunPathAlone()
    {
        byte[] original = File.ReadAllBytes(Path.Combine(Natives, "libLibTorchSharp.so")),
            copy = File.ReadAllBytes(Path.Combine(Beside, "LibTorchSharp.so"));
        Assert.That(copy, Has.Length.EqualTo(original.Length));
        var differ = Enumerable.Range(0, copy.Length).Where(i => copy[i] != original[i]).ToList();
        int flags = differ.Find(i => original[i] == 0 && copy[i] == 2),
            path = copy.AsSpan().IndexOf("$ORIGIN"u8);
        string runPath = Encoding.ASCII.GetString(copy, path, copy.AsSpan(path).IndexOf((byte)0));
        using (Assert.EnterMultipleScope())
        {
            // The flags of a required version come after the hash of its name, four bytes.
            Assert.That(
                BinaryPrimitives.ReadUInt32LittleEndian(copy.AsSpan(flags - 4)),
                Is.EqualTo(ElfHash("GLIBCXX_3.4.32"))
            );
            Assert.That(runPath, Is.EqualTo("$ORIGIN:$ORIGIN/runtimes/linux-x64/native"));
            Assert.That(differ.Where(i => i != flags), Is.All.InRange(path, path + runPath.Length));
        }

        static uint ElfHash(string name)
        {
            uint hash = 0;
            foreach (char c in name)
            {
                hash = (hash << 4) + c;
                uint high = hash & 0xf0000000;
                hash = (hash ^ (high >> 24)) & ~high;
            }
            return hash;
        }
    }

    [Test, NonParallelizable] // the console
    public void AnErrorOfLibtorchIsSaidWithoutItsFrames()
    {
        var before = Console.Error;
        using var said = new StringWriter();
        Console.SetError(said);
        int code;
        try
        {
            code = Exit.Of(() => (int)zeros(2, 3).mm(zeros(2, 3)).numel());
            Exit.Of(() => (int)empty(1L << 50).numel());
        }
        finally
        {
            Console.SetError(before);
        }
        using (Assert.EnterMultipleScope())
        {
            Assert.That(code, Is.EqualTo(Exit.Failed));
            Assert.That(said.ToString(), Does.Contain("2x3").And.Contain("can't allocate memory"));
            Assert.That(
                said.ToString(),
                Does.Not.Contain("frame #").And.Not.Contain("raised from").And.Not.Contain("   at ")
            );
        }
    }
}
