using System.Runtime.CompilerServices;

namespace EmtTorch;

/// <summary>
/// Compiled into the library and into every program of this repository. A program of your own that touches TorchSharp
/// before it touches EmtTorch calls <see cref="TorchRuntime.Prepare"/> first, or compiles this file in as well.
/// </summary>
internal static class LoadAtStart
{
#pragma warning disable CA2255 // The library too may be what is touched first.
    [ModuleInitializer]
    internal static void Prepare() => TorchRuntime.Prepare();
#pragma warning restore CA2255
}
