using System.Globalization;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace TorchSharp;

public static partial class torch
{
    /// <summary>
    /// An n-dimensional array in libtorch's memory. It belongs to the dispose scope in which it was made, if there is one;
    /// else it lives until it is disposed or collected.
    /// </summary>
    public partial class Tensor : IDisposable
    {
        private nint _handle;

        internal DisposeScope? Scope;
        internal int ScopeSlot;

        /// <summary>Takes over one native reference.</summary>
        internal Tensor(nint handle)
        {
            if (handle == 0) throw new ExternalException("libtorch returned an undefined tensor");
            _handle = handle;
            DisposeScopeManager.Register(this);
        }

        /// <exception cref="ObjectDisposedException">The tensor was disposed.</exception>
        public IntPtr Handle
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            get
            {
                if (_handle == 0) ThrowDisposed();
                return _handle;
            }
        }

        private static void ThrowDisposed() =>
            throw new ObjectDisposedException("Tensor", "The tensor was disposed, or belonged to a dispose scope that has ended.");

        public bool IsInvalid => _handle == 0;

        ~Tensor() => Release();

        public void Dispose()
        {
            Scope?.MarkAsDisposed(this);
            Release();
            GC.SuppressFinalize(this);
        }

        private void Release()
        {
            nint handle = Interlocked.Exchange(ref _handle, 0);
            if (handle != 0) Native.st_tensor_free(handle);
        }

        /// <summary>Lets this object stand for another native tensor; the old one loses a reference.</summary>
        internal void ReplaceHandle(Tensor other)
        {
            nint fresh = Native.st_tensor_alias(other.Handle), old = _handle;
            _handle = fresh;
            if (old != 0) Native.st_tensor_free(old);
        }

        /// <summary>Another object for the same native tensor.</summary>
        public Tensor alias() => new(Native.st_tensor_alias(Handle));

        public Tensor MoveToOuterDisposeScope()
        {
            Scope?.MoveToOuter(this);
            return this;
        }

        public Tensor MoveToOtherDisposeScope(DisposeScope other)
        {
            if (Scope is { } scope) scope.MoveToOther(other, this);
            else other?.Attach(this);
            return this;
        }

        public Tensor DetachFromDisposeScope()
        {
            Scope?.Detach(this);
            return this;
        }

        // Shape and type

        public ScalarType dtype => (ScalarType)Native.st_tensor_dtype(Handle);
        public long dim() => Native.st_tensor_dim(Handle);
        public long ndim => dim();
        public long Dimensions => dim();
        public long numel() => Native.st_tensor_numel(Handle);
        public long NumberOfElements => numel();
        public long ElementSize => Native.st_tensor_itemsize(Handle);

        public unsafe long[] shape
        {
            get
            {
                var sizes = new long[dim()];
                fixed (long* p = sizes) Native.st_tensor_sizes(Handle, p);
                return sizes;
            }
        }

        public long[] size() => shape;

        public unsafe long size(int dim)
        {
            int n = (int)this.dim();
            if (dim < -n || dim >= n) throw new IndexOutOfRangeException($"Dimension {dim} of a tensor of {n} dimensions");
            long* sizes = stackalloc long[n];
            Native.st_tensor_sizes(Handle, sizes);
            return sizes[dim < 0 ? dim + n : dim];
        }

        public unsafe long[] stride()
        {
            var strides = new long[dim()];
            fixed (long* p = strides) Native.Check(Native.st_tensor_strides(Handle, p));
            return strides;
        }

        public long stride(int dim) => stride()[dim < 0 ? dim + (int)this.dim() : dim];

        public unsafe Device device
        {
            get
            {
                int type, index;
                Native.st_tensor_device(Handle, &type, &index);
                return new Device((DeviceType)type, index);
            }
        }

        public DeviceType device_type => device.type;
        public int device_index => device.index;
        public bool is_cuda => device.type == DeviceType.CUDA;
        public bool is_cpu() => device.type == DeviceType.CPU;
        public bool is_meta => device.type == DeviceType.META;
        public bool is_sparse => Native.st_tensor_is_sparse(Handle) != 0;
        public bool is_contiguous() => Native.st_tensor_is_contiguous(Handle) != 0;
        public bool is_complex() => dtype is ScalarType.ComplexFloat32 or ScalarType.ComplexFloat64;
        public bool is_integral() => dtype is ScalarType.Byte or ScalarType.Int8 or ScalarType.Int16 or ScalarType.Int32 or ScalarType.Int64 or ScalarType.Bool;

