using System.Runtime.InteropServices;
using System.Runtime.Loader;
using TorchSharp;

namespace EmtTorch;

/// <summary>
/// Loads libtorch and TorchSharp's native library, or explains in one message what is wrong. .NET finds both by itself,
/// unless the environment variable `EMTTORCH_LIBTORCH` names the folder of another libtorch. The build does what an
/// older libstdc++ needs (`OlderLibstdcxx.targets`).
/// </summary>
internal static partial class NativeTorch
{
    /// <summary>The environment variable that names the folder of another libtorch.</summary>
    public const string FolderVariable = "EMTTORCH_LIBTORCH";

    /// <summary>The name by which TorchSharp asks .NET for its native library.</summary>
    private const string Bridge = "LibTorchSharp";

    // In the order of loading, since each needs those before it. Those of CUDA may be missing.
    private static readonly string[] Libraries = ["c10", "torch_cpu", "c10_cuda", "torch_cuda", "torch"];

    private static readonly Lock Gate = new();
    private static bool s_prepared,
        s_loaded;

    private static nint s_bridge;
    private static string? s_problem;

    private static string Prefix => OperatingSystem.IsWindows() ? "" : "lib";

    private static string Suffix =>
        OperatingSystem.IsWindows() ? ".dll"
        : OperatingSystem.IsMacOS() ? ".dylib"
        : ".so";

    /// <summary>
    /// Decides how libtorch's threads wait, and loads another libtorch if one is named. Does nothing the second time,
    /// and never throws.
    /// </summary>
    public static void Prepare()
    {
        lock (Gate)
        {
            if (s_prepared)
                return;
            s_prepared = true;
            LetIdleThreadsSleep();
            KeepFreedMemory();
            AssemblyLoadContext.Default.ResolvingUnmanagedDll += (_, name) =>
            {
                // .NET cannot load it. Now TorchSharp would copy half a gigabyte from the package cache, in vain.
                if (name == Bridge)
                {
                    Environment.SetEnvironmentVariable(
                        "NUGET_PACKAGES",
                        Path.Combine(AppContext.BaseDirectory, "none")
                    );
                }

                return 0;
            };
            if (Environment.GetEnvironmentVariable(FolderVariable) is { Length: > 0 } folder)
                s_problem = LoadFromElsewhere(folder);
        }
    }

    /// <summary>
    /// Lets libtorch's OpenMP threads sleep between two operators. By default they look for work for about a
    /// millisecond, on cores that this library's own threads or other runs could use. Does nothing if one of the two
    /// environment variables is set.
    /// </summary>
    private static void LetIdleThreadsSleep()
    {
        string[] variables = ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"];
        if (
            !OperatingSystem.IsLinux()
            || variables.Any(name => Environment.GetEnvironmentVariable(name) is { Length: > 0 })
        )
        {
            return;
        }
        // libgomp reads libc's environment when it is loaded; .NET's is a copy.
        _ = SetVariable(variables[0], "passive", 1);
    }

    /// <summary>
    /// Lets the C library keep the memory of freed tensors for the next ones. By default it gives blocks over 128 KB
    /// back at once, and each tensor begins with fresh pages that the kernel has to clear. Does nothing for another C
    /// library, and where the environment sets the same limits.
    /// </summary>
    private static void KeepFreedMemory()
    {
        const int TrimThreshold = -1,
            MmapThreshold = -3; // malloc.h
        string[] variables = ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"];
        if (
            !OperatingSystem.IsLinux()
            || variables.Any(name => Environment.GetEnvironmentVariable(name) is { Length: > 0 })
        )
        {
            return;
        }
        try
        {
            _ = SetMalloc(MmapThreshold, 32 << 20); // the most that glibc takes
            _ = SetMalloc(TrimThreshold, int.MaxValue);
        }
        catch (EntryPointNotFoundException)
        {
            // musl has no mallopt.
        }
    }

    [LibraryImport("libc", EntryPoint = "mallopt")]
    private static partial int SetMalloc(int parameter, int value);

