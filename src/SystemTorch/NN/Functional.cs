using TorchSharp.Modules;

namespace TorchSharp;

public enum PaddingModes
{
    Zeros = 0,
    Reflect = 1,
    Replicate = 2,
    Circular = 3,
    Constant = 4,
}

public static partial class torch
{
    public static partial class nn
    {
        public static class functional
        {
            public static Tensor linear(Tensor input, Tensor weights, Tensor? bias = null) => Ops.linear.Call(input, weights, bias);
            public static Tensor relu(Tensor x, bool inplace = false) => inplace ? x.relu_() : x.relu();
            public static Tensor silu(Tensor x, bool inplace = false) => inplace ? x.silu_() : x.silu();
            public static Tensor tanh(Tensor x, bool inplace = false) => inplace ? x.tanh_() : x.tanh();
            public static Tensor sigmoid(Tensor x) => x.sigmoid();
            public static Tensor gelu(Tensor x) => x.gelu();
            public static Tensor gelu(Tensor x, GELU.Approximate approximate, bool inplace = false)
            {
                var result = Ops.gelu.Call(x, approximate.ToString());
                return inplace ? x.copy_(result) : result;
            }
            public static Tensor softmax(Tensor input, long dim, ScalarType? dtype = null) => input.softmax(dim, dtype);
            public static Tensor log_softmax(Tensor x, long dim) => x.log_softmax(dim);
            public static Tensor softplus(Tensor x, double beta = 1, double threshold = 20) => Ops.softplus.Call(x, beta, threshold);
            public static Tensor dropout(Tensor input, double p = 0.5, bool training = true, bool inplace = false) => inplace ? Ops.dropout_.InPlace(input, p, training) : Ops.dropout.Call(input, p, training);
            public static Tensor layer_norm(Tensor input, long[] normalized_shape, Tensor? weight = null, Tensor? bias = null, double eps = 1e-5) => Ops.layer_norm.Call(input, normalized_shape, weight, bias, eps);
            public static Tensor one_hot(Tensor x, long num_classes = -1) => Ops.one_hot.Call(x, num_classes);
            public static Tensor normalize(Tensor input, double p = 2, long dim = 1, double eps = 1e-12) => input / linalg.vector_norm(input, p, [dim], keepdim: true).clamp_min(eps).expand_as(input);

            public static Tensor pad(Tensor input, long[] pad, PaddingModes mode = PaddingModes.Constant, double value = 0) => mode is PaddingModes.Constant or PaddingModes.Zeros
                ? Ops.constant_pad_nd.Call(input, pad, value)
                : throw new NotSupportedException($"padding by {mode} is not supported here");

            public static Tensor mse_loss(Tensor input, Tensor target, Reduction reduction = Reduction.Mean) => Ops.mse_loss.Call(input, target, (long)reduction);
            public static Tensor l1_loss(Tensor input, Tensor target, Reduction reduction = Reduction.Mean) => Ops.l1_loss.Call(input, target, (long)reduction);
            public static Tensor smooth_l1_loss(Tensor input, Tensor target, Reduction reduction = Reduction.Mean, double beta = 1) => Ops.smooth_l1_loss.Call(input, target, (long)reduction, beta);
            public static Tensor cross_entropy(Tensor input, Tensor target, Tensor? weight = null, long ignore_index = -100, Reduction reduction = Reduction.Mean, double label_smoothing = 0) =>
                Ops.cross_entropy_loss.Call(input, target, weight, (long)reduction, ignore_index, label_smoothing);
            public static Tensor nll_loss(Tensor input, Tensor target, Tensor? weight = null, Reduction reduction = Reduction.Mean) => Ops.nll_loss.Call(input, target, weight, (long)reduction);
            public static Tensor binary_cross_entropy(Tensor input, Tensor target, Tensor? weight = null, Reduction reduction = Reduction.Mean) => Ops.binary_cross_entropy.Call(input, target, weight, (long)reduction);
            public static Tensor binary_cross_entropy_with_logits(Tensor input, Tensor target, Tensor? weight = null, Reduction reduction = Reduction.Mean, Tensor? pos_weights = null) =>
                Ops.binary_cross_entropy_with_logits.Call(input, target, weight, pos_weights, (long)reduction);
            public static Tensor kl_div(Tensor input, Tensor target, bool log_target = true, Reduction reduction = Reduction.Mean) => Ops.kl_div.Call(input, target, (long)reduction, log_target);

            /// <summary>softmax(Q Kᵀ / √d + mask) V. Written out: the operator is not in libtorch before 2.0.</summary>
            /// <param name="query">(…, T, d).</param>
            /// <param name="key">(…, S, d).</param>
            /// <param name="value">(…, S, e).</param>
            /// <param name="attn_mask">True where attention may go, or numbers to add.</param>
            /// <param name="p">Dropout of the attention.</param>
            /// <param name="is_casual">Only to what is not later.</param>
            public static Tensor scaled_dot_product_attention(Tensor query, Tensor key, Tensor value, Tensor? attn_mask = null, double p = 0, bool is_casual = false)
            {
                var scores = matmul(query, key.transpose(-2, -1)).mul(1 / Math.Sqrt(query.shape[^1])); // (…, T, S)
                if (is_casual)
                {
                    var later = ones([query.shape[^2], key.shape[^2]], ScalarType.Bool, query.device).triu(1);
                    scores = scores.masked_fill(later, double.NegativeInfinity);
                }
                if (attn_mask is not null) scores = attn_mask.dtype == ScalarType.Bool ? scores.masked_fill(attn_mask.logical_not(), double.NegativeInfinity) : scores + attn_mask;
                var attention = scores.softmax(-1);
                if (p > 0) attention = dropout(attention, p);
                return matmul(attention, value);
            }
        }

