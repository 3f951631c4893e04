using System.Reflection;
using System.Runtime.InteropServices;
using System.Text;

namespace TorchSharp;

/// <summary>The C interface of native/system_torch.cpp, and the loading of it.</summary>
internal static unsafe partial class Native
{
    private const string Library = "libsystemtorch.so";

    static Native()
    {
        NativeLibrary.SetDllImportResolver(typeof(Native).Assembly, Resolve);
        st_init();
        CheckVersion();
    }

    private static nint Resolve(string name, Assembly assembly, DllImportSearchPath? search)
    {
        if (name != Library) return 0;
        var path = Path.Combine(AppContext.BaseDirectory, Library);
        try
        {
            return NativeLibrary.Load(path);
        }
        catch (Exception e) when (e is DllNotFoundException or BadImageFormatException)
        {
            throw new DllNotFoundException(
                $"{path} does not load, so there is no libtorch. It was compiled for one version of libtorch in one place; where that has moved or changed, "
                + $"run scripts/setup.sh and build again, or set LD_LIBRARY_PATH to the folder with libtorch_cpu.so. {e.Message}", e);
        }
    }

    /// <summary>Headers and library must be the same release: ATen's C++ classes change their layout between releases.</summary>
    private static void CheckVersion()
    {
        string built = Text(st_built_version()), config = Text(st_config());
        const string key = "TORCH_VERSION=";
        int at = config.IndexOf(key, StringComparison.Ordinal);
        if (at < 0) return;
        var loaded = config[(at + key.Length)..].Split(',', ' ', '\n')[0];
        if (MajorMinor(loaded) != MajorMinor(built))
            throw new DllNotFoundException($"The native file was compiled for libtorch {built}, but libtorch {loaded} was loaded. Build again with TORCH_HOME set to the one to use.");

        static string MajorMinor(string version) => string.Join('.', version.Split('.').Take(2));
    }

    /// <summary>Which libtorch this is: the version that the native file was built for and is checked against.</summary>
    internal static string Version => Text(st_built_version());

    internal static string Text(byte* utf8) => Marshal.PtrToStringUTF8((nint)utf8) ?? "";

    /// <exception cref="ExternalException">A call into libtorch failed; the message is libtorch's.</exception>
    internal static void Check(int failed)
    {
        if (failed != 0) Throw();
    }

    internal static void Throw() => throw new ExternalException(Text(st_error()));

    internal static void SetError(string message)
    {
        fixed (byte* utf8 = Encoding.UTF8.GetBytes(message + '\0')) st_set_error(utf8);
    }

    /// <summary>An argument or a result of an operator; the layout of `Value` in system_torch.cpp.</summary>
    internal struct Value
    {
        public Tag Tag;
        public int Count;
        public long Bits;
    }

    internal enum Tag { None, Tensor, Int, Double, Bool, IntList, DoubleList, TensorList, String, Device, Generator, Complex, BoolList, Default }

    [LibraryImport(Library)] private static partial void st_init();
    [LibraryImport(Library)] internal static partial byte* st_error();
    [LibraryImport(Library)] internal static partial void st_set_error(byte* message);
    [LibraryImport(Library)] internal static partial byte* st_built_version();
    [LibraryImport(Library)] internal static partial byte* st_config();
    [LibraryImport(Library)] internal static partial int st_find_operator(byte* name, byte* overload, nint* result);
    [LibraryImport(Library)] internal static partial int st_call(nint op, Value* arguments, int count, Value* results, int capacity);
    [LibraryImport(Library)] internal static partial void st_free(nint block);

    [LibraryImport(Library)] internal static partial void st_tensor_free(nint t);
    [LibraryImport(Library)] internal static partial nint st_tensor_alias(nint t);
    [LibraryImport(Library)] internal static partial nint st_tensor_detach(nint t);
    [LibraryImport(Library), SuppressGCTransition] internal static partial long st_tensor_dim(nint t);
    [LibraryImport(Library), SuppressGCTransition] internal static partial long st_tensor_numel(nint t);
    [LibraryImport(Library), SuppressGCTransition] internal static partial int st_tensor_dtype(nint t);
    [LibraryImport(Library), SuppressGCTransition] internal static partial long st_tensor_itemsize(nint t);
    [LibraryImport(Library), SuppressGCTransition] internal static partial void st_tensor_sizes(nint t, long* sizes);
    [LibraryImport(Library)] internal static partial int st_tensor_strides(nint t, long* strides);
    [LibraryImport(Library), SuppressGCTransition] internal static partial void st_tensor_device(nint t, int* type, int* index);
    [LibraryImport(Library)] internal static partial int st_tensor_is_contiguous(nint t);
    [LibraryImport(Library)] internal static partial int st_tensor_is_sparse(nint t);
    [LibraryImport(Library)] internal static partial int st_tensor_storage_offset(nint t, long* offset);
    [LibraryImport(Library)] internal static partial int st_tensor_data(nint t, void** data);

