using System.Reflection;
using System.Runtime.InteropServices;
using System.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch;

/// <summary>
/// CUDA C of our own: compiled by NVRTC at first use, loaded into the context in which Torch works on a device, and
/// launched on Torch's stream. NVRTC comes with every libtorch for CUDA, and the driver with the card, so that no
/// compiler is needed.
/// </summary>
/// <remarks>
/// TorchSharp has no other stream than the default one, so that a launch comes after what Torch launched before, and
/// before what it launches later, on every thread.
/// </remarks>
internal sealed unsafe partial class CudaModule
{
    private const int Multiprocessors = 16,
        ComputeMajor = 75,
        ComputeMinor = 76,
        SharedMemoryOfBlock = 97; // CUdevice_attribute
    private const int MostDynamicSharedMemory = 8; // CUfunction_attribute

    private readonly nint _context;
    private readonly nint _module;

    static CudaModule() => NativeLibrary.SetDllImportResolver(typeof(CudaModule).Assembly, FindNvrtc);

    private static string? s_problem;

    /// <summary>
    /// A source of this assembly, compiled and loaded; null where that cannot be done. The first time it is said on the
    /// standard error stream why, and after that nothing is tried any more.
    /// </summary>
    /// <param name="resource">Its name among the assembly's resources.</param>
    /// <param name="definitions">Macros, such as `H=128`.</param>
    /// <param name="device">The number of the device.</param>
    public static CudaModule? Load(string resource, IEnumerable<string> definitions, int device)
    {
        if (s_problem is not null)
            return null;
        try
        {
            using var source = new StreamReader(typeof(CudaModule).Assembly.GetManifestResourceStream(resource)!);
            return new(source.ReadToEnd(), definitions, device);
        }
        catch (Exception e) when (e is ExternalException or DllNotFoundException or EntryPointNotFoundException)
        {
            if (Interlocked.CompareExchange(ref s_problem, e.Message, null) is null)
            {
                Console.Error.WriteLine(
                    "Torch's operators serve in place of this project's CUDA kernels, which cannot be used: "
                        + $"{e.Message}"
                );
            }
            return null;
        }
    }

    /// <summary>Compiles a source and loads it.</summary>
    /// <param name="source">CUDA C++17, without headers.</param>
    /// <param name="definitions">Macros, such as `H=128`.</param>
    /// <param name="device">The number of the device.</param>
    /// <exception cref="ExternalException">It does not compile, or the driver does not take it.</exception>
    /// <exception cref="DllNotFoundException">There is no NVRTC, or no driver.</exception>
    private CudaModule(string source, IEnumerable<string> definitions, int device)
    {
        string target = $"sm_{Attribute(device, ComputeMajor)}{Attribute(device, ComputeMinor)}";
        byte[] binary = Compile(
            source,
            [$"--gpu-architecture={target}", "--std=c++17", .. definitions.Select(d => $"-D{d}")]
        );
        Check(PrimaryContext(out _context, Device(device)));
        fixed (byte* image = binary)
        {
            void* start = image; // a lambda cannot take a fixed variable
            _module = InContext(() =>
            {
                Check(LoadModule(out nint module, start));
                return module;
            });
        }
    }

    /// <summary>A kernel of the source.</summary>
    /// <param name="name">Its name, extern "C".</param>
    /// <param name="sharedBytes">Dynamic shared memory that a block of it needs.</param>
    public nint Kernel(string name, int sharedBytes) =>
        InContext(() =>
        {
            Check(GetFunction(out nint kernel, _module, name));
            Check(SetAttribute(kernel, MostDynamicSharedMemory, sharedBytes));
            return kernel;
        });

    /// <summary>Launches a kernel behind what Torch has launched. It returns at once.</summary>
    /// <param name="kernel">What <see cref="Kernel"/> gave.</param>
    /// <param name="blocks">Blocks of the grid.</param>
    /// <param name="threads">Threads of a block.</param>
    /// <param name="sharedBytes">Dynamic shared memory of a block.</param>
    /// <param name="argument">The kernel's only parameter, by value.</param>
    /// <exception cref="ExternalException">The driver refuses the launch.</exception>
    public void Launch<T>(nint kernel, int blocks, int threads, int sharedBytes, T argument)
        where T : unmanaged
    {
        // Autograd's threads may not have the context yet. It is Torch's own, and what was current is so again
        // afterwards.
        Check(PushContext(_context));
        void* parameter = &argument;
        int code = LaunchKernel(
            kernel,
            (uint)blocks,
            1,
            1,
            (uint)threads,
            1,
            1,
            (uint)sharedBytes,
            0,
            &parameter,
            null
        );
        Check(PopContext(out _));
        Check(code);
    }

    /// <summary>
    /// Multiprocessors of a device, and bytes of shared memory that a block may have; zeros where it cannot be asked.
    /// </summary>
    public static (int Multiprocessors, int SharedMemory) Size(int device)
    {
        try
        {
            return (Attribute(device, Multiprocessors), Attribute(device, SharedMemoryOfBlock));
        }
        catch (Exception e) when (e is ExternalException or DllNotFoundException or EntryPointNotFoundException)
        {
            return default;
        }
    }

    /// <summary>
    /// Where a tensor's numbers are, on whatever device; null for none. The tensor must be kept alive meanwhile.
    /// </summary>
    public static nint Memory(Tensor? tensor) => tensor is null ? 0 : Data(tensor.Handle);

    private T InContext<T>(Func<T> work)
    {
        Check(PushContext(_context));
        try
        {
            return work();
        }
        finally
        {
            Check(PopContext(out _));
        }
    }

    private static int Device(int number)
    {
        Check(Initialize(0));
        Check(GetDevice(out int device, number));
        return device;
    }

