using System.Diagnostics;
using EmtTorch.Memory.Retrieval;
using EmtTorch.Settings;
using TorchSharp;
using static TorchSharp.torch;

/// <summary>
/// Stores of many keys, N(0, 1) and of length 1 as a network's are: how fast they are written, indexed and searched,
/// and how many of the nearest ten are found. One JSON line.
/// </summary>
internal static class Retrieval
{
    private const int Nearest = 10,
        Part = 10_000;

    /// <param name="kind">memory, or in PostgreSQL exact or hnsw.</param>
    /// <param name="count">Keys.</param>
    /// <param name="width">Their dimension.</param>
    /// <param name="seconds">For about how long to search.</param>
    public static void Run(string kind, int count, int width, int seconds)
    {
        using var everything = NewDisposeScope();
        using var quiet = no_grad();
        using var generator = new Generator(1);
        Tensor Keys(long n) => nn.functional.normalize(randn([n, width], generator: generator), dim: -1);
        var keys = Keys(count);
        const string run = "benchmark";
        using var connection =
            kind == "memory"
                ? null
                : new PostgresConnection(
                    Environment.GetEnvironmentVariable("EMTTORCH_POSTGRES")
                        ?? throw new ArgumentException("EMTTORCH_POSTGRES is not set"),
                    TimeSpan.FromSeconds(60),
                    Console.Error.WriteLine
                );
        IEpisodicStore Open(bool hnsw) =>
            connection is null
                ? new MemoryStore(shared: true)
                : new PostgresStore(
                    connection,
                    new("benchmark", run, 0, width, ValueSize: 1, ScalarType.Float32, IsShared: true, hnsw)
                );
        var store = Open(hnsw: false);
        store.ForgetFrom(0);
        long start = Stopwatch.GetTimestamp();
        for (long from = 0; from < count; from += Part)
        {
            using var scope = NewDisposeScope();
            long size = Math.Min(Part, count - from);
            var part = keys.narrow(0, from, size).unsqueeze(0);
            store.Write(
                new(
                    0,
                    0,
                    from,
                    arange(from, from + size, dtype: ScalarType.Int64).unsqueeze(0),
                    part,
                    part.narrow(2, 0, 1)
                )
            );
        }
        store.Flush();
        double writing = Stopwatch.GetElapsedTime(start).TotalSeconds,
            indexing = 0;
        if (kind == "hnsw")
        {
            start = Stopwatch.GetTimestamp();
            store.Dispose();
            store = Open(hnsw: true);
            indexing = Stopwatch.GetElapsedTime(start).TotalSeconds;
        }

        // As many at a time as a step of training may have, or as fit into the time.
        int atOnce = kind == "memory" ? 256 : 16,
            done = 0,
            right = 0,
            compared = 0;
        double searching = 0;
        while (searching < seconds)
        {
            using var scope = NewDisposeScope();
            var queries = Keys(atOnce);
            start = Stopwatch.GetTimestamp();
            var found = store.Search(
                new(1, 0, queries.unsqueeze(0), zeros(atOnce, dtype: ScalarType.Int64), Nearest)
            )();
            var places = found.Sources.select(-1, 2)[0].contiguous().data<long>().ToArray();
            if (done > 0 || kind == "memory")
                searching += Stopwatch.GetElapsedTime(start).TotalSeconds; // the first is a warm-up
            else
                searching += 1e-9;
            done += atOnce;
            if (compared >= 128)
                continue;
            // Brute force in float64.
            var expected = matmul(queries.to(ScalarType.Float64), keys.to(ScalarType.Float64).t())
                .topk(Nearest)
                .indexes.data<long>()
                .ToArray();
            for (int q = 0; q < atOnce; q++)
            {
                right += places
                    .AsSpan(q * Nearest, Nearest)
                    .ToArray()
                    .Intersect(expected.AsSpan(q * Nearest, Nearest).ToArray())
                    .Count();
            }

            compared += atOnce;
        }
        if (kind != "memory")
            done -= atOnce;
        store.Dispose();
        Console.WriteLine(
            FormattableString.Invariant(
                $"{{ \"store\": \"{kind}\", \"keys\": {count}, \"width\": {width}, \"threads\": {get_num_threads()}, \"write_seconds\": {writing:0.00}, \"index_seconds\": {indexing:0.0}, \"queries\": {done}, \"queries_per_second\": {done / searching:0.0}, \"recall_at_10\": {(double)right / (compared * Nearest):0.0000}, \"compared\": {compared} }}"
            )
        );
    }
}
