using System.Reflection;
using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch;

/// <summary>Loads Torch, sets its threads, and chooses devices. A program calls <see cref="Start"/> first.</summary>
/// <example><code>
/// TorchRuntime.Start(threads: 4);
/// var device = TorchRuntime.ResolveDevice("auto", out _);
/// </code></example>
public static partial class TorchRuntime
{
    /// <summary>
    /// Loads the libtorch from the folder that the environment variable `EMTTORCH_LIBTORCH` names, if it is set. This
    /// happens by itself when EmtTorch is first used. A program that uses TorchSharp before EmtTorch calls it first.
    /// </summary>
    public static void Prepare() => NativeTorch.Prepare();

    /// <summary>Loads Torch and sets its threads. Call it before using a tensor.</summary>
    /// <param name="threads">The number of libtorch's threads, from 1; null for its own choice, one for each
    /// core.</param>
    /// <exception cref="TorchNotLoadedException">Torch's native libraries cannot be loaded.</exception>
    public static void Start(int? threads)
    {
        NativeTorch.Load();
        if (threads is { } n)
            set_num_threads(Math.Max(1, n)); // 0 ends the process
    }

    /// <summary>Finds the device with a name, as in the key `device` of a configuration.</summary>
    /// <param name="name">`auto` (CUDA if available, otherwise the CPU), `cpu`, `cuda` or `cuda:N`.</param>
    /// <param name="problem">Why the device cannot be used, or null.</param>
    /// <returns>The device, or the CPU if there is a problem.</returns>
    public static Device ResolveDevice(string name, out string? problem)
    {
        problem = null;
        if (name == "cpu")
            return CPU;
        bool available = cuda.is_available();
        if (name == "auto")
            return available ? new Device(DeviceType.CUDA, 0) : CPU;
        var device = name == "cuda" ? new Device(DeviceType.CUDA, 0) : new Device(name);
        if (!available)
        {
            problem =
                $"'{name}' was asked for, but this machine has no CUDA device that this libtorch can use; allowed "
                + "here: auto, cpu";
        }
        else if (device.index >= cuda.device_count())
        {
            problem = $"'{name}' was asked for, but there are only {cuda.device_count()} CUDA devices, numbered from 0";
        }
        return problem is null ? device : CPU;
    }

    /// <summary>
    /// The version of the loaded libtorch, or the one that TorchSharp was built for if libtorch does not tell.
    /// </summary>
    public static string TorchVersion { get; } = LoadedVersion() ?? __version__;

    private static string? LoadedVersion()
    {
        try
        {
            ulong version = AbiVersion(); // a byte each, the highest first
            return $"{version >> 56}.{version >> 48 & 0xff}.{version >> 40 & 0xff}";
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException)
        {
            return null;
        }
    }

    [LibraryImport("torch_cpu", EntryPoint = "aoti_torch_abi_version")]
    private static partial ulong AbiVersion();

    /// <summary>The version of TorchSharp.</summary>
    public static string TorchSharpVersion =>
        typeof(torch)
            .Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()
            ?.InformationalVersion.Split('+')[0]
        ?? "";
}
