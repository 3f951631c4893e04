using System.Runtime.CompilerServices;

namespace TorchSharp;

public static partial class torch
{
    public partial class Tensor
    {
        // One element or slice by numbers, one for each of the first dimensions

        [IndexerName("TensorItems")]
        public Tensor this[long i1]
        {
            get => select(0, i1);
            set => Put(value, [i1]);
        }

        [IndexerName("TensorItems")]
        public Tensor this[long i1, long i2]
        {
            get => At([i1, i2]);
            set => Put(value, [i1, i2]);
        }

        [IndexerName("TensorItems")]
        public Tensor this[long i1, long i2, long i3]
        {
            get => At([i1, i2, i3]);
            set => Put(value, [i1, i2, i3]);
        }

        [IndexerName("TensorItems")]
        public Tensor this[long i1, long i2, long i3, long i4]
        {
            get => At([i1, i2, i3, i4]);
            set => Put(value, [i1, i2, i3, i4]);
        }

        [IndexerName("TensorItems")]
        public Tensor this[long i1, long i2, long i3, long i4, long i5]
        {
            get => At([i1, i2, i3, i4, i5]);
            set => Put(value, [i1, i2, i3, i4, i5]);
        }

        [IndexerName("TensorItems")]
        public Tensor this[long i1, long i2, long i3, long i4, long i5, long i6]
        {
            get => At([i1, i2, i3, i4, i5, i6]);
            set => Put(value, [i1, i2, i3, i4, i5, i6]);
        }

        [IndexerName("TensorItems")]
        public Tensor this[params long[] indices]
        {
            get => At(indices);
            set => Put(value, indices);
        }

        private Tensor At(ReadOnlySpan<long> indices)
        {
            var at = this;
            foreach (long i in indices) Replace(ref at, at.select(0, i));
            return ReferenceEquals(at, this) ? alias() : at;
        }

        private void Put(Tensor value, ReadOnlySpan<long> indices)
        {
            using var place = At(indices);
            Assign(place, value);
        }

        // Index expressions

        /// <summary>Numbers, slices, `...`, new dimensions, masks and tensors of indices, mixed as in PyTorch.</summary>
        [IndexerName("TensorItems")]
        public Tensor this[params TensorIndex[] indices]
        {
            get => index(indices);
            set => index_put_(value, indices);
        }

        [IndexerName("TensorItems")]
        public Tensor this[params Tensor[] indices]
        {
            get => index(indices);
            set => index_put_(value, indices);
        }

        public Tensor index(params TensorIndex[] indices)
        {
            using var scope = NewDisposeScope();
            var view = View(indices, out var tensors);
            return (tensors is null ? view : Ops.index_Tensor.Call(view, tensors)).MoveToOuterDisposeScope();
        }

        public Tensor index(params Tensor[] indices) => index(Expression(indices));

        public Tensor index_put_(Tensor value, TensorIndex[] indices, bool accumulate = false)
        {
            using var scope = NewDisposeScope();
            var place = View(indices, out var tensors);
            if (tensors is not null) Ops.index_put_.Run(place, tensors, Fitting(value, place).to(place.dtype, place.device), accumulate);
            else if (accumulate) place.add_(Fitting(value, place));
            else Assign(place, value);
            return this;
        }

        public Tensor index_put_(Tensor value, Tensor[] indices, bool accumulate = false) => index_put_(value, Expression(indices), accumulate);
        public Tensor index_put_(Tensor value, params TensorIndex[] indices) => index_put_(value, indices, false);
        public Tensor index_put_(Tensor value, params Tensor[] indices) => index_put_(value, Expression(indices), false);

        public Tensor index_put_(Scalar value, params TensorIndex[] indices)
        {
            using Tensor number = value;
            return index_put_(number, indices, false);
        }

        public Tensor index_put_(Scalar value, params Tensor[] indices) => index_put_(value, Expression(indices));

        private static TensorIndex[] Expression(Tensor[] indices) => Array.ConvertAll(indices, i => TensorIndex.Tensor(i));

        /// <summary>
        /// Does what a view can do: numbers, slices, `...` and new dimensions. Left over are the tensors, each in the place of
        /// its first dimension in the view; null where there are none.
        /// </summary>
        private Tensor View(TensorIndex[] indices, out Tensor?[]? tensors)
        {
            long used = indices.Sum(Uses);
            if (used > dim()) throw new ArgumentException($"too many indices for a tensor of {dim()} dimensions: {used}");
            var view = this;
            // A mask of several dimensions is one entry of `found`, so the dimension reached is counted apart.
            var found = new List<Tensor?>();
            long at = 0;
            foreach (var i in indices)
            {
                switch (i.Kind)
                {
                    case TensorIndex.Sort.Number:
                        Replace(ref view, view.select(at, i.Start));
                        continue;
                    case TensorIndex.Sort.Slice:
                        if (i.HasStart || i.Stop is not null || i.Step != 1)
                            Replace(ref view, Ops.slice_Tensor.Call(view, at, i.HasStart ? i.Start : Arg.None, i.Stop, i.Step));
                        found.Add(null);
                        break;
                    case TensorIndex.Sort.Ellipsis:
                        long skipped = dim() - used;
                        found.AddRange(new Tensor?[skipped]);
                        at += skipped;
                        continue;
                    case TensorIndex.Sort.NewDimension:
                        Replace(ref view, view.unsqueeze(at));
                        found.Add(null);
                        break;
                    case TensorIndex.Sort.Flag:
                        Replace(ref view, view.unsqueeze(at));
                        found.Add(new[] { i.Start != 0 });
                        break;
                    default:
                        var chosen = i.Indices!;
                        if (Uses(i) == 0)
                        {
                            // A mask without dimensions: as a flag.
                            Replace(ref view, view.unsqueeze(at));
                            chosen = chosen.reshape(1);
                            at++;
                        }
                        else if (chosen.dim() == 0)
                        {
                            Replace(ref view, view.select(at, (long)chosen));
                            continue;
                        }
                        // libtorch 1 takes indices of no other integral type.
                        found.Add(chosen.dtype is ScalarType.Int32 or ScalarType.Int16 or ScalarType.Int8 ? chosen.@long() : chosen);
                        at += Uses(i);
                        continue;
                }
                at++;
            }
            // Undefined indices behind a mask mislead index_put_ when the value is one number.
            while (found.Count > 0 && found[^1] is null) found.RemoveAt(found.Count - 1);
            tensors = found.Count > 0 ? [.. found] : null;
            return ReferenceEquals(view, this) ? alias() : view;
        }

