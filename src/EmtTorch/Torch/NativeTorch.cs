using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Runtime.Loader;
using System.Text;
using TorchSharp;

namespace EmtTorch;

/// <summary>
/// Finds and loads libtorch and TorchSharp's native library, where .NET alone does not. There are two such cases.
/// <para>libtorch from elsewhere: `EMTTORCH_LIBTORCH` names its folder, and it is loaded from there.</para>
/// <para>A libstdc++ older than GCC 13's (Debian 12, Ubuntu 22.04, RHEL 9): TorchSharp 0.107's library asks for version
/// GLIBCXX_3.4.32 because of one symbol, `std::ios_base_library_init`, that no code refers to. A copy of the library in
/// memory has this one requirement marked as weak (VER_FLG_WEAK in `.gnu.version_r`), and the copy is loaded. Remove this
/// when TorchSharp's library is built with an older compiler.</para>
/// </summary>
internal static partial class NativeTorch
{
    /// <summary>The environment variable that names the folder of a libtorch from elsewhere.</summary>
    public const string FolderVariable = "EMTTORCH_LIBTORCH";

    private const string Bridge = "LibTorchSharp", UnneededVersion = "GLIBCXX_3.4.32";

    // In the order of loading: each finds those before it. Those of CUDA are not always there.
    private static readonly string[] Libraries = ["c10", "torch_cpu", "c10_cuda", "torch_cuda", "torch"];

    private static readonly Lock Gate = new();
    private static bool s_prepared;
    private static nint s_bridge;
    private static string? s_problem;

    private static string? FromElsewhere => Environment.GetEnvironmentVariable(FolderVariable) is { Length: > 0 } folder ? folder : null;

    /// <summary>Asks to be called where .NET cannot load a native library. Costs nothing where it can.</summary>
    public static void Prepare()
    {
        lock (Gate)
        {
            if (s_prepared) return;
            s_prepared = true;
            AssemblyLoadContext.Default.ResolvingUnmanagedDll += (_, name) => name == Bridge ? LoadBridge() : 0;
            // Before TorchSharp would load the package's, where there is one too.
            if (FromElsewhere is { } folder) s_problem = LoadLibtorch(folder);
        }
    }

    /// <summary>Loads all of Torch, so that what is missing is said before anything is computed.</summary>
    /// <exception cref="TorchNotLoadedException">It cannot be loaded.</exception>
    public static void Load()
    {
        Prepare();
        if (s_problem is null && NativeLibrary.TryLoad(Bridge, typeof(torch).Assembly, null, out _)) return;
        throw new TorchNotLoadedException(s_problem ?? Explain());
    }

    // 0 where it cannot be loaded.
    private static nint LoadBridge()
    {
        lock (Gate)
        {
            if (s_bridge != 0 || s_problem is not null) return s_bridge;
            s_problem = TryLoadBridge(out s_bridge);
            // TorchSharp would now copy half a gigabyte from the package cache, to fail once more.
            if (s_bridge == 0) Environment.SetEnvironmentVariable("NUGET_PACKAGES", Path.Combine(AppContext.BaseDirectory, "none"));
            return s_bridge;
        }
    }

    private static string? TryLoadBridge(out nint bridge)
    {
        bridge = 0;
        if (!OperatingSystem.IsLinux()) return Explain();
        if (Find($"lib{Bridge}.so") is not { } path) return Explain();
        if (FromElsewhere is null)
        {
            if (Find("libtorch_cpu.so") is not { } libtorch) return Explain();
            if (LoadLibtorch(Path.GetDirectoryName(libtorch)!) is { } problem) return problem;
        }
        try
        {
            bridge = LoadWithoutUnneededVersion(path);
            return null;
        }
        catch (Exception e) when (e is DllNotFoundException or BadImageFormatException or IOException)
        {
            return Explain(e.Message);
        }
    }

    /// <summary>Loads a folder's libtorch; returns what is wrong, or null.</summary>
    private static string? LoadLibtorch(string folder)
    {
        var (prefix, suffix) = OperatingSystem.IsWindows() ? ("", ".dll") : OperatingSystem.IsMacOS() ? ("lib", ".dylib") : ("lib", ".so");
        if (!File.Exists(Path.Combine(folder, $"{prefix}torch_cpu{suffix}")))
            return $"There is no libtorch in {folder}: {prefix}torch_cpu{suffix} is missing." + (FromElsewhere is null ? "" : $" {FolderVariable} must name a folder with it, such as torch/lib of a Python installation.");
        foreach (var library in Libraries)
        {
            var path = Path.Combine(folder, prefix + library + suffix);
            if (!File.Exists(path)) continue;
            try
            {
                NativeLibrary.Load(path);
            }
            catch (Exception e) when (e is DllNotFoundException or BadImageFormatException)
            {
                return Explain(e.Message);
            }
        }
        return null;
    }

