using System.Reflection;
using System.Runtime.InteropServices;
using System.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch;

/// <summary>
/// A CUDA C source of this library: compiled by NVRTC at first use, loaded into Torch's context on a device, and
/// launched on Torch's stream. NVRTC is part of every libtorch for CUDA, so that no other compiler is needed.
/// </summary>
/// <remarks>
/// TorchSharp uses only the default stream. So a launch runs after everything that Torch launched before, on any
/// thread, and before everything that it launches later.
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
    /// Compiles and loads a source of this assembly; null if that fails. The first failure is explained on the standard
    /// error stream, and then nothing is tried any more.
    /// </summary>
    /// <param name="resource">The source's name among the assembly's resources.</param>
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
                    $"This library's CUDA kernels cannot be used, so Torch's operators replace them: {e.Message}"
                );
            }
            return null;
        }
    }

    /// <summary>Compiles a source and loads it.</summary>
    /// <param name="source">CUDA C++17, without headers.</param>
    /// <param name="definitions">Macros, such as `H=128`.</param>
    /// <param name="device">The number of the device.</param>
    /// <exception cref="ExternalException">The source does not compile, or the driver refuses it.</exception>
    /// <exception cref="DllNotFoundException">There is no NVRTC or no driver.</exception>
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

    /// <summary>Finds a kernel of the source.</summary>
    /// <param name="name">The kernel's name, extern "C".</param>
    /// <param name="sharedBytes">The dynamic shared memory that a block needs.</param>
    public nint Kernel(string name, int sharedBytes) =>
        InContext(() =>
        {
            Check(GetFunction(out nint kernel, _module, name));
            Check(SetAttribute(kernel, MostDynamicSharedMemory, sharedBytes));
            return kernel;
        });

    /// <summary>Launches a kernel after what Torch has launched, and returns at once.</summary>
    /// <param name="kernel">The result of <see cref="Kernel"/>.</param>
    /// <param name="blocks">The number of blocks.</param>
    /// <param name="threads">The number of threads in a block.</param>
    /// <param name="sharedBytes">The dynamic shared memory of a block.</param>
    /// <param name="argument">The kernel's only parameter, by value.</param>
    /// <exception cref="ExternalException">The driver refuses the launch.</exception>
    public void Launch<T>(nint kernel, int blocks, int threads, int sharedBytes, T argument)
        where T : unmanaged
    {
        // Threads of autograd may not have Torch's context yet. Afterwards the thread has its own one again.
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
    /// The number of a device's multiprocessors, and the most bytes of shared memory in a block; zeros if they are
    /// unknown.
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
    /// The address of a tensor's numbers on its device; 0 for no tensor. The tensor must be kept alive while it is
    /// used.
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

    // In pip's packages it lies beside torch, in libtorch's archives beside libtorch, with a number in its name.
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
