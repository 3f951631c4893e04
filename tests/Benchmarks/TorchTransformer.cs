using EmtTorch.Memory;
using EmtTorch.Models;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

/// <summary>
/// The network of a configuration as a user of TorchSharp would write it: its modules, scaled_dot_product_attention in
/// bands where there is a window, and the context and fast weights chunk by chunk in operators, with autograd through
/// all. A training step has clip_grad_norm_ and optim.Adam.
/// </summary>
internal sealed class TorchTransformer : IDisposable
{
    private const long Chunk = 64, // of fast weights
        Drift = 16; // of the context

    private readonly ModelConfiguration _model;
    private readonly Embedding _embedding;
    private readonly List<Block> _blocks = [];
    private readonly LayerNorm _norm;
    private readonly TorchSharp.Modules.Linear _readout;
    private readonly List<Parameter> _parameters = [];
    private readonly optim.Optimizer _adam;

    private sealed record Block(
        LayerNorm Norm1,
        LayerNorm Norm2,
        TorchSharp.Modules.Linear ToAttention,
        TorchSharp.Modules.Linear FromAttention,
        TorchSharp.Modules.Linear Expand,
        TorchSharp.Modules.Linear Contract
    )
    {
        public (TorchSharp.Modules.Linear In, TorchSharp.Modules.Linear Out, Parameter Decay)? Context { get; init; }
        public (TorchSharp.Modules.Linear In, TorchSharp.Modules.Linear Out, Parameter Rate)? Memory { get; init; }
        public TorchSharp.Modules.Linear? Gate { get; init; }
    }

    /// <summary>Takes the weights of a network.</summary>
    public TorchTransformer(EpisodicTransformer network, ModelConfiguration model, int vocabulary, double learningRate)
    {
        _model = model;
        var weights = network.named_parameters().ToDictionary(p => p.name, p => p.parameter);
        using var quiet = no_grad();
        long d = model.HiddenSize,
            wide = model.FeedForwardSize ?? 4 * d;
        _embedding = nn.Embedding(vocabulary, d);
        Take(_embedding.weight!, "embedding.weight");
        for (int i = 0; i < model.Layers; i++)
        {
            string at = $"blocks.{i}.";
            _blocks.Add(
                new(
                    Normed($"{at}norm1"),
                    Normed($"{at}norm2"),
                    Linear($"{at}attention.qkv"),
                    Linear($"{at}attention.output"),
                    Linear($"{at}expand"),
                    Linear($"{at}contract")
                )
                {
                    Context = model.Drift
                        ? (Linear($"{at}drift.input"), Linear($"{at}drift.output"), Taken($"{at}drift.logit_decay"))
                        : null,
                    Memory = weights.ContainsKey($"{at}memory.qkv.weight")
                        ? (Linear($"{at}memory.qkv"), Linear($"{at}memory.output"), Taken($"{at}memory.rate"))
                        : null,
                    Gate = weights.ContainsKey($"{at}memory.gate.gate.weight") ? Linear($"{at}memory.gate.gate") : null,
                }
            );
        }
        _norm = Normed("norm");
        _readout = Linear("readout");
        _adam = optim.Adam(_parameters, lr: learningRate);

        void Take(Parameter mine, string name)
        {
            mine.copy_(weights[name]);
            _parameters.Add(mine);
        }
        Parameter Taken(string name)
        {
            var mine = new Parameter(weights[name].detach().clone());
            _parameters.Add(mine);
            return mine;
        }
        TorchSharp.Modules.Linear Linear(string name)
        {
            long[] shape = weights[$"{name}.weight"].shape;
            bool hasBias = weights.ContainsKey($"{name}.bias");
            var linear = nn.Linear(shape[1], shape[0], hasBias);
            Take(linear.weight, $"{name}.weight");
            if (hasBias)
                Take(linear.bias!, $"{name}.bias");
            return linear;
        }
        LayerNorm Normed(string name)
        {
            var norm = nn.LayerNorm(d);
            Take(norm.weight!, $"{name}.weight");
            Take(norm.bias!, $"{name}.bias");
            return norm;
        }
    }

    /// <summary>One training step; returns the loss before it.</summary>
    /// <param name="input">Tokens (B, T).</param>
    /// <param name="target">Answers (B, T).</param>
    /// <param name="ignored">What stands where no answer is asked for.</param>
    /// <param name="largestNorm">Gradients are clipped to this.</param>
    public Tensor Step(Tensor input, Tensor target, long ignored, double largestNorm)
    {
        using var scope = NewDisposeScope();
        _adam.zero_grad();
        var places = target.flatten().ne(ignored).nonzero().squeeze(-1);
        var hidden = Hidden(input).flatten(0, 1).index_select(0, places);
        var loss = nn.functional.cross_entropy(_readout.forward(hidden), target.flatten().index_select(0, places));
        loss.backward();
        nn.utils.clip_grad_norm_(_parameters, largestNorm);
        _adam.step();
        return loss.detach().MoveToOuterDisposeScope();
    }

