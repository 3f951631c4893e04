using System.Collections;
using TorchSharp.Modules;

namespace TorchSharp
{
    using static torch;
    using F = torch.nn.functional;

    namespace Modules
    {
        public sealed class Linear : nn.Module<Tensor, Tensor>
        {
            private readonly Parameter _weight;
            private readonly Parameter? _bias;

            internal Linear(Parameter weight, Parameter? bias) : base(nameof(Linear))
            {
                (_weight, _bias) = (weight, bias);
                register_parameter("weight", weight);
                if (bias is not null) register_parameter("bias", bias);
            }

            public Parameter? weight => _weight;
            public Parameter? bias => _bias;
            public long in_features => _weight.shape[1];
            public long out_features => _weight.shape[0];
            public override Tensor forward(Tensor tensor) => F.linear(tensor, _weight, _bias);
        }

        public sealed class Embedding : nn.Module<Tensor, Tensor>
        {
            private readonly Parameter _weight;
            private readonly long _paddingIndex;

            internal Embedding(Parameter weight, long? paddingIndex) : base(nameof(Embedding))
            {
                (_weight, _paddingIndex) = (weight, paddingIndex ?? -1);
                register_parameter("weight", weight);
            }

            public Parameter? weight => _weight;
            public override Tensor forward(Tensor input) => Ops.embedding.Call(_weight, input, _paddingIndex);
        }

        public sealed class LayerNorm : nn.Module<Tensor, Tensor>
        {
            internal LayerNorm(long[] shape, double eps, Parameter? weight, Parameter? bias) : base(nameof(LayerNorm))
            {
                (normalized_shape, this.eps, this.weight, this.bias) = (shape, eps, weight, bias);
                if (weight is not null) register_parameter("weight", weight);
                if (bias is not null) register_parameter("bias", bias);
            }

            public long[] normalized_shape { get; }
            public double eps { get; }
            public bool elementwise_affine => weight is not null;
            public Parameter? weight { get; }
            public Parameter? bias { get; }
            public override Tensor forward(Tensor tensor) => F.layer_norm(tensor, normalized_shape, weight, bias, eps);
        }

        public sealed class Dropout : nn.Module<Tensor, Tensor>
        {
            internal Dropout(double p, bool inplace) : base(nameof(Dropout)) => (this.p, this.inplace) = (p, inplace);
            public double p { get; }
            public bool inplace { get; }
            public override Tensor forward(Tensor tensor) => F.dropout(tensor, p, training, inplace);
        }

        public sealed class GELU : nn.Module<Tensor, Tensor>
        {
            public enum Approximate
            {
                none,
                tanh,
            }

            internal GELU(Approximate approximate, bool inplace) : base(nameof(GELU)) => (this.approximate, this.inplace) = (approximate, inplace);
            public Approximate approximate { get; }
            public bool inplace { get; }
            public override Tensor forward(Tensor tensor) => F.gelu(tensor, approximate, inplace);
        }

        public sealed class ReLU : nn.Module<Tensor, Tensor>
        {
            internal ReLU() : base(nameof(ReLU)) { }
            public override Tensor forward(Tensor tensor) => tensor.relu();
        }

        public sealed class SiLU : nn.Module<Tensor, Tensor>
        {
            internal SiLU() : base(nameof(SiLU)) { }
            public override Tensor forward(Tensor tensor) => tensor.silu();
        }

        public sealed class Tanh : nn.Module<Tensor, Tensor>
        {
            internal Tanh() : base(nameof(Tanh)) { }
            public override Tensor forward(Tensor tensor) => tensor.tanh();
        }

        public sealed class Sigmoid : nn.Module<Tensor, Tensor>
        {
            internal Sigmoid() : base(nameof(Sigmoid)) { }
            public override Tensor forward(Tensor tensor) => tensor.sigmoid();
        }

        public sealed class Identity : nn.Module<Tensor, Tensor>
        {
            internal Identity() : base(nameof(Identity)) { }
            public override Tensor forward(Tensor tensor) => tensor.alias();
        }

        /// <summary>Modules one after another, named 0, 1, … or as they are given.</summary>
        public class Sequential : nn.Module<Tensor, Tensor>
        {
            private readonly List<nn.Module<Tensor, Tensor>> _steps = [];

            internal Sequential(IEnumerable<(string Name, nn.Module<Tensor, Tensor> Module)> modules) : base(nameof(Sequential))
            {
                foreach (var (name, module) in modules)
                {
                    register_module(name, module);
                    _steps.Add(module);
                }
            }

            public int Count => _steps.Count;

            public override Tensor forward(Tensor tensor)
            {
                var x = tensor;
                foreach (var step in _steps)
                {
                    var next = step.forward(x);
                    // What lies between two steps is nobody else's; autograd holds its own references.
                    if (!ReferenceEquals(x, tensor) && !ReferenceEquals(x, next)) x.Dispose();
                    x = next;
                }
                return ReferenceEquals(x, tensor) ? tensor.alias() : x;
            }
        }

