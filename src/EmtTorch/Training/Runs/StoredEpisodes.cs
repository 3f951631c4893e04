using System.Globalization;
using System.Runtime.InteropServices;
using EmtTorch.Memory.Retrieval;
using EmtTorch.Models;
using EmtTorch.Settings;
using Serilog;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Training;

/// <summary>
/// Opens, saves and restores the episodic stores of a run. The entries of a shared store in memory are in files of
/// their own beside the checkpoints (`store.0.keys` and so on for each block), each with what was added between two
/// checkpoints; older runs have them in the checkpoint itself. A store in PostgreSQL is not saved. A checkpoint has the
/// next generation's number and the count of entries. A resumed run deletes the entries of that generation and later
/// ones, and what is left must have the count.
/// </summary>
internal static class StoredEpisodes
{
    private const string NextKey = "retrieval_generation",
        CountsKey = "retrieval_entries";

    private static string StoredName(RunConfiguration configuration) =>
        $"{configuration.Name}/seed-{configuration.Seed.ToString(CultureInfo.InvariantCulture)}";

    private static string? ConnectionString(RetrievalConfiguration settings) =>
        Environment.GetEnvironmentVariable(settings.Connection) is { Length: > 0 } set ? set : null;

    private static string Unset(RetrievalConfiguration settings) =>
        $"the environment variable {settings.Connection} is not set; it must hold the connection string of PostgreSQL, "
        + "Host=…;Database=…;Username=…;Password=…";

    private static RetrievalConfiguration? PostgresSettings(RunConfiguration configuration) =>
        configuration.Model.Find<RetrievalConfiguration>() is { Store: RetrievalConfiguration.Postgres } settings
            ? settings
            : null;

    /// <summary>Why a run's store cannot be used, or null if it can. Nothing is written.</summary>
    public static ConfigurationProblem? FindProblem(RunConfiguration configuration)
    {
        if (PostgresSettings(configuration) is not { } settings)
            return null;
        if (ConnectionString(settings) is not { } connection)
            return new("model.retrieval.connection", Unset(settings));
        return PostgresStore.FindProblem(connection, settings.Table, configuration.Model.HiddenSize) is { } problem
            ? new("model.retrieval", problem)
            : null;
    }