    [LibraryImport("libc", EntryPoint = "setenv", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int SetVariable(string name, string value, int overwrite);

    /// <summary>Loads all of Torch, so that a missing library is reported before anything is computed.</summary>
    /// <exception cref="TorchNotLoadedException">A library cannot be loaded.</exception>
    public static void Load()
    {
        Prepare();
        lock (Gate)
        {
            if (s_loaded)
                return;
            // The second needs the first.
            s_problem ??= TryLoad("torch_cpu", out _) ?? TryLoad(Bridge, out s_bridge);
            if (s_problem is not null)
                throw new TorchNotLoadedException($"Torch cannot be loaded.\n  {s_problem}");
            s_loaded = true;
            LateScalars.Install(s_bridge);
        }
    }

    /// <summary>Loads a library as TorchSharp does. Returns the problem, or null.</summary>
    private static string? TryLoad(string library, out nint handle)
    {
        handle = 0;
        try
        {
            handle = NativeLibrary.Load(library, typeof(torch).Assembly, null);
            return null;
        }
        catch (Exception e) when (e is DllNotFoundException or BadImageFormatException)
        {
            return Explain(library, e.Message);
        }
    }

    /// <summary>Loads the libtorch in a folder. Returns the problem, or null.</summary>
    private static string? LoadFromElsewhere(string folder)
    {
        string own = $"{Prefix}torch_cpu{Suffix}";
        // TorchSharp loads a program's own libtorch by its path. With two of them the process would crash.
        if (Find(own) is { } path)
        {
            return $"{FolderVariable} is set, but this program has a libtorch of its own, {path}. "
                + "A build with -p:Libtorch=none has none.";
        }

        if (!File.Exists(Path.Combine(folder, own)))
        {
            return $"{FolderVariable} is {folder}, but there is no {own} in that folder. "
                + "It must name the folder with libtorch's libraries, such as torch/lib of a Python installation.";
        }

        foreach (
            string library in Libraries.Select(name => Path.Combine(folder, Prefix + name + Suffix)).Where(File.Exists)
        )
        {
            try
            {
                NativeLibrary.Load(library);
            }
            catch (Exception e) when (e is DllNotFoundException or BadImageFormatException)
            {
                return Explain(library, e.Message);
            }
        }

        return null;
    }

    /// <summary>Finds a file where .NET looks for this program's libraries; null if it is not there.</summary>
    private static string? Find(string file) =>
        ((AppContext.GetData("NATIVE_DLL_SEARCH_DIRECTORIES") as string) ?? "")
            .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
            .Append(AppContext.BaseDirectory)
            .Select(folder => Path.Combine(folder, file))
            .FirstOrDefault(File.Exists);

    private static string Explain(string library, string loader)
    {
        if (OperatingSystem.IsLinux() && RuntimeInformation.ProcessArchitecture != Architecture.X64)
            return $"On Linux TorchSharp is for x86-64 alone; this is {RuntimeInformation.ProcessArchitecture}.";
        var reasons = Reasons(library, loader);
        if (reasons.Select(MissingVersion).FirstOrDefault(version => version is not null) is { } version)
        {
            return $"It needs {version}, which this system does not have. "
                + "It takes glibc 2.34 and GCC 12's libstdc++, or newer: Debian 12 and Ubuntu 22.04 have them.";
        }

        string said = reasons.Count > 0 ? reasons[0] : loader.Split('\n')[0].Split(". In order")[0] + ".";
        if (
            Environment.GetEnvironmentVariable(FolderVariable) is null or ""
            && Find($"{Prefix}torch_cpu{Suffix}") is null
        )
        {
            return "There is no libtorch with this program. "
                + $"A build with -p:Libtorch=none takes the one in the folder that {FolderVariable} names.\n  {said}";
        }

        if (said.Contains("undefined symbol", StringComparison.Ordinal))
            return $"TorchSharp {TorchRuntime.TorchSharpVersion} was built for another version of libtorch.\n  {said}";
        return said;
    }

    /// <summary>
    /// The lines of the system loader's message that tell why it failed: without the places where the library is not,
    /// and without the missing version that the build takes care of.
    /// </summary>
    internal static List<string> Reasons(string library, string loader) =>
        [
            .. from line in loader.Split('\n').Skip(1)
            let at = line.IndexOf(": ", StringComparison.Ordinal)
            where at > 0
            where
                !(
                    Path.GetFileName(line[..at]).Contains(library, StringComparison.Ordinal)
                    && line.EndsWith("No such file or directory", StringComparison.Ordinal)
                )
            where MissingVersion(line) != "GLIBCXX_3.4.32" // OlderLibstdcxx.targets
            select line,
        ];

    /// <summary>The version in a line like "version `GLIBC_2.34' not found"; null for other lines.</summary>
    private static string? MissingVersion(string line)
    {
        const string Before = "version `",
            After = "' not found";
        int start = line.IndexOf(Before, StringComparison.Ordinal) + Before.Length,
            end = line.IndexOf(After, StringComparison.Ordinal);
        return start >= Before.Length && end > start ? line[start..end] : null;
    }
}

/// <summary>Torch's native libraries cannot be loaded. The message says what is missing and what to do.</summary>
public sealed class TorchNotLoadedException(string message) : Exception(message);
