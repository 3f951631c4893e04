namespace EmtTorch.Tests;

/// <summary>What the system says of this process's memory, in bytes. Linux alone says it.</summary>
/// <param name="Resident">What is in memory now, VmRSS.</param>
/// <param name="Peak">The most that was, VmHWM.</param>
internal readonly record struct ProcessMemory(long Resident, long Peak)
{
    public static ProcessMemory Now
    {
        get
        {
            var lines = File.ReadAllLines("/proc/self/status");
            // "VmRSS:     12345 kB"
            long Of(string name) =>
                long.Parse(
                    lines
                        .Single(l => l.StartsWith(name, StringComparison.Ordinal))
                        .Split(' ', StringSplitOptions.RemoveEmptyEntries)[^2]
                ) << 10;
            return new(Of("VmRSS:"), Of("VmHWM:"));
        }
    }
}
