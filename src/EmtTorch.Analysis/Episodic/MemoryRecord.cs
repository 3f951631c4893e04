using EmtTorch.Memory;
using EmtTorch.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Analysis.Episodic;

/// <summary>What one block's fast weights did with whole documents.</summary>
/// <param name="Queries">q (B, heads, T, d_k).</param>
/// <param name="Keys">k (B, heads · r, T, d_k), a head's r one after the other: one, but for writes by a
/// hypernetwork.</param>
/// <param name="Values">v (B, heads · r, T, d_v).</param>
/// <param name="Strength">β = g·η (B, heads, T).</param>
/// <param name="Gate">g (B, heads, T); null where there is no gate.</param>
/// <param name="Decay">γ (heads).</param>
/// <param name="Rule">What is written.</param>
/// <param name="States">F after each piece (B, heads, d_k, d_v).</param>
internal sealed record MemoryRecord(
    Tensor Queries,
    Tensor Keys,
    Tensor Values,
    Tensor Strength,
    Tensor? Gate,
    Tensor Decay,
    WriteRule Rule,
    IReadOnlyList<Tensor> States
)
{
    /// <summary>Whether r_t = F_t q_t, the source's read, and not F_{t−1}ᵀ q_t.</summary>
    public bool ReadsAsSource { get; init; }

    /// <summary>Reads documents piece by piece with the state carried on, which gives the same as in one.</summary>
    /// <param name="tokens">(B, T).</param>
    /// <param name="ends">Where the pieces end, ascending, the last at T.</param>
    /// <returns>A record for each block, in the caller's dispose scope; none for a network without fast
    /// weights.</returns>
    public static IReadOnlyList<MemoryRecord> Of(EpisodicTransformer network, Tensor tokens, IReadOnlyList<int> ends)
    {
        using var quiet = no_grad();
        using var scope = NewDisposeScope();
        var memories = network.Memories;
        var activities = memories.Select(_ => new List<MemoryActivity>()).ToArray();
        var states = new List<EpisodicState>(); // after each piece
        // The tensors are the observer's for its call: copies are kept.
        Tensor Kept(Tensor x) => x.clone().MoveToOtherDisposeScope(scope);
        foreach (var (memory, list) in memories.Zip(activities))
        {
            memory.Observer = a =>
                list.Add(
                    a with
                    {
                        Queries = Kept(a.Queries),
                        Keys = Kept(a.Keys),
                        Values = Kept(a.Values),
                        Strength = Kept(a.Strength),
                        Gate = a.Gate is null ? null : Kept(a.Gate),
                        Decay = Kept(a.Decay),
                    }
                );
        }
        try
        {
            int from = 0;
            foreach (int end in ends)
            {
                states.Add(network.Read(tokens.narrow(1, from, end - from), states.LastOrDefault()).State);
                from = end;
            }
        }
        finally
        {
            foreach (var memory in memories)
                memory.Observer = null;
        }
        static Tensor Joined(List<MemoryActivity> pieces, Func<MemoryActivity, Tensor> of) =>
            cat(pieces.Select(of).ToArray(), 2).MoveToOuterDisposeScope();
        return
        [
            .. activities.Select(
                (pieces, block) =>
                    new MemoryRecord(
                        Joined(pieces, a => a.Queries),
                        Joined(pieces, a => a.Keys),
                        Joined(pieces, a => a.Values),
                        Joined(pieces, a => a.Strength),
                        pieces[0].Gate is null ? null : Joined(pieces, a => a.Gate!),
                        pieces[0].Decay.MoveToOuterDisposeScope(),
                        pieces[0].Rule,
                        [.. states.Select(s => StateOf(s, block).MoveToOuterDisposeScope())]
                    )
                    {
                        ReadsAsSource = pieces[0].ReadsAsSource,
                    }
            ),
        ];
    }

    private static Tensor StateOf(EpisodicState state, int block) =>
        state.Layers[block].Memories[FastWeightMemory.SettingsName][FastWeightMemory.StateName];
}