    /// <summary>Gives a network stores in PostgreSQL if its configuration asks for them.</summary>
    /// <returns>The connection, or null if the stores are in memory.</returns>
    /// <exception cref="StoreException">The database cannot be used.</exception>
    public static PostgresConnection? Connect(
        EpisodicTransformer network,
        RunConfiguration configuration,
        ILogger? log,
        CancellationToken stop
    )
    {
        if (PostgresSettings(configuration) is not { } settings)
            return null;
        var connection = new PostgresConnection(
            ConnectionString(settings) ?? throw new StoreException(Unset(settings)),
            TimeSpan.FromSeconds(settings.Wait),
            message => log?.Warning("{Message}", message),
            stop
        );
        try
        {
            network.Stores!.Use(block => new PostgresStore(
                connection,
                new(
                    settings.Table,
                    StoredName(configuration),
                    block,
                    configuration.Model.HiddenSize,
                    settings.ValueWidth(configuration.Model.Block),
                    network.Dtype,
                    network.Stores.IsShared,
                    settings.Index == "hnsw"
                )
            ));
            return connection;
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }

    /// <summary>Deletes all entries, for a run that starts from the beginning.</summary>
    public static void Clear(EpisodicStores stores)
    {
        foreach (var store in stores.Blocks)
            store.ForgetFrom(0);
    }

    /// <summary>The entries of shared stores in memory from a generation on; empty if there are none.</summary>
    public static Dictionary<string, SafetensorsTensor> Entries(EpisodicStores stores, long from)
    {
        var tensors = new Dictionary<string, SafetensorsTensor>();
        for (int i = 0; i < stores.Blocks.Count && stores.IsShared; i++)
        {
            using var scope = NewDisposeScope();
            if ((stores.Blocks[i] as MemoryStore)?.Content(from) is not var (keys, values, sources, texts))
                continue;

            foreach (var (name, tensor) in new[] { ("keys", keys), ("values", values), ("sources", sources) })
                tensors[$"store.{i}.{name}"] = StoredTensors.Store(tensor);
            if (texts.Count == 0)
                continue;
            var lengths = texts.Select(t => t?.LongLength ?? -1).ToArray();
            tensors[$"store.{i}.text_lengths"] = new(
                "I64",
                [lengths.Length],
                MemoryMarshal.AsBytes<long>(lengths).ToArray()
            );
            tensors[$"store.{i}.texts"] = new(
                "U8",
                [lengths.Sum(l => Math.Max(l, 0))],
                texts.SelectMany(t => t ?? []).ToArray()
            );
        }
        return tensors;
    }

    /// <summary>Adds the next generation's number to a checkpoint's metadata.</summary>
    /// <param name="metadata">The metadata that it is added to.</param>
    /// <param name="counted">Whether to wait until all entries of shared stores are written and add their
    /// count.</param>
    public static void Save(EpisodicStores stores, Dictionary<string, string> metadata, bool counted)
    {
        Save(stores.Next, metadata);
        if (!counted || !stores.IsShared)
            return;
        foreach (var store in stores.Blocks)
            store.Flush();
        metadata[CountsKey] = string.Join(
            ',',
            stores.Blocks.Select(s => s.Count.ToString(CultureInfo.InvariantCulture))
        );
    }

    public static void Save(long next, Dictionary<string, string> metadata) =>
        metadata[NextKey] = next.ToString(CultureInfo.InvariantCulture);

    /// <summary>Sets stores back to a checkpoint: entries of later generations are deleted.</summary>
    /// <param name="stores">The stores.</param>
    /// <param name="file">The checkpoint.</param>
    /// <param name="additions">The files of entries that it names, oldest first.</param>
    /// <exception cref="InvalidDataException">The count of the entries left is not the checkpoint's.</exception>
    public static void Restore(EpisodicStores stores, SafetensorsFile file, IReadOnlyList<SafetensorsFile> additions)
    {
        if (!file.Metadata.TryGetValue(NextKey, out var next))
        {
            Clear(stores);
            return;
        }
        stores.Next = long.Parse(next, CultureInfo.InvariantCulture);
        var counts = file.Metadata.TryGetValue(CountsKey, out var text)
            ? text.Split(',').Select(c => long.Parse(c, CultureInfo.InvariantCulture)).ToArray()
            : null;
        for (int i = 0; i < stores.Blocks.Count; i++)
        {
            using var scope = NewDisposeScope();
            var store = stores.Blocks[i];
            store.ForgetFrom(stores.IsShared ? stores.Next : 0);
            foreach (var part in additions.Prepend(file).Where(f => f.Tensors.ContainsKey($"store.{i}.keys")))
            {
                var device = stores.DeviceOf(i);
                Tensor Load(string name) => StoredTensors.Load(part, $"store.{i}.{name}").to(device);
                (store as MemoryStore)?.Restore(new(Load("keys"), Load("values"), Load("sources"), LoadTexts(part, i)));
            }
            if (counts is not null && store.Count is var there && there != counts[i])
            {
                throw new InvalidDataException(
                    $"the store of block {i} holds {there} entries, and the checkpoint counted {counts[i]}: "
                        + "the run cannot go on from it. Without --resume it starts from the beginning"
                );
            }
        }
    }

    private static IReadOnlyList<byte[]?> LoadTexts(SafetensorsFile file, int block)
    {
        if (!file.Tensors.TryGetValue($"store.{block}.text_lengths", out var stored))
            return [];
        ReadOnlyMemory<byte> all = file.Tensors[$"store.{block}.texts"].ToArray();
        var texts = new List<byte[]?>();
        int at = 0;
        foreach (long length in MemoryMarshal.Cast<byte, long>(stored.ToArray()))
        {
            texts.Add(length < 0 ? null : all.Slice(at, (int)length).ToArray());
            at += (int)Math.Max(length, 0);
        }
        return texts;
    }

    /// <summary>The exception of a store that an exception is, or was caused by; null if there is none.</summary>
    public static StoreException? FindFailure(Exception? e) =>
        e is null ? null : e as StoreException ?? FindFailure(e.InnerException);
}