        /// <summary>A list of modules, named 0, 1, …</summary>
        public class ModuleList<T> : nn.Module, IList<T> where T : nn.Module
        {
            private readonly List<T> _list = [];

            internal ModuleList(T[] modules) : base("ModuleList")
            {
                foreach (var module in modules) Add(module);
            }

            public int Count => _list.Count;
            public bool IsReadOnly => false;
            public T this[int index] { get => _list[index]; set => throw new NotSupportedException("A registered module stays in its place."); }
            public void Add(T item)
            {
                register_module(_list.Count.ToString(), item);
                _list.Add(item);
            }
            public void append(params T[] parameters)
            {
                foreach (var module in parameters) Add(module);
            }
            public bool Contains(T item) => _list.Contains(item);
            public void CopyTo(T[] array, int arrayIndex) => _list.CopyTo(array, arrayIndex);
            public int IndexOf(T item) => _list.IndexOf(item);
            public IEnumerator<T> GetEnumerator() => _list.GetEnumerator();
            IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
            void ICollection<T>.Clear() => throw new NotSupportedException("A registered module stays in its place.");
            bool ICollection<T>.Remove(T item) => throw new NotSupportedException("A registered module stays in its place.");
            void IList<T>.Insert(int index, T item) => throw new NotSupportedException("A registered module stays in its place.");
            void IList<T>.RemoveAt(int index) => throw new NotSupportedException("A registered module stays in its place.");
        }

        /// <summary>PyTorch's RNN: layers of h(t) = tanh(W_ih x(t) + b_ih + W_hh h(t−1) + b_hh), or with ReLU.</summary>
        public sealed class RNN : nn.Module<Tensor, Tensor, (Tensor, Tensor)>
        {
            private readonly List<Parameter> _flat = [];
            private readonly Dictionary<string, Parameter> _named = [];
            private readonly long _hidden, _layers;
            private readonly bool _bias, _batchFirst, _bidirectional, _tanh;
            private readonly double _dropout;

            internal RNN(long input, long hidden, long layers, bool tanh, bool bias, bool batchFirst, double dropout, bool bidirectional, Device? device, ScalarType? dtype) : base(nameof(RNN))
            {
                (_hidden, _layers, _tanh, _bias, _batchFirst, _dropout, _bidirectional) = (hidden, layers, tanh, bias, batchFirst, dropout, bidirectional);
                double bound = 1 / Math.Sqrt(hidden);
                long directions = bidirectional ? 2 : 1;
                for (long layer = 0; layer < layers; layer++)
                    foreach (var suffix in bidirectional ? new[] { "", "_reverse" } : [""])
                    {
                        Add($"weight_ih_l{layer}{suffix}", [hidden, layer == 0 ? input : hidden * directions]);
                        Add($"weight_hh_l{layer}{suffix}", [hidden, hidden]);
                        if (!bias) continue;
                        Add($"bias_ih_l{layer}{suffix}", [hidden]);
                        Add($"bias_hh_l{layer}{suffix}", [hidden]);
                    }

                void Add(string name, long[] shape)
                {
                    var parameter = new Parameter(empty(shape, dtype, device).uniform_(-bound, bound));
                    register_parameter(name, parameter);
                    _flat.Add(parameter);
                    _named[name] = parameter;
                }
            }

            public Parameter? get_weight_ih(long idx) => _named.GetValueOrDefault($"weight_ih_{Place(idx)}");
            public Parameter? get_weight_hh(long idx) => _named.GetValueOrDefault($"weight_hh_{Place(idx)}");
            public Parameter? get_bias_ih(long idx) => _named.GetValueOrDefault($"bias_ih_{Place(idx)}");
            public Parameter? get_bias_hh(long idx) => _named.GetValueOrDefault($"bias_hh_{Place(idx)}");
            private string Place(long index) => _bidirectional ? $"l{index / 2}{(index % 2 == 1 ? "_reverse" : "")}" : $"l{index}";

            public void flatten_parameters() { /* ATen lays the weights out for cuDNN by itself where it must. */ }

            public override (Tensor, Tensor) forward(Tensor input, Tensor h0)
            {
                var start = h0 ?? zeros([_layers * (_bidirectional ? 2 : 1), input.shape[_batchFirst ? 0 : 1], _hidden], input.dtype, input.device);
                return (_tanh ? Ops.rnn_tanh_input : Ops.rnn_relu_input).Call2(input, start, _flat.ToArray(), _bias, _layers, _dropout, training, _bidirectional, _batchFirst);
            }

            public new (Tensor, Tensor) call(Tensor input, Tensor? h0 = null) => forward(input, h0!);
        }

