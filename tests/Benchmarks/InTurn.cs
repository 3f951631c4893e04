using System.Diagnostics;
using TorchSharp;
using static TorchSharp.torch;

/// <summary>
/// Several sides that do the same work, timed in turn: what else the machine does meanwhile meets all of them.
/// </summary>
internal static class InTurn
{
    /// <summary>Times the sides, stretch by stretch.</summary>
    /// <param name="sides">Each does its work once a call.</param>
    /// <param name="rounds">Stretches of each side.</param>
    /// <param name="seconds">About how long a stretch is.</param>
    /// <param name="device">Where the work is done.</param>
    /// <returns>Calls a second of each side, one number a round.</returns>
    public static double[][] Rates(IReadOnlyList<Action> sides, int rounds, double seconds, Device device)
    {
        var calls = sides.Select(side => CallsIn(seconds, side, device)).ToArray();
        var rates = sides.Select(_ => new double[rounds]).ToArray();
        for (int round = 0; round < rounds; round++)
        {
            for (int i = 0; i < sides.Count; i++)
            {
                sides[i](); // the other side's numbers leave the caches, its threads fall asleep
                rates[i][round] = calls[i] / Seconds(calls[i], sides[i], device);
            }
        }

        return rates;
    }

    public static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }

    // .NET compiles for speed what has run for a while.
    private static int CallsIn(double seconds, Action side, Device device)
    {
        int calls = 0;
        var warmUp = Stopwatch.StartNew();
        for (; calls < 3 || warmUp.Elapsed.TotalSeconds < Math.Min(0.5, 2 * seconds); calls++)
            Seconds(1, side, device);
        int few = Math.Max(1, calls / 5);
        return (int)Math.Clamp(seconds * few / Seconds(few, side, device), 1, 1e6);
    }

    private static double Seconds(int calls, Action side, Device device)
    {
        Finish(device);
        var watch = Stopwatch.StartNew();
        for (int i = 0; i < calls; i++)
            side();
        Finish(device);
        return watch.Elapsed.TotalSeconds;
    }

    // Calls of CUDA return before they are done.
    private static void Finish(Device device)
    {
        if (device.type == DeviceType.CUDA)
            cuda.synchronize(device);
    }
}