    private static int Attribute(int device, int attribute)
    {
        Check(GetAttribute(out int value, attribute, Device(device)));
        return value;
    }

    private static void Check(int code)
    {
        if (code == 0)
            return;
        _ = ErrorText(code, out nint text);
        throw new ExternalException($"CUDA's driver: {Marshal.PtrToStringUTF8(text) ?? "an unknown error"} ({code})");
    }

    private static byte[] Compile(string source, string[] options)
    {
        CheckCompiler(CreateProgram(out nint program, source, "emttorch.cu", 0, 0, 0), 0);
        try
        {
            CheckCompiler(CompileProgram(program, options.Length, options), program);
            CheckCompiler(BinarySize(program, out nuint size), program);
            byte[] binary = new byte[size];
            CheckCompiler(Binary(program, binary), program);
            return binary;
        }
        finally
        {
            _ = DestroyProgram(ref program);
        }
    }

    private static void CheckCompiler(int code, nint program)
    {
        if (code == 0)
            return;
        string log = "";
        if (program != 0 && LogSize(program, out nuint size) == 0 && size > 1)
        {
            byte[] text = new byte[size];
            if (Log(program, text) == 0)
                log = ": " + Encoding.UTF8.GetString(text).TrimEnd('\0', '\n');
        }
        throw new ExternalException($"NVRTC: error {code}{log}");
    }

    // pip's packages have it beside torch, libtorch's archives beside libtorch, there with a number of its own in the
    // name.
    private static nint FindNvrtc(string library, Assembly assembly, DllImportSearchPath? path)
    {
        if (library != "nvrtc")
            return 0;
        string own = Environment.GetEnvironmentVariable(NativeTorch.FolderVariable) is { Length: > 0 } folder
            ? folder
            : AppContext.BaseDirectory;
        var folders = ((AppContext.GetData("NATIVE_DLL_SEARCH_DIRECTORIES") as string) ?? "")
            .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
            .Concat([own, .. Folders(Path.Combine(own, "..", "..", "nvidia")).Select(f => Path.Combine(f, "lib"))]);
        var files = folders
            .Where(Directory.Exists)
            .SelectMany(f => Directory.EnumerateFiles(f, "libnvrtc*.so*"))
            .Where(f =>
                !f.Contains("builtins", StringComparison.Ordinal) && !f.Contains(".alt.", StringComparison.Ordinal)
            );
        foreach (string name in files.Prepend("libnvrtc.so").Prepend("libnvrtc.so.12").Prepend("libnvrtc.so.13"))
        {
            if (NativeLibrary.TryLoad(name, out nint handle))
                return handle;
        }
        return 0;

        static string[] Folders(string parent) => Directory.Exists(parent) ? Directory.GetDirectories(parent) : [];
    }

    private const string Driver = "libcuda.so.1",
        Compiler = "nvrtc";

    [LibraryImport(Driver, EntryPoint = "cuInit")]
    private static partial int Initialize(uint flags);

    [LibraryImport(Driver, EntryPoint = "cuDeviceGet")]
    private static partial int GetDevice(out int device, int number);

    [LibraryImport(Driver, EntryPoint = "cuDeviceGetAttribute")]
    private static partial int GetAttribute(out int value, int attribute, int device);

    [LibraryImport(Driver, EntryPoint = "cuDevicePrimaryCtxRetain")]
    private static partial int PrimaryContext(out nint context, int device);

    [LibraryImport(Driver, EntryPoint = "cuCtxPushCurrent_v2")]
    private static partial int PushContext(nint context);

    [LibraryImport(Driver, EntryPoint = "cuCtxPopCurrent_v2")]
    private static partial int PopContext(out nint context);

    [LibraryImport(Driver, EntryPoint = "cuModuleLoadData")]
    private static partial int LoadModule(out nint module, void* image);

    [LibraryImport(Driver, EntryPoint = "cuModuleGetFunction", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int GetFunction(out nint function, nint module, string name);

    [LibraryImport(Driver, EntryPoint = "cuFuncSetAttribute")]
    private static partial int SetAttribute(nint function, int attribute, int value);

    [LibraryImport(Driver, EntryPoint = "cuLaunchKernel")]
    private static partial int LaunchKernel(
        nint function,
        uint blocksX,
        uint blocksY,
        uint blocksZ,
        uint threadsX,
        uint threadsY,
        uint threadsZ,
        uint sharedBytes,
        nint stream,
        void** parameters,
        void** extra
    );

    [LibraryImport(Driver, EntryPoint = "cuGetErrorString")]
    private static partial int ErrorText(int code, out nint text);

    [LibraryImport(Compiler, EntryPoint = "nvrtcCreateProgram", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int CreateProgram(
        out nint program,
        string source,
        string name,
        int headers,
        nint texts,
        nint names
    );

    [LibraryImport(Compiler, EntryPoint = "nvrtcCompileProgram", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int CompileProgram(nint program, int count, string[] options);

    [LibraryImport(Compiler, EntryPoint = "nvrtcGetProgramLogSize")]
    private static partial int LogSize(nint program, out nuint size);

    [LibraryImport(Compiler, EntryPoint = "nvrtcGetProgramLog")]
    private static partial int Log(nint program, byte[] log);

    [LibraryImport(Compiler, EntryPoint = "nvrtcGetCUBINSize")]
    private static partial int BinarySize(nint program, out nuint size);

    [LibraryImport(Compiler, EntryPoint = "nvrtcGetCUBIN")]
    private static partial int Binary(nint program, byte[] binary);

    [LibraryImport(Compiler, EntryPoint = "nvrtcDestroyProgram")]
    private static partial int DestroyProgram(ref nint program);

    [LibraryImport("LibTorchSharp", EntryPoint = "THSTensor_data")]
    private static partial nint Data(nint tensor);
}
