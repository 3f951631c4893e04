using EmtTorch.Kernels;
using EmtTorch.Settings;
using TorchSharp;
using static TorchSharp.torch;

namespace EmtTorch.Models;

/// <summary>
/// N Elman networks of one shape, computed together: the equations of <see cref="ElmanRnn"/> with a leading dimension
/// for the network, and batched matrix products in place of products. Loss and gradients are written out, without
/// autograd: with g(t) = ∂L/∂h(t) through the readout and D(t) = 1 − h(t)²,
/// δ(t) = D(t) ∘ (g(t) + W_hhᵀ δ(t+1)),  dW_hh = Σ δ(t+1) h(t)ᵀ,  dW_uh = Σ δ(t) u(t)ᵀ,  db = Σ δ(t),  dW_r = Σ dy(t)
/// h(t)ᵀ.
/// </summary>
/// <remarks>
/// <para>On a GPU <see cref="CudaElman"/> goes through all time steps in one launch, forward and backward. Where it
/// does not serve, Torch's operators take two launches for a time step forward (product, tanh) and two backward
/// (product; its multiple by D added to D ∘ g in place), for any N. A step of the input phase has one more, because a
/// product that adds to something copies that first. The rest is a fixed number of launches: one product over all steps
/// for the inputs, the outputs and the gradient of each weight.</para>
/// <para>Members may have different horizons. The longest come first, so that the members that still run at time t are
/// the first n(t), which is a view. The recurrence then has the launches of the longest horizon and only the arithmetic
/// that the members need, without masks. Groups by horizon would cost a whole set of launches each, and launches are
/// most of the cost of small networks. The few products over all steps include the zeros after shorter horizons.</para>
/// <para>Time is the second dimension, (N, T, B, H): a product over all steps is then one product for each network, on
/// a view.</para>
/// </remarks>
internal sealed class ElmanEnsemble : IDisposable
{
    private readonly Slot[] _layout;
    private HorizonTensors? _horizons;

    /// <summary>The place of one parameter in a row.</summary>
    private sealed record Slot(string Name, long Offset, long[] Shape)
    {
        public long Length => Shape.Aggregate(1L, (a, b) => a * b);
    }

    /// <summary>Time steps, from start to end, in which the same first members run.</summary>
    private readonly record struct Stretch(long Members, long Start, long End);

    /// <summary>What follows from the horizons alone.</summary>
    /// <param name="Horizons">The horizon of each member.</param>
    /// <param name="Batch">B.</param>
    /// <param name="Counts">How many outputs of each member count (N, 1).</param>
    /// <param name="TwiceShare">2 / counts (N, 1, 1).</param>
    /// <param name="Beyond">Whether an output comes after the horizon (N, L·B, 1).</param>
    /// <param name="Lengths">The last time step of each member (N).</param>
    private sealed record HorizonTensors(
        int[] Horizons,
        long Batch,
        Tensor Counts,
        Tensor TwiceShare,
        Tensor Beyond,
        Tensor Lengths
    )
    {
        public Tensor[] Tensors => [Counts, TwiceShare, Beyond, Lengths];
    }