    [LibraryImport(Library)] internal static partial int st_tensor_requires_grad(nint t);
    [LibraryImport(Library)] internal static partial int st_tensor_set_requires_grad(nint t, int on);
    [LibraryImport(Library)] internal static partial int st_tensor_is_leaf(nint t);
    [LibraryImport(Library)] internal static partial int st_tensor_retain_grad(nint t);
    [LibraryImport(Library)] internal static partial int st_tensor_grad(nint t, nint* grad);
    [LibraryImport(Library)] internal static partial int st_tensor_set_grad(nint t, nint grad);
    [LibraryImport(Library)] internal static partial int st_backward(nint* tensors, int count, nint* grads, int gradCount, int retain, int create, nint* inputs, int inputCount);
    [LibraryImport(Library)] internal static partial int st_grad(nint* outputs, int count, nint* inputs, int inputCount, nint* grads, int gradCount, int retain, int create, int allowUnused, nint* results);
    [LibraryImport(Library)] internal static partial int st_grad_mode();
    [LibraryImport(Library)] internal static partial void st_set_grad_mode(int on);
    [LibraryImport(Library)] internal static partial nint st_inference_mode_enter(int on);
    [LibraryImport(Library)] internal static partial void st_inference_mode_leave(nint guard);
    [LibraryImport(Library)] internal static partial int st_is_inference_mode();
    [LibraryImport(Library)]
    internal static partial int st_function(nint* inputs, int inputCount, nint* outputs, int* flags, int outputCount, nint* saved, int savedCount, int materialize,
        nint context, delegate* unmanaged<nint, nint, nint*, int, nint*, int, int> backward, delegate* unmanaged<nint, void> release, nint* results, int* made);
    [LibraryImport(Library)] internal static partial int st_function_saved(nint node, int index, nint* result);

    [LibraryImport(Library)] internal static partial nint st_generator_default(int type, int index);
    [LibraryImport(Library)] internal static partial nint st_generator_new(int type, int index, ulong seed);
    [LibraryImport(Library)] internal static partial void st_generator_free(nint g);
    [LibraryImport(Library)] internal static partial int st_generator_manual_seed(nint g, ulong seed);
    [LibraryImport(Library)] internal static partial ulong st_generator_seed(nint g);
    [LibraryImport(Library)] internal static partial ulong st_generator_initial_seed(nint g);
    [LibraryImport(Library)] internal static partial int st_generator_get_state(nint g, nint* state);
    [LibraryImport(Library)] internal static partial int st_generator_set_state(nint g, nint state);
    [LibraryImport(Library)] internal static partial void st_generator_device(nint g, int* type, int* index);
    [LibraryImport(Library)] internal static partial int st_manual_seed(ulong seed);

    [LibraryImport(Library)] internal static partial int st_get_num_threads();
    [LibraryImport(Library)] internal static partial int st_set_num_threads(int n);
    [LibraryImport(Library)] internal static partial int st_get_num_interop_threads();
    [LibraryImport(Library)] internal static partial int st_set_num_interop_threads(int n);
    [LibraryImport(Library)] internal static partial int st_cuda_available();
    [LibraryImport(Library)] internal static partial int st_cudnn_available();
    [LibraryImport(Library)] internal static partial int st_cuda_device_count();
    [LibraryImport(Library)] internal static partial int st_cuda_synchronize(long index);
    [LibraryImport(Library)] internal static partial int st_cuda_manual_seed(ulong seed, int all);
    [LibraryImport(Library)] internal static partial int st_cuda_allow_tf32();
    [LibraryImport(Library)] internal static partial void st_cuda_set_allow_tf32(int on);
}
