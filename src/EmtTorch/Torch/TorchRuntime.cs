using System.Reflection;
using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch;

/// <summary>What has to be settled once for a process: Torch itself, threads, and the device.</summary>
public static partial class TorchRuntime
{
    /// <summary>
    /// Loads the libtorch in the folder that `EMTTORCH_LIBTORCH` names, if it names one. Runs by itself as soon as
    /// anything of EmtTorch is touched; a program that is to take such a libtorch, and that touches TorchSharp before
    /// EmtTorch, calls it first.
    /// </summary>
    public static void Prepare() => NativeTorch.Prepare();

    /// <summary>Loads Torch and settles the threads. Call it before anything touches a tensor.</summary>
    /// <param name="threads">libtorch's threads, from 1; null leaves its own choice, one for each core.</param>
    /// <exception cref="TorchNotLoadedException">Torch's native libraries cannot be loaded.</exception>
    public static void Start(int? threads)
    {
        NativeTorch.Load();
        if (threads is { } n)
            set_num_threads(Math.Max(1, n)); // 0 ends the process
    }

    /// <summary>The device that a configuration's `device` names.</summary>
    /// <param name="name">`auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`.</param>
    /// <param name="problem">Why it cannot be had, or null.</param>
    /// <returns>The device, or the CPU where there is a problem.</returns>
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
    /// The version of the libtorch that is loaded; where it does not tell, of the one that TorchSharp was built for.
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