        public static class utils
        {
            /// <summary>Scales the gradients so that their norm together is at most max_norm.</summary>
            /// <returns>The norm before.</returns>
            public static double clip_grad_norm_(IEnumerable<Parameter> tensors, double max_norm, double norm_type = 2)
            {
                using var scope = NewDisposeScope();
                using var quiet = no_grad();
                var grads = tensors.Select(t => t.grad).OfType<Tensor>().ToArray();
                if (grads.Length == 0) return 0;
                double total = linalg.vector_norm(stack(grads.Select(g => linalg.vector_norm(g, norm_type).to(grads[0].device))), norm_type).ToScalar().ToDouble();
                double scale = max_norm / (total + 1e-6);
                // As PyTorch does: a norm that is not a number makes the gradients not numbers, too.
                if (!(scale >= 1)) foreach (var grad in grads) grad.mul_(scale);
                return total;
            }

            public static void clip_grad_value_(IEnumerable<Parameter> tensors, double clip_value)
            {
                using var scope = NewDisposeScope();
                using var quiet = no_grad();
                foreach (var tensor in tensors) tensor.grad?.clamp_(-clip_value, clip_value);
            }

            public static Tensor parameters_to_vector(IEnumerable<Parameter> tensors) => cat(tensors.Select(t => t.view(-1)).ToArray());

            public static void vector_to_parameters(Tensor vec, IEnumerable<Parameter> tensors)
            {
                using var scope = NewDisposeScope();
                using var quiet = no_grad();
                long at = 0;
                foreach (var tensor in tensors)
                {
                    tensor.copy_(vec.narrow(0, at, tensor.numel()).view(tensor.shape));
                    at += tensor.numel();
                }
            }
        }

        public static class init
        {
            public static Tensor uniform_(Tensor tensor, double low = 0, double high = 1, Generator? generator = null) => Quiet(tensor, t => t.uniform_(low, high, generator));
            public static Tensor normal_(Tensor tensor, double mean = 0, double std = 1, Generator? generator = null) => Quiet(tensor, t => t.normal_(mean, std, generator));
            public static Tensor constant_(Tensor tensor, Scalar val) => Quiet(tensor, t => t.fill_(val));
            public static Tensor zeros_(Tensor tensor) => Quiet(tensor, t => t.zero_());
            public static Tensor ones_(Tensor tensor) => Quiet(tensor, t => t.fill_(1));
            public static Tensor eye_(Tensor tensor) => Quiet(tensor, t => t.copy_(eye(t.shape[0], t.shape[1], t.dtype, t.device)));

            public static Tensor xavier_uniform_(Tensor tensor, double gain = 1)
            {
                var (fanIn, fanOut) = CalculateFanInAndFanOut(tensor);
                double bound = gain * Math.Sqrt(6.0 / (fanIn + fanOut));
                return uniform_(tensor, -bound, bound);
            }

            public static Tensor xavier_normal_(Tensor tensor, double gain = 1)
            {
                var (fanIn, fanOut) = CalculateFanInAndFanOut(tensor);
                return normal_(tensor, 0, gain * Math.Sqrt(2.0 / (fanIn + fanOut)));
            }

            /// <summary>A matrix with orthonormal rows or columns, whichever are fewer, times the gain (Saxe et al. 2013).</summary>
            public static Tensor orthogonal_(Tensor tensor, double gain = 1) => Quiet(tensor, t =>
            {
                if (t.dim() < 2) throw new ArgumentException("Only tensors with 2 or more dimensions are supported");
                long rows = t.shape[0], columns = t.numel() / rows;
                var flat = randn([rows, columns], t.dtype, t.device);
                if (rows < columns) flat = flat.t();
                var (q, r) = linalg.qr(flat);
                // With the signs of R's diagonal Q is uniform among the orthogonal matrices.
                q = q * r.diagonal().sign();
                if (rows < columns) q = q.t();
                return t.copy_(q.reshape(t.shape)).mul_(gain);
            });

            /// <summary>A normal distribution cut off at a and b, by inverting its distribution function.</summary>
            public static Tensor trunc_normal_(Tensor tensor, double mean = 0, double std = 1, double a = -2, double b = 2, Generator? generator = null) => Quiet(tensor, t =>
            {
                var ends = torch.tensor(new[] { (a - mean) / std / Math.Sqrt(2), (b - mean) / std / Math.Sqrt(2) }).erf();
                t.uniform_(ends[0].item<double>(), ends[1].item<double>(), generator);
                return t.erfinv_().mul_(std * Math.Sqrt(2)).add_(mean).clamp_(a, b);
            });

            public static (long fanIn, long fanOut) CalculateFanInAndFanOut(Tensor tensor)
            {
                var shape = tensor.shape;
                if (shape.Length < 2) throw new ArgumentException("Fan in and fan out can not be computed for tensor with fewer than 2 dimensions");
                long field = shape.Skip(2).Aggregate(1L, (product, n) => product * n);
                return (shape[1] * field, shape[0] * field);
            }

            private static Tensor Quiet(Tensor tensor, Func<Tensor, Tensor> fill)
            {
                using var scope = NewDisposeScope();
                using var quiet = no_grad();
                fill(tensor);
                return tensor;
            }
        }
    }
}
