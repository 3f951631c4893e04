using System.Runtime.InteropServices;

namespace EmtTorch;

/// <summary>
/// Lets TorchSharp's scalars live a second longer than the garbage collector thinks. TorchSharp 0.107 makes a Scalar of
/// each number that it gives to an operator, also of the 1 in a + 1 · b, reads its handle, and keeps no reference while
/// libtorch works. A collection on another thread in that moment frees the number. Then libtorch stops ("Expected false
/// to be true", "Unknown scalar type") or computes with another number.
/// </summary>
/// <remarks>
/// The finalizer calls `THSTorch_dispose_scalar`. Its first twelve bytes become a jump to <see cref="Dispose"/>, which
/// deletes the scalars that were given to it a second ago or earlier. TorchSharp runs on x86-64 alone on Linux, the one
/// system that this project supports; on others, and where a system forbids such a change, the defect remains. Remove
/// this when its operators keep their scalars (`GC.KeepAlive`).
/// </remarks>
internal static unsafe partial class LateScalars
{
    private const long Milliseconds = 1000;

    private const int ReadWriteExecute = 7,
        ReadExecute = 5; // sys/mman.h

    private static readonly Queue<(long Due, nint Scalar)> Waiting = [];

    private static delegate* unmanaged<nint, void> s_delete;

    /// <summary>How many scalars wait for their deletion.</summary>
    internal static int Count
    {
        get
        {
            lock (Waiting)
                return Waiting.Count;
        }
    }

    /// <summary>Puts the jump into TorchSharp's library. To be called once, before it makes a scalar.</summary>
    /// <param name="bridge">The library's handle.</param>
    /// <returns>Whether it is there: not on another system, nor where the system forbids it.</returns>
    public static bool Install(nint bridge)
    {
        if (!OperatingSystem.IsLinux() || RuntimeInformation.ProcessArchitecture != Architecture.X64)
            return false;
        // A Scalar of a plain number has nothing to destroy: its deletion frees its memory.
        s_delete = (delegate* unmanaged<nint, void>)
            NativeLibrary.GetExport(NativeLibrary.Load("libstdc++.so.6"), "_ZdlPv");
        delegate* unmanaged<nint, void> dispose = &Dispose;
        byte* function = (byte*)NativeLibrary.GetExport(bridge, "THSTorch_dispose_scalar");
        // mov rax, Dispose; jmp rax
        Span<byte> jump = [0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0];
        BitConverter.TryWriteBytes(jump[2..], (long)dispose);
        nint page = Environment.SystemPageSize,
            start = (nint)function & -page,
            length = (((nint)function + jump.Length + page - 1) & -page) - start;
        if (Protect(start, length, ReadWriteExecute) != 0)
            return false;
        jump.CopyTo(new Span<byte>(function, jump.Length));
        _ = Protect(start, length, ReadExecute);
        return true;
    }

    [UnmanagedCallersOnly]
    private static void Dispose(nint scalar)
    {
        long now = Environment.TickCount64;
        lock (Waiting)
        {
            Waiting.Enqueue((now + Milliseconds, scalar));
            while (Waiting.TryPeek(out var first) && first.Due <= now)
                s_delete(Waiting.Dequeue().Scalar);
        }
    }

    [LibraryImport("libc", EntryPoint = "mprotect")]
    private static partial int Protect(nint address, nint length, int protection);
}