    // Where the host found native files, and where a program has them.
    private static string? Find(string file) =>
        ((AppContext.GetData("NATIVE_DLL_SEARCH_DIRECTORIES") as string) ?? "").Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
            .Concat([AppContext.BaseDirectory, Path.Combine(AppContext.BaseDirectory, "runtimes", "linux-x64", "native")])
            .Select(folder => Path.Combine(folder, file)).FirstOrDefault(File.Exists);

    private static string Explain(string? loader = null)
    {
        var text = new StringBuilder("Torch's native libraries cannot be loaded.");
        if (loader is not null) text.Append("\n  ").Append(Required(loader) is { } version ? $"They need {version}, and this system's library is older." : loader.Split('\n')[0]);
        if (OperatingSystem.IsLinux() && RuntimeInformation.ProcessArchitecture != Architecture.X64)
            text.Append("\n  TorchSharp has packages for Linux on x86-64 alone; this is ").Append(RuntimeInformation.ProcessArchitecture).Append('.');
        else if (loader is null)
            text.Append($"\n  Found beside the program: libLibTorchSharp {Seen($"lib{Bridge}.so")}, libtorch {Seen("libtorch_cpu.so")}. A build with -p:Libtorch=none has no libtorch: {FolderVariable} must name a folder with one.");
        if (OperatingSystem.IsLinux()) text.Append("\n  Needed: glibc 2.34 and libstdc++ of GCC 12 or later (Debian 12, Ubuntu 22.04, RHEL 9 with its gcc-toolset, or newer).");
        return text.ToString();

        static string Seen(string file) => Find(file) is null ? "no" : "yes";
        // "version `GLIBC_2.34' not found"
        static string? Required(string message) => message.Split('`', '\'').FirstOrDefault(p => p.StartsWith("GLIBC", StringComparison.Ordinal));
    }

    // A file in memory: a home or /tmp can be full, read-only or mounted without exec.
    private static nint LoadWithoutUnneededVersion(string path)
    {
        var image = File.ReadAllBytes(path);
        if (!TryMarkWeak(image, UnneededVersion)) return NativeLibrary.Load(path); // says why it cannot be loaded
        int file = CreateMemoryFile(Path.GetFileName(path), 0);
        if (file < 0) throw new IOException($"no memory file can be made (memfd_create, errno {Marshal.GetLastPInvokeError()})");
        using var handle = new Microsoft.Win32.SafeHandles.SafeFileHandle(file, ownsHandle: true);
        RandomAccess.Write(handle, image, 0);
        return NativeLibrary.Load($"/proc/self/fd/{file}");
    }

    /// <summary>
    /// Marks a version that an ELF file (64-bit, little-endian) needs as weak: the dynamic loader then only warns of its absence, and only if asked to.
    /// </summary>
    /// <returns>Whether the file needs that version.</returns>
    internal static bool TryMarkWeak(Span<byte> elf, string version)
    {
        const uint VersionNeeds = 0x6ffffffe; // SHT_GNU_verneed
        const byte Weak = 2;                  // VER_FLG_WEAK
        if (elf.Length < 64 || !elf[..6].SequenceEqual<byte>([0x7f, (byte)'E', (byte)'L', (byte)'F', 2, 1])) return false;
        int sections = (int)BinaryPrimitives.ReadInt64LittleEndian(elf[0x28..]), size = Half(elf, 0x3a), count = Half(elf, 0x3c);
        bool found = false;
        for (int i = 0; i < count; i++)
        {
            int section = sections + i * size;
            if (Word(elf, section + 4) != VersionNeeds) continue;
            int names = Offset(elf, sections + (int)Word(elf, section + 0x28) * size);
            // Verneed: version, cnt, file, aux, next. Vernaux: hash, flags, other, name, next.
            for (int need = Offset(elf, section), next = -1; next != 0; need += next)
            {
                int auxiliary = need + (int)Word(elf, need + 8);
                for (int j = Half(elf, need + 2); j > 0; j--)
                {
                    var name = elf[(names + (int)Word(elf, auxiliary + 8))..];
                    if (Encoding.ASCII.GetString(name[..name.IndexOf((byte)0)]) == version)
                    {
                        elf[auxiliary + 4] |= Weak;
                        found = true;
                    }
                    auxiliary += (int)Word(elf, auxiliary + 12);
                }
                next = (int)Word(elf, need + 12);
            }
        }
        return found;

        static int Offset(Span<byte> elf, int section) => (int)BinaryPrimitives.ReadInt64LittleEndian(elf[(section + 0x18)..]);
        static uint Word(Span<byte> elf, int at) => BinaryPrimitives.ReadUInt32LittleEndian(elf[at..]);
        static int Half(Span<byte> elf, int at) => BinaryPrimitives.ReadUInt16LittleEndian(elf[at..]);
    }

    [LibraryImport("libc", EntryPoint = "memfd_create", StringMarshalling = StringMarshalling.Utf8, SetLastError = true)]
    private static partial int CreateMemoryFile(string name, uint flags);
}

/// <summary>Torch's native libraries cannot be loaded. The message says what is missing and what to do.</summary>
public sealed class TorchNotLoadedException(string message) : Exception(message);