    /// <param name="networks">The networks whose weights are copied, all of one shape.</param>
    /// <param name="device">The device to compute on.</param>
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
                    var at = new Slot(p.name, offset, p.parameter.shape);
                    offset += p.parameter.numel();
                    return at;
                }),
        ];
        Parameters = stack(networks.Select(Row)).to(device).DetachFromDisposeScope();
    }

    private static Tensor Row(ElmanRnn network) =>
        cat(network.parameters().Select(p => p.detach().reshape(-1)).ToArray()); // (P)

    private ElmanEnsemble(Slot[] layout, Tensor parameters) => (_layout, Parameters) = (layout, parameters);

    /// <summary>All weights (N, P): a row for each network, in the order of its parameters.</summary>
    public Tensor Parameters { get; private set; }

    /// <summary>The number of networks, N.</summary>
    public long Count => Parameters.shape[0];

    /// <summary>Puts the networks in another order, or leaves some out.</summary>
    /// <param name="members">The numbers of the networks that stay, in their new order, on the device (N').</param>
    public void Choose(Tensor members)
    {
        var old = Parameters;
        Parameters = old.index_select(0, members).DetachFromDisposeScope();
        old.Dispose();
    }

    /// <summary>Copies the present weights of one network, which becomes the only member.</summary>
    public void Take(ElmanRnn network)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        var row = Row(network).unsqueeze(0);
        // After a network has moved to another device or type, the constants must follow.
        if (row.dtype != Parameters.dtype || row.device.ToString() != Parameters.device.ToString())
            Forget();
        Parameters.Dispose();
        Parameters = row.DetachFromDisposeScope();
    }

    /// <summary>Cuts a row into views, one for each parameter, with its shape.</summary>
    /// <param name="row">(P).</param>
    public IEnumerable<Tensor> Parts(Tensor row) =>
        _layout.Select(p => row.narrow(0, p.Offset, p.Length).view(p.Shape));

    /// <summary>Copies some of the networks.</summary>
    /// <param name="members">The numbers of these networks, on the device (N').</param>
    public ElmanEnsemble Some(Tensor members) =>
        new(_layout, Parameters.index_select(0, members).DetachFromDisposeScope());

    /// <summary>Writes a row, of parameters or of something of their shape, into tensors of a network.</summary>
    /// <param name="row">(P).</param>
    /// <param name="into">A tensor for each parameter, in their order.</param>
    public void Unpack(Tensor row, IEnumerable<Tensor> into)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        var local = row.cpu();
        foreach (var (part, tensor) in Parts(local).Zip(into))
            tensor.copy_(part);
    }

    /// <summary>
    /// Computes the mean squared error of each network over its horizon, its accuracy, and the gradient of the error.
    /// </summary>
    /// <param name="input">(N, S, B, κ). After its end, and after a network's horizon, the input is zero.</param>
    /// <param name="target">(N, L, B, κ). Its values after a network's horizon do not matter.</param>
    /// <param name="from">The first step whose output counts.</param>
    /// <param name="horizons">How many outputs of each network count; not increasing, the first one is L.</param>
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

        var constants = Horizons(horizons, from, batch, width, input.dtype);
        var last = stretches.Count > 1 ? constants.Lengths : null;

        // W_uh u(t) + b for all steps at once (N, S, B, H).
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
            // Steps after a network's horizon do not count, even if the target is infinite there.
            error.masked_fill_(constants.Beyond, 0);
            right.masked_fill_(constants.Beyond, false);
        }
        long[] rest = [1, 2];
        var scores = stack(
                [error.square().sum(rest, type: ScalarType.Float64), right.sum(rest, type: ScalarType.Float64)],
                1
            )
            .div_(constants.Counts);
        var gradient = gradients
            ? Gradient(error.mul_(constants.TwiceShare), input, read, states, from, stretches, last)
            : null;
        return (scores.MoveToOuterDisposeScope(), gradient?.MoveToOuterDisposeScope());
    }

    /// <summary>Computes the gradient of the error (N, P).</summary>
    /// <param name="dy">∂L/∂y (N, L·B, κ).</param>
    /// <param name="input">u (N, S, B, κ).</param>
    /// <param name="read">The states whose outputs count (N, L·B, H).</param>
    /// <param name="states">h (N, T, B, H).</param>
    /// <param name="from">The first step whose output counts.</param>
    /// <param name="stretches">Which members run when.</param>
    /// <param name="last">The last time step of each member, or null if all have the same.</param>
    private Tensor Gradient(
        Tensor dy,
        Tensor input,
        Tensor read,
        Tensor states,
        long from,
        List<Stretch> stretches,
        Tensor? last
    )
    {
        Tensor weightHh = Weight("rnn.weight_hh")!,
            readout = Weight("readout.weight")!;
        long n = Count,
            s = input.shape[1],
            batch = input.shape[2],
            width = input.shape[3],
            steps = states.shape[1],
            hidden = states.shape[3];
        long[] rest = [1, 2];
        // Outputs that do not count are zeros in front. They are added before the product, where they are narrow.
        var outputs =
            from == 0 ? dy : cat([zeros([n, from * batch, width], dtype: dy.dtype, device: dy.device), dy], 1);
        var given = bmm(outputs, readout).view(n, steps, batch, hidden); // g (N, T, B, H)
        // (N, T, B, H)
        var delta = CudaElman.Deltas(given, weightHh, states, last) ?? Deltas(given, weightHh, states, stretches);
        var later = delta.narrow(1, 1, steps - 1).view(n, (steps - 1) * batch, hidden); // δ(2) … δ(T)
        var before = states.narrow(1, 0, steps - 1).view(n, (steps - 1) * batch, hidden); // h(1) … h(T−1)
        var first = delta.narrow(1, 0, s).view(n, s * batch, hidden); // δ(1) … δ(S)
        return cat(
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
    }

    /// <summary>Adds the gradient of β ‖W_hhᵀ W_hh − I‖² to the gradient of each W_hh.</summary>
    /// <param name="gradient">(N, P).</param>
    /// <param name="betas">β of each network (N, 1, 1).</param>
    public void AddSpectralPenalty(Tensor gradient, Tensor betas)
    {
        using var scope = NewDisposeScope();
        View(gradient, "rnn.weight_hh")!.addcmul_(SpectralPenalty.Gradient(Weight("rnn.weight_hh")!), betas, 1);
    }

    /// <summary>
    /// Computes h(1) … h(T) of all networks in Torch's operators (N, T, B, H). After a network's horizon they are 0.
    /// </summary>
    private static Tensor States(Tensor drive, Tensor weightHh, Tensor? bias, List<Stretch> stretches)
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

    /// <summary>Computes δ(1) … δ(T) of all networks in Torch's operators (N, T, B, H). It overwrites g.</summary>
    private static Tensor Deltas(Tensor given, Tensor weightHh, Tensor states, List<Stretch> stretches)
    {
        var slope = addcmul(ones(1, dtype: states.dtype, device: states.device), states, states, -1); // D (N, T, B, H)
        var delta = given.mul_(slope); // D ∘ g, to which the rest of δ is added
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
                    // Members that end at this step have no later one.
                    long going = after.shape[0];
                    // Disposed of at once, so that the next product is written to the same place, which is in the
                    // cache.
                    using var through = bmm(after, going == members ? weight : weight.narrow(0, 0, going));
                    if (going == members)
                        d[t].addcmul_(by[t], through, 1);
                    else
                        d[t].narrow(0, 0, going).addcmul_(by[t].narrow(0, 0, going), through, 1);
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
    /// Divides the time steps into stretches: until the shortest horizon all members run, and so on.
    /// </summary>
    private static List<Stretch> Stretches(IReadOnlyList<int> horizons, long from)
    {
        var stretches = new List<Stretch>();
        long start = 0;
        for (int members = horizons.Count; members > 0; members--)
        {
            long end = from + horizons[members - 1];
            if (end < start)
                throw new ArgumentException("the horizons increase");
            if (end > start)
                stretches.Add(new(members, start, end));
            start = end;
        }
        return stretches;
    }

    /// <summary>
    /// Computes what follows from the horizons. It is kept until they change, because a transfer to the device waits
    /// for everything that was launched before it.
    /// </summary>
    private HorizonTensors Horizons(IReadOnlyList<int> horizons, long from, long batch, long width, ScalarType dtype)
    {
        if (_horizons is { } kept && kept.Batch == batch && kept.Horizons.AsSpan().SequenceEqual([.. horizons]))
            return kept;
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
        _horizons = new([.. horizons], batch, counts, twiceShare, beyond, lengths);
        foreach (var tensor in _horizons.Tensors)
            tensor.DetachFromDisposeScope();
        return _horizons;
    }

    private void Forget()
    {
        foreach (var tensor in _horizons?.Tensors ?? [])
            tensor.Dispose();
        _horizons = null;
    }

    /// <summary>A weight of all networks, as a view of the rows, or null if the networks have none of this
    /// name.</summary>
    private Tensor? Weight(string name) => View(Parameters, name);

    private Tensor? View(Tensor rows, string name) =>
        _layout.FirstOrDefault(p => p.Name == name) is { } slot
            ? rows.narrow(1, slot.Offset, slot.Length).view([Count, .. slot.Shape])
            : null;

    public void Dispose()
    {
        Forget();
        Parameters.Dispose();
    }
}