        public unsafe long storage_offset()
        {
            long offset;
            Native.Check(Native.st_tensor_storage_offset(Handle, &offset));
            return offset;
        }

        // Data

        /// <summary>The elements' memory, to read or write. For contiguous tensors on the CPU.</summary>
        /// <exception cref="NotImplementedException">The tensor is elsewhere, or not contiguous.</exception>
        public unsafe Span<byte> bytes
        {
            get
            {
                if (device.type != DeviceType.CPU) throw new NotImplementedException("Bytes() called on non-CPU tensors.");
                if (!is_contiguous()) throw new NotImplementedException("Bytes() called on non-contiguous tensor.");
                void* data;
                Native.Check(Native.st_tensor_data(Handle, &data));
                return new Span<byte>(data, checked((int)(numel() * ElementSize)));
            }
        }

        /// <summary>The elements, in their own type, to read or write in place. For tensors on the CPU.</summary>
        /// <exception cref="ArgumentException">T is not the type of the elements.</exception>
        public Utils.TensorAccessor<T> data<T>() where T : unmanaged
        {
            ValidateType(typeof(T));
            return new Utils.TensorAccessor<T>(this);
        }

        /// <summary>The only element's value.</summary>
        /// <exception cref="ArgumentException">T is not its type.</exception>
        public unsafe T item<T>() where T : unmanaged
        {
            ValidateType(typeof(T));
            if (numel() != 1) throw new ArgumentException("only one element tensors can be converted to .NET scalars", nameof(T));
            if (device.type != DeviceType.CPU)
            {
                using var local = cpu();
                return local.item<T>();
            }
            void* data;
            Native.Check(Native.st_tensor_data(Handle, &data));
            GC.KeepAlive(this);
            return *(T*)data;
        }

        public Scalar ToScalar() => Ops.item.CallScalar(this);

        private void ValidateType(Type type)
        {
            bool same = dtype switch
            {
                ScalarType.Byte => type == typeof(byte),
                ScalarType.Int8 => type == typeof(sbyte),
                ScalarType.Int16 => type == typeof(short),
                ScalarType.Int32 => type == typeof(int),
                ScalarType.Int64 => type == typeof(long),
                ScalarType.Bool => type == typeof(bool),
                ScalarType.Float16 => type == typeof(Half),
                ScalarType.Float32 => type == typeof(float),
                ScalarType.Float64 => type == typeof(double),
                ScalarType.ComplexFloat32 => type == typeof((float, float)),
                ScalarType.ComplexFloat64 => type == typeof(System.Numerics.Complex),
                _ => false,
            };
            if (!same) throw new ArgumentException($"{type.Name} is not compatible with {dtype}");
        }

        // Autograd

        public bool requires_grad
        {
            get => Native.st_tensor_requires_grad(Handle) != 0;
            set => Native.Check(Native.st_tensor_set_requires_grad(Handle, value ? 1 : 0));
        }

        public Tensor requires_grad_(bool requires_grad = true)
        {
            this.requires_grad = requires_grad;
            return this;
        }

        public Tensor with_requires_grad(bool requires_grad = true) => requires_grad_(requires_grad);

        public void retain_grad() => Native.Check(Native.st_tensor_retain_grad(Handle));

        public bool is_leaf => Native.st_tensor_is_leaf(Handle) != 0;

        public unsafe Tensor? grad
        {
            get
            {
                nint grad;
                Native.Check(Native.st_tensor_grad(Handle, &grad));
                return grad == 0 ? null : new Tensor(grad);
            }
            set
            {
                Native.Check(Native.st_tensor_set_grad(Handle, value?.Handle ?? 0));
                GC.KeepAlive(value);
            }
        }

        public void backward() => autograd.backward([this]);

        public void backward(IList<Tensor>? grad_tensors = null, bool retain_graph = false, bool create_graph = false, IList<Tensor>? inputs = null) =>
            autograd.backward([this], grad_tensors, retain_graph, create_graph, inputs);

        /// <summary>Type, shape and device, as in `[2x3], type = Float32, device = cpu`.</summary>
        public override string ToString()
        {
            if (IsInvalid) return "[disposed]";
            return string.Create(CultureInfo.InvariantCulture, $"[{string.Join('x', shape)}], type = {dtype}, device = {device}");
        }

        public override bool Equals(object? obj) => obj is Tensor other && Equals(other);
        public bool Equals(Tensor target) => Ops.equal.CallBool(this, target);
        public override int GetHashCode() => RuntimeHelpers.GetHashCode(this);
    }
}
