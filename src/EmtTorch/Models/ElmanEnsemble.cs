using EmtTorch.Kernels;
using EmtTorch.Settings;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Models;

/// <summary>
/// N Elman networks of one shape, all in each launch: <see cref="ElmanRnn"/>'s equations with a leading dimension for
/// the network, batched matrix products in place of products. Loss and gradients are written out, there is no autograd
/// graph:
/// with g(t) = ∂L/∂h(t) through the readout and D(t) = 1 − h(t)²,
/// δ(t) = D(t) ∘ (g(t) + W_hhᵀ δ(t+1)),  dW_hh = Σ δ(t+1) h(t)ᵀ,  dW_uh = Σ δ(t) u(t)ᵀ,  db = Σ δ(t),  dW_r = Σ dy(t)
/// h(t)ᵀ.
/// </summary>
/// <remarks>
/// <para>On a GPU <see cref="CudaElman"/> goes through all time steps in one launch, forward and backward. In Torch's
/// operators, wherever it does not serve, a time step is two launches forward (product, tanh) and two backward
/// (product; its multiple by D added to D ∘ g in place), whatever N is; the input phase has one more, since a product
/// that adds to something copies that first. All else is a fixed number of launches: one product over all steps for
/// inputs, outputs and each weight's gradient.</para>
/// <para>Members may be at different horizons. They come longest first, so that those still going at time t are the
/// first n(t), a view: the recurrence has the launches of the longest horizon and only the arithmetic that the members
/// need, and nothing in it has to be masked. Groups by horizon would cost a whole set of launches each, and launches
/// are what a step of small networks consists of. The few products over all steps do go over the longest horizon for
/// all, on zeros.</para>
/// <para>Time is the second dimension, (N, T, B, H): what goes over all steps is then one product per network, on a
/// view.</para>
/// </remarks>
internal sealed class ElmanEnsemble : IDisposable
{
    private readonly (string Name, long Offset, long[] Shape)[] _layout;
    private (int[] Horizons, long Batch, Tensor Counts, Tensor TwiceShare, Tensor Beyond, Tensor Lengths)? _horizons;