        public sealed class CrossEntropyLoss : nn.Module<Tensor, Tensor, Tensor>
        {
            private readonly Tensor? _weight;
            private readonly long _ignore;
            private readonly nn.Reduction _reduction;
            private readonly double _smoothing;
            public CrossEntropyLoss(Tensor? weight = null, long? ignore_index = null, nn.Reduction reduction = nn.Reduction.Mean, double label_smoothing = 0) : base(nameof(CrossEntropyLoss)) =>
                (_weight, _ignore, _reduction, _smoothing) = (weight, ignore_index ?? -100, reduction, label_smoothing);
            public override Tensor forward(Tensor input, Tensor target) => F.cross_entropy(input, target, _weight, _ignore, _reduction, _smoothing);
        }

        public sealed class MSELoss : nn.Module<Tensor, Tensor, Tensor>
        {
            private readonly nn.Reduction _reduction;
            public MSELoss(nn.Reduction reduction = nn.Reduction.Mean) : base(nameof(MSELoss)) => _reduction = reduction;
            public override Tensor forward(Tensor input, Tensor target) => F.mse_loss(input, target, _reduction);
        }
    }

    public static partial class torch
    {
        public static partial class nn
        {
            public enum NonLinearities
            {
                ReLU = 0,
                Tanh = 1,
            }

            public enum Reduction : long
            {
                None = 0,
                Mean = 1,
                Sum = 2,
            }

            public static Linear Linear(long inputSize, long outputSize, bool hasBias = true, Device? device = null, ScalarType? dtype = null)
            {
                // PyTorch's kaiming_uniform_(a = sqrt(5)) comes to this bound.
                double bound = inputSize > 0 ? 1 / Math.Sqrt(inputSize) : 0;
                return new(new Parameter(empty([outputSize, inputSize], dtype, device).uniform_(-bound, bound)),
                    hasBias ? new Parameter(empty([outputSize], dtype, device).uniform_(-bound, bound)) : null);
            }

            public static Linear Linear(Parameter weight, Parameter? bias = null) => new(weight, bias);

            public static Embedding Embedding(long num_embeddings, long embedding_dims, long? padding_idx = null, double? max_norm = null, double norm_type = 2, bool scale_grad_by_freq = false, bool sparse = false, Device? device = null, ScalarType? dtype = null)
            {
                if (max_norm is not null || scale_grad_by_freq || sparse) throw new NotSupportedException("max_norm, scale_grad_by_freq and sparse are not supported here");
                var weight = empty([num_embeddings, embedding_dims], dtype, device).normal_();
                if (padding_idx is { } p) weight.select(0, p).zero_();
                return new(new Parameter(weight), padding_idx);
            }

            public static LayerNorm LayerNorm(long[] normalized_shape, double eps = 1e-5, bool elementwise_affine = true, bool bias = true, Device? device = null, ScalarType? dtype = null) =>
                new(normalized_shape, eps, elementwise_affine ? new Parameter(ones(normalized_shape, dtype, device)) : null, elementwise_affine && bias ? new Parameter(zeros(normalized_shape, dtype, device)) : null);
            public static LayerNorm LayerNorm(long normalized_shape, double eps = 1e-5, bool elementwise_affine = true, bool bias = true, Device? device = null, ScalarType? dtype = null) =>
                LayerNorm([normalized_shape], eps, elementwise_affine, bias, device, dtype);

            public static Dropout Dropout(double p = 0.5, bool inplace = false) => new(p, inplace);
            public static GELU GELU() => new(Modules.GELU.Approximate.none, false);
            public static GELU GELU(GELU.Approximate approximate, bool inplace = false) => new(approximate, inplace);
            public static ReLU ReLU(bool inplace = false) => new();
            public static SiLU SiLU() => new();
            public static Tanh Tanh(bool inplace = false) => new();
            public static Sigmoid Sigmoid() => new();
            public static Identity Identity() => new();
            public static Sequential Sequential(params Module<Tensor, Tensor>[] modules) => new(modules.Select((m, i) => (i.ToString(), m)));
            public static Sequential Sequential(params (string name, Module<Tensor, Tensor> submodule)[] modules) => new(modules);
            public static ModuleList<T> ModuleList<T>(params T[] modules) where T : Module => new(modules);
            public static RNN RNN(long inputSize, long hiddenSize, long numLayers = 1, NonLinearities nonLinearity = NonLinearities.Tanh, bool bias = true, bool batchFirst = false, double dropout = 0, bool bidirectional = false, Device? device = null, ScalarType? dtype = null) =>
                new(inputSize, hiddenSize, numLayers, nonLinearity == NonLinearities.Tanh, bias, batchFirst, dropout, bidirectional, device, dtype);
            public static CrossEntropyLoss CrossEntropyLoss(Tensor? weight = null, long? ignore_index = null, Reduction reduction = Reduction.Mean) => new(weight, ignore_index, reduction);
            public static MSELoss MSELoss(Reduction reduction = Reduction.Mean) => new(reduction);
        }
    }
}
