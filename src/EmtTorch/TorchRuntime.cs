using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch;

/// <summary>What has to be settled once for a process: threads, BLAS, and the device.</summary>
public static partial class TorchRuntime
{
    /// <summary>
    /// Settles the threads. Call it before anything touches a tensor. OpenBLAS's own threads and libtorch's OpenMP threads
    /// fight over the same cores (5 training steps a second on two cores instead of 30), so OpenBLAS gets one, unless the
    /// user's environment says otherwise.
    /// </summary>
    /// <param name="threads">libtorch's threads; null leaves its own choice, one for each core.</param>
    public static void Start(int? threads)
    {
        // .NET's SetEnvironmentVariable does not reach native code on Linux.
        if (OperatingSystem.IsLinux()) SetEnvironment("OPENBLAS_NUM_THREADS", "1", overwrite: 0);
        if (threads is { } n) set_num_threads(n);
    }

    /// <summary>The device that a configuration's `device` names.</summary>
    /// <param name="name">`auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`.</param>
    /// <param name="problem">Why it cannot be had, or null.</param>
    /// <returns>The device, or the CPU where there is a problem.</returns>
    public static Device ResolveDevice(string name, out string? problem)
    {
        problem = null;
        if (name == "cpu") return CPU;
        bool available = cuda.is_available();
        if (name == "auto") return available ? new Device(DeviceType.CUDA, 0) : CPU;
        var device = name == "cuda" ? new Device(DeviceType.CUDA, 0) : new Device(name);
        if (!available) problem = $"'{name}' was asked for, but this machine has no CUDA device that this libtorch can use; allowed here: auto, cpu";
        else if (device.index >= cuda.device_count()) problem = $"'{name}' was asked for, but there are only {cuda.device_count()} CUDA devices, numbered from 0";
        return problem is null ? device : CPU;
    }

    /// <summary>Where TorchSharp's API comes from in this build: `system` or `nuget`.</summary>
    public static string Provider => typeof(torch).Assembly.GetName().Name == "SystemTorch" ? "system" : "nuget";

    /// <summary>The version of libtorch, as far as the provider tells it.</summary>
    public static string TorchVersion => __version__;

    [LibraryImport("libc", EntryPoint = "setenv", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int SetEnvironment(string name, string value, int overwrite);
}