    private Tensor Hidden(Tensor input)
    {
        long tokens = input.shape[1],
            rest = (Chunk - tokens % Chunk) % Chunk;
        var x = _embedding.forward(nn.functional.pad(input, [0, rest])); // what is after a token does not matter to it
        foreach (var block in _blocks)
        {
            Tensor h = block.Norm1.forward(x),
                added;
            Tensor? contexts = null;
            if (block.Context is { } context)
            {
                contexts = Drifting(context.In.forward(h), context.Decay.sigmoid());
                h = h + context.Out.forward(nn.functional.pad(contexts.narrow(1, 0, h.shape[1] - 1), [0, 0, 1, 0]));
            }
            added = Attention(block, h);
            if (block.Memory is { } memory)
                added = added + memory.Out.forward(FastWeight(block, h, contexts));
            x = x + added;
            x = x + block.Contract.forward(block.Expand.forward(block.Norm2.forward(x)).gelu());
        }
        return _norm.forward(x).narrow(1, 0, tokens);
    }

    private Tensor[] Heads(Tensor projected, long heads) =>
        projected.unflatten(2, [3, heads, projected.shape[2] / 3 / heads]).permute(2, 0, 3, 1, 4).unbind(0);

    private Tensor Attention(Block block, Tensor h)
    {
        var parts = Heads(block.ToAttention.forward(h), _model.Heads);
        long half = parts[0].shape[3] / 2;
        var angles =
            arange(h.shape[1], dtype: ScalarType.Float64).unsqueeze(-1)
            * pow(10_000.0, arange(0, half, dtype: ScalarType.Float64) / -(double)half);
        Tensor cos = angles.cos().to(ScalarType.Float32),
            sin = angles.sin().to(ScalarType.Float32);
        Tensor Rotated(Tensor x)
        {
            var halves = x.chunk(2, -1);
            return cat([halves[0] * cos - halves[1] * sin, halves[1] * cos + halves[0] * sin], -1);
        }
        Tensor q = Rotated(parts[0]),
            k = Rotated(parts[1]);
        var attended =
            _model.Window is { } window && window < h.shape[1]
                ? AttentionChoice.BandedAttention(q, k, parts[2], window)
                : nn.functional.scaled_dot_product_attention(q, k, parts[2], is_casual: true);
        return block.FromAttention.forward(attended.transpose(1, 2).flatten(2, 3));
    }

    private Tensor FastWeight(Block block, Tensor h, Tensor? contexts)
    {
        bool delta = _model.Write == "delta";
        var (project, _, rate) = block.Memory!.Value;
        long heads = rate.shape[0];
        var parts = Heads(project.forward(h), heads);
        var rates = (delta ? rate.sigmoid() : rate.exp()).unsqueeze(-1);
        var gate = block.Gate?.forward(contexts is null ? h : cat([h, contexts], -1)).sigmoid().transpose(1, 2);
        var strength = gate is null ? rates.expand(h.shape[0], heads, h.shape[1]) : gate * rates;
        long size = parts[0].shape[3];
        var (read, _) = OperatorScan.Run(
            nn.functional.normalize(parts[0], dim: -1),
            nn.functional.normalize(parts[1], dim: -1),
            parts[2],
            strength,
            ones(heads),
            zeros(h.shape[0], heads, size, size),
            delta ? WriteRule.Delta : WriteRule.Hebbian,
            Chunk
        );
        return read.transpose(1, 2).flatten(2, 3);
    }

    // c_t = λ c_{t−1} + x_t: within chunks by a triangle of powers for each dimension, then from chunk to chunk.
    private static Tensor Drifting(Tensor x, Tensor decay)
    {
        long batch = x.shape[0],
            width = x.shape[2],
            chunks = x.shape[1] / Drift;
        var place = arange(Drift, dtype: x.dtype);
        var apart = place.unsqueeze(-1) - place;
        var powers = decay.view(-1, 1, 1).pow(apart.clamp_min(0)).tril(); // (d, C, C)
        var within = powers
            .bmm(x.reshape(batch * chunks, Drift, width).permute(2, 1, 0)) // (d, C, B n)
            .permute(2, 1, 0)
            .reshape(batch, chunks, Drift, width);
        var ends = within.select(2, Drift - 1).unbind(1);
        var before = new Tensor[chunks];
        var whole = decay.pow(Drift);
        before[0] = zeros(batch, width);
        for (int c = 1; c < chunks; c++)
            before[c] = before[c - 1] * whole + ends[c - 1];
        return (within + stack(before, 1).unsqueeze(2) * decay.pow((place + 1).unsqueeze(-1))).reshape(x.shape);
    }

    public void Dispose()
    {
        _adam.Dispose();
        foreach (var parameter in _parameters)
            parameter.Dispose();
    }
}