    /// <param name="networks">Where the weights come from; of one shape.</param>
    /// <param name="device">Where to compute.</param>
    public ElmanEnsemble(IReadOnlyList<ElmanRnn> networks, Device device)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        long offset = 0;
        _layout =
        [
            .. networks[0]
                .named_parameters()
                .Select(p =>
                {
                    var at = (p.name, offset, p.parameter.shape);
                    offset += p.parameter.numel();
                    return at;
                }),
        ];
        Parameters = stack(networks.Select(Row)).to(device).DetachFromDisposeScope();
    }

    private static Tensor Row(ElmanRnn network) =>
        cat(network.parameters().Select(p => p.detach().reshape(-1)).ToArray()); // (P)

    private ElmanEnsemble((string, long, long[])[] layout, Tensor parameters) =>
        (_layout, Parameters) = (layout, parameters);

    /// <summary>All weights, a network a row, in the order of a network's parameters: (N, P).</summary>
    public Tensor Parameters { get; private set; }

    /// <summary>Networks, N.</summary>
    public long Count => Parameters.shape[0];

    /// <summary>Puts the networks in another order, or leaves some out.</summary>
    /// <param name="members">Which of the present ones, as numbers on the device (N').</param>
    public void Choose(Tensor members)
    {
        var old = Parameters;
        Parameters = old.index_select(0, members).DetachFromDisposeScope();
        old.Dispose();
    }

    /// <summary>Takes over one network's weights of now, as the only member's.</summary>
    public void Take(ElmanRnn network)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        var row = Row(network).unsqueeze(0);
        // A network that has moved has its constants elsewhere.
        if (row.dtype != Parameters.dtype || row.device.ToString() != Parameters.device.ToString())
            Forget();
        Parameters.Dispose();
        Parameters = row.DetachFromDisposeScope();
    }

    /// <summary>The parts of a row that belong to the parameters, in their order and shapes; views.</summary>
    /// <param name="row">(P).</param>
    public IEnumerable<Tensor> Parts(Tensor row) =>
        _layout.Select(p => row.narrow(0, p.Offset, p.Shape.Aggregate(1L, (a, b) => a * b)).view(p.Shape));

    /// <summary>A copy of some of the networks.</summary>
    /// <param name="members">Which, as numbers on the device (N').</param>
    public ElmanEnsemble Some(Tensor members) =>
        new(_layout, Parameters.index_select(0, members).DetachFromDisposeScope());

    /// <summary>Writes one row, of the parameters or of something of their shape, into a network's tensors.</summary>
    /// <param name="row">(P).</param>
    /// <param name="into">As many tensors as parameters, in their order.</param>
    public void Unpack(Tensor row, IEnumerable<Tensor> into)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        var local = row.cpu();
        foreach (var ((_, offset, _), tensor) in _layout.Zip(into))
            tensor.copy_(local.narrow(0, offset, tensor.numel()).view(tensor.shape));
    }

    /// <summary>
    /// The mean squared error of each network over its horizon, its accuracy, and the gradient of the error.
    /// </summary>
    /// <param name="input">(N, S, B, κ); after its end, and after a network's own horizon, the input is zero.</param>
    /// <param name="target">(N, L, B, κ); what it holds after a network's horizon does not matter.</param>
    /// <param name="from">The first step whose output counts.</param>
    /// <param name="horizons">Outputs that count, for each network; not increasing, the first one is L.</param>
    /// <param name="gradients">Whether the gradient is wanted.</param>
    /// <returns>Loss and accuracy (N, 2) in float64 on the device, and the gradient (N, P).</returns>
    public (Tensor Scores, Tensor? Gradient) Score(
        Tensor input,
        Tensor target,
        long from,
        IReadOnlyList<int> horizons,
        bool gradients
    )
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        long n = Count,
            s = input.shape[1],
            batch = input.shape[2],
            width = input.shape[3],
            length = target.shape[1],
            steps = from + length;
        Tensor weightIh = Weight("rnn.weight_ih")!,
            weightHh = Weight("rnn.weight_hh")!,
            readout = Weight("readout.weight")!; // (N, H, κ), (N, H, H), (N, κ, H)
        long hidden = weightHh.shape[1];
        Tensor? bias = Weight("rnn.bias"),
            readoutBias = Weight("readout.bias"); // (N, H), (N, κ)
        var stretches = Stretches(horizons, from);

        // (N, 1), (N, 1, 1), (N, L·B, 1), (N)
        var (counts, twiceShare, beyond, lengths) = Horizons(horizons, from, batch, width, input.dtype);
        var last = stretches.Count > 1 ? lengths : null;

        // What does not depend on h, for all steps at once (N, S, B, H).
        var drive =
            s == 0
                ? empty([n, 0, batch, hidden], dtype: input.dtype, device: input.device)
                : Affine(input.view(n, s * batch, width), weightIh, bias).view(n, s, batch, hidden);
        // (N, T, B, H)
        var states = CudaElman.States(drive, weightHh, bias, steps, last) ?? States(drive, weightHh, bias, stretches);
        var read = states.narrow(1, from, length).view(n, length * batch, hidden); // (N, L·B, H)
        var output = Affine(read, readout, readoutBias); // (N, L·B, κ)
        var wanted = target.view(n, length * batch, width);
        var error = output - wanted;
        var right = output.ge(0).eq(wanted.ge(0));
        if (stretches.Count > 1)
        {
            // Steps after a network's horizon count for nothing, whatever the target holds there: infinity, too.
            error.masked_fill_(beyond, 0);
            right.masked_fill_(beyond, false);
        }
        long[] rest = [1, 2];
        var scores = stack(
                [error.square().sum(rest, type: ScalarType.Float64), right.sum(rest, type: ScalarType.Float64)],
                1
            )
            .div_(counts);
        if (!gradients)
            return (scores.MoveToOuterDisposeScope(), null);

        var dy = error.mul_(twiceShare); // ∂L/∂y (N, L·B, κ)
        // Outputs that don't count are zeros in front, narrow ones: they are put in before the product.
        var outputs =
            from == 0 ? dy : cat([zeros([n, from * batch, width], dtype: dy.dtype, device: dy.device), dy], 1);
        var given = bmm(outputs, readout).view(n, steps, batch, hidden); // g (N, T, B, H)
        // (N, T, B, H)
        var delta = CudaElman.Deltas(given, weightHh, states, last) ?? Deltas(given, weightHh, states, stretches);
        var later = delta.narrow(1, 1, steps - 1).view(n, (steps - 1) * batch, hidden); // δ(2) … δ(T)
        var before = states.narrow(1, 0, steps - 1).view(n, (steps - 1) * batch, hidden); // h(1) … h(T−1)
        var first = delta.narrow(1, 0, s).view(n, s * batch, hidden); // δ(1) … δ(S)
        var gradient = cat(
            [
                .. _layout.Select(p =>
                    (
                        p.Name switch
                        {
                            "rnn.weight_ih" => bmm(first.transpose(1, 2), input.view(n, s * batch, width)),
                            "rnn.weight_hh" => bmm(later.transpose(1, 2), before),
                            "rnn.bias" => delta.sum(rest),
                            "readout.weight" => bmm(dy.transpose(1, 2), read),
                            _ => dy.sum([1L]),
                        }
                    ).reshape(n, -1)
                ),
            ],
            1
        );
        return (scores.MoveToOuterDisposeScope(), gradient.MoveToOuterDisposeScope());
    }

    /// <summary>Adds the gradient of β ‖W_hhᵀ W_hh − I‖² to that of each W_hh.</summary>
    /// <param name="gradient">(N, P).</param>
    /// <param name="betas">β of each network (N, 1, 1).</param>
    public void AddSpectralPenalty(Tensor gradient, Tensor betas)
    {
        using var scope = NewDisposeScope();
        View(gradient, "rnn.weight_hh")!
            .addcmul_(SpectralPenalty.Gradient(Weight("rnn.weight_hh")!), betas, TorchSharpDefects.One);
    }

    /// <summary>h(1) … h(T) of all in Torch's operators, (N, T, B, H); zero after a network's own horizon.</summary>
    private static Tensor States(
        Tensor drive,
        Tensor weightHh,
        Tensor? bias,
        List<(long Members, long Start, long End)> stretches
    )
    {
        long n = drive.shape[0],
            s = drive.shape[1],
            batch = drive.shape[2],
            hidden = drive.shape[3],
            steps = stretches[^1].End;
        var (dtype, device) = (drive.dtype, drive.device);
        var driven = s == 0 ? [] : drive.unbind(1); // S × (N, B, H)
        var constant = bias?.unsqueeze(1); // (N, 1, H)
        Tensor? states = stretches.Count == 1 ? null : zeros([n, steps, batch, hidden], dtype: dtype, device: device);
        Tensor? h = null;
        foreach (var (members, start, end) in stretches)
        {
            bool all = members == n;
            var weight = weightHh.narrow(0, 0, members).transpose(1, 2);
            var steady = all ? constant : constant?.narrow(0, 0, members);
            if (h is not null && h.shape[0] != members)
                h = h.narrow(0, 0, members);
            var written = new Tensor[end - start];
            for (long t = start; t < end; t++)
            {
                var given =
                    t < s
                        ? all
                            ? driven[t]
                            : driven[t].narrow(0, 0, members)
                        : steady;
                if (h is not null)
                    h = given is null ? bmm(h, weight) : bmm(h, weight).add_(given);
                else if (given is null)
                    h = zeros([members, batch, hidden], dtype: dtype, device: device);
                else
                    h = given.expand(members, batch, hidden).clone();
                written[t - start] = h.tanh_();
            }
            var joined = stack(written, 1); // (n(t), t, B, H)
            foreach (var one in written[..^1])
                one.Dispose();
            if (states is null)
                return joined;
            states.narrow(0, 0, members).narrow(1, start, end - start).copy_(joined);
        }
        return states!;
    }

    /// <summary>δ(1) … δ(T) of all in Torch's operators, from g, which is overwritten: (N, T, B, H).</summary>
    private static Tensor Deltas(
        Tensor given,
        Tensor weightHh,
        Tensor states,
        List<(long Members, long Start, long End)> stretches
    )
    {
        var slope = addcmul(
            ones(1, dtype: states.dtype, device: states.device),
            states,
            states,
            TorchSharpDefects.MinusOne
        ); // D (N, T, B, H)
        var delta = given.mul_(slope); // δ, all of it at first D ∘ g
        Tensor? after = null;
        foreach (var (members, start, end) in stretches.AsEnumerable().Reverse())
        {
            var weight = weightHh.narrow(0, 0, members);
            var d = delta.narrow(0, 0, members).narrow(1, start, end - start).unbind(1); // (n(t), B, H)
            var by = slope.narrow(0, 0, members).narrow(1, start, end - start).unbind(1);
            for (int t = d.Length - 1; t >= 0; t--)
            {
                if (after is not null)
                {
                    // Where some members end here, the others alone have a later step.
                    long going = after.shape[0];
                    // Disposed of at once: the next product is written where this one was, while that is in the cache.
                    using var through = bmm(after, going == members ? weight : weight.narrow(0, 0, going));
                    if (going == members)
                        d[t].addcmul_(by[t], through, TorchSharpDefects.One);
                    else
                        d[t].narrow(0, 0, going).addcmul_(by[t].narrow(0, 0, going), through, TorchSharpDefects.One);
                }
                after = d[t];
            }
        }
        return delta;
    }

    /// <summary>x Wᵀ + b: (N, M, in), (N, out, in), (N, out) to (N, M, out).</summary>
    private static Tensor Affine(Tensor x, Tensor weight, Tensor? bias) =>
        bias is null ? bmm(x, weight.transpose(1, 2)) : bmm(x, weight.transpose(1, 2)) + bias.unsqueeze(1);

    /// <summary>
    /// Times between which the same first members are still going: from the start to the shortest horizon all, and so
    /// on.
    /// </summary>
    private static List<(long Members, long Start, long End)> Stretches(IReadOnlyList<int> horizons, long from)
    {
        var stretches = new List<(long, long, long)>();
        long start = 0;
        for (int members = horizons.Count; members > 0; members--)
        {
            long end = from + horizons[members - 1];
            if (end < start)
                throw new ArgumentException("the horizons increase");
            if (end > start)
                stretches.Add((members, start, end));
            start = end;
        }
        return stretches;
    }

    /// <summary>
    /// Numbers that count of each member, twice their reciprocal, which outputs are beyond its horizon, and its last
    /// time step. They are kept until the horizons change: a transfer to the device would wait for all that was
    /// launched before it.
    /// </summary>
    private (Tensor Counts, Tensor TwiceShare, Tensor Beyond, Tensor Lengths) Horizons(
        IReadOnlyList<int> horizons,
        long from,
        long batch,
        long width,
        ScalarType dtype
    )
    {
        if (_horizons is { } kept && kept.Batch == batch && kept.Horizons.AsSpan().SequenceEqual([.. horizons]))
            return (kept.Counts, kept.TwiceShare, kept.Beyond, kept.Lengths);
        Forget();
        // (N, 1)
        var own = tensor(horizons.Select(l => (double)l).ToArray(), ScalarType.Float64, Parameters.device).unsqueeze(1);
        var counts = own.mul(batch * width);
        var twiceShare = counts.reciprocal().mul_(2).to(dtype).unsqueeze(2);
        var beyond = arange(horizons[0], dtype: ScalarType.Float64, device: Parameters.device)
            .ge(own) // (N, L)
            .unsqueeze(2)
            .expand(horizons.Count, horizons[0], batch)
            .reshape(horizons.Count, horizons[0] * batch, 1);
        var lengths = own.squeeze(1).add(from).to(ScalarType.Int32);
        foreach (var tensor in new[] { counts, twiceShare, beyond, lengths })
            tensor.DetachFromDisposeScope();
        _horizons = ([.. horizons], batch, counts, twiceShare, beyond, lengths);
        return (counts, twiceShare, beyond, lengths);
    }

    private void Forget()
    {
        if (_horizons is not { } kept)
            return;
        kept.Counts.Dispose();
        kept.TwiceShare.Dispose();
        kept.Beyond.Dispose();
        kept.Lengths.Dispose();
        _horizons = null;
    }

    /// <summary>A weight of all networks, as a view of the rows; null where they have none.</summary>
    private Tensor? Weight(string name) => View(Parameters, name);

    private Tensor? View(Tensor rows, string name)
    {
        foreach (var (own, offset, shape) in _layout)
        {
            if (own == name)
                return rows.narrow(1, offset, shape.Aggregate(1L, (a, b) => a * b)).view([Count, .. shape]);
        }

        return null;
    }

    public void Dispose()
    {
        Forget();
        Parameters.Dispose();
    }
}
