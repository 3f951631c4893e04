using System.Runtime.CompilerServices;

namespace EmtTorch;

/// <summary>
/// Compiled into the library and into every program of this repository, so that a libtorch from elsewhere is loaded
/// before TorchSharp looks for one.
/// </summary>
internal static class LoadAtStart
{
#pragma warning disable CA2255 // in a library too, since a program may use the library first
    [ModuleInitializer]
    internal static void Prepare() => TorchRuntime.Prepare();
#pragma warning restore CA2255
}