        /// <summary>How many of the tensor's dimensions an index speaks of.</summary>
        private static long Uses(TensorIndex index) => index.Kind switch
        {
            TensorIndex.Sort.Number or TensorIndex.Sort.Slice => 1,
            TensorIndex.Sort.Tensor => index.Indices!.dtype is ScalarType.Bool or ScalarType.Byte ? index.Indices.dim() : 1,
            _ => 0,
        };

        private void Replace(ref Tensor view, Tensor next)
        {
            if (!ReferenceEquals(view, this)) view.Dispose();
            view = next;
        }

        private static void Assign(Tensor place, Tensor value)
        {
            var fitting = Fitting(value, place);
            place.copy_(fitting);
            if (!ReferenceEquals(fitting, value)) fitting.Dispose();
        }

        /// <summary>The value without the leading dimensions of size 1 that its place lacks; copying would refuse them.</summary>
        private static Tensor Fitting(Tensor value, Tensor place)
        {
            if (value.dim() <= place.dim()) return value;
            long[] shape = value.shape;
            int ones = shape.TakeWhile(n => n == 1).Count();
            return ones == 0 ? value : value.reshape(shape[ones..]);
        }

        // Indices along one dimension

        public Tensor gather(long dim, Tensor index) => Ops.gather.Call(this, dim, index);
        public Tensor index_select(long dim, Tensor index) => Ops.index_select.Call(this, dim, index);
        public Tensor take(Tensor index) => Ops.take.Call(this, index);
        public Tensor take_along_dim(Tensor indices) => Ops.take_along_dim.Call(this, indices);
        public Tensor take_along_dim(Tensor indices, long dim) => Ops.take_along_dim.Call(this, indices, dim);
        public Tensor take_along_dim(IEnumerable<long> indices) => take_along_dim(((Tensor)indices.ToArray()).to(device));
        public Tensor take_along_dim(IEnumerable<long> indices, long dim) => take_along_dim(((Tensor)indices.ToArray()).to(device), dim);
        public Tensor index_add(long dim, Tensor index, Tensor source, Scalar alpha) => Ops.index_add.Call(this, dim, index, source, alpha);
        public Tensor index_add_(long dim, Tensor index, Tensor source, Scalar alpha) => Ops.index_add_.InPlace(this, dim, index, source, alpha);
        public Tensor index_copy(long dim, Tensor index, Tensor source) => Ops.index_copy.Call(this, dim, index, source);
        public Tensor index_copy_(long dim, Tensor index, Tensor source) => Ops.index_copy_.InPlace(this, dim, index, source);
        public Tensor index_fill(long dim, Tensor index, Scalar value) => Ops.index_fill_int_Scalar.Call(this, dim, index, value);
        public Tensor index_fill_(long dim, Tensor index, Scalar value) => Ops.index_fill__int_Scalar.InPlace(this, dim, index, value);
        public Tensor scatter(long dim, Tensor index, Tensor src) => Ops.scatter_src.Call(this, dim, index, src);
        public Tensor scatter_(long dim, Tensor index, Tensor src) => Ops.scatter__src.InPlace(this, dim, index, src);
        public Tensor scatter_add(long dim, Tensor index, Tensor src) => Ops.scatter_add.Call(this, dim, index, src);
        public Tensor scatter_add_(long dim, Tensor index, Tensor src) => Ops.scatter_add_.InPlace(this, dim, index, src);

        // Masks

        public Tensor masked_fill(Tensor mask, Scalar value) => Ops.masked_fill_Scalar.Call(this, mask, value);
        public Tensor masked_fill_(Tensor mask, Scalar value) => Ops.masked_fill__Scalar.InPlace(this, mask, value);
        public Tensor masked_scatter(Tensor mask, Tensor value) => Ops.masked_scatter.Call(this, mask, value);
        public Tensor masked_scatter_(Tensor mask, Tensor value) => Ops.masked_scatter_.InPlace(this, mask, value);
        public Tensor masked_select(Tensor mask) => Ops.masked_select.Call(this, mask);

        /// <summary>This tensor's elements where the condition holds, those of `y` elsewhere.</summary>
        public Tensor where(Tensor condition, Tensor y) => Ops.where_self.Call(condition, this, y);

        public Tensor nonzero() => Ops.nonzero.Call(this);
        public IList<Tensor> nonzero_as_list() => Ops.nonzero_numpy.CallList(this);
        public Tensor argwhere() => Ops.argwhere.Call(this);
    }
}
