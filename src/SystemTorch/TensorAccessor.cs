using System.Collections;

namespace TorchSharp.Utils;

/// <summary>A CPU tensor's elements in its own order of dimensions, read and written where they are.</summary>
public sealed unsafe class TensorAccessor<T> : IDisposable, IEnumerable<T> where T : unmanaged
{
    private readonly torch.Tensor _tensor;
    private readonly T* _data;
    private readonly long[] _shape, _strides;
    private readonly bool _contiguous;

    internal TensorAccessor(torch.Tensor tensor)
    {
        if (tensor.device_type != DeviceType.CPU) throw new InvalidOperationException("Reading data from non-CPU memory is not supported. Move or copy the tensor to the cpu before reading.");
        // An alias of its own, that no dispose scope ends.
        _tensor = tensor.alias().DetachFromDisposeScope();
        void* data;
        Native.Check(Native.st_tensor_data(tensor.Handle, &data));
        _data = (T*)data;
        (_shape, _strides, _contiguous) = (tensor.shape, tensor.stride(), tensor.is_contiguous());
    }

    public long Count => _tensor.numel();
    public bool IsReadOnly => false;

    /// <summary>An element by its place in each dimension, or, with one index, by its place in row-major order.</summary>
    /// <exception cref="IndexOutOfRangeException">There is no such element.</exception>
    public T this[params long[] indices]
    {
        get => *Element(indices);
        set => *Element(indices) = value;
    }

    private T* Element(long[] indices)
    {
        long at = 0;
        if (indices.Length == 1 && _shape.Length != 1)
        {
            if (indices[0] < 0 || indices[0] >= Count) throw new IndexOutOfRangeException();
            return _data + Offset(indices[0]);
        }
        for (int i = 0; i < indices.Length; i++)
        {
            if (indices[i] < 0 || indices[i] >= _shape[i]) throw new IndexOutOfRangeException();
            at += indices[i] * _strides[i];
        }
        return _data + at;
    }

    private long Offset(long index)
    {
        if (_contiguous) return index;
        long at = 0;
        for (int i = _shape.Length - 1; i >= 0; i--)
        {
            at += index % _shape[i] * _strides[i];
            index /= _shape[i];
        }
        return at;
    }

    public T[] ToArray()
    {
        var array = new T[Count];
        CopyTo(array);
        return array;
    }

    public void CopyTo(T[] array, int arrayIndex = 0, long tensorIndex = 0) => CopyTo(array.AsSpan(), arrayIndex, tensorIndex);

    public void CopyTo(Span<T> array, int arrayIndex = 0, long tensorIndex = 0)
    {
        int n = checked((int)Math.Min(array.Length - arrayIndex, Count - tensorIndex));
        if (_contiguous) new ReadOnlySpan<T>(_data + tensorIndex, n).CopyTo(array[arrayIndex..]);
        else for (int i = 0; i < n; i++) array[arrayIndex + i] = _data[Offset(tensorIndex + i)];
        GC.KeepAlive(this);
    }

    public void CopyFrom(T[] array, int arrayIndex = 0, long tensorIndex = 0) => CopyFrom(array.AsSpan(), arrayIndex, tensorIndex);

    public void CopyFrom(ReadOnlySpan<T> array, int arrayIndex = 0, long tensorIndex = 0)
    {
        int n = checked((int)Math.Min(array.Length - arrayIndex, Count - tensorIndex));
        if (_contiguous) array.Slice(arrayIndex, n).CopyTo(new Span<T>(_data + tensorIndex, n));
        else for (int i = 0; i < n; i++) _data[Offset(tensorIndex + i)] = array[arrayIndex + i];
        GC.KeepAlive(this);
    }

    public IEnumerator<T> GetEnumerator() => ((IEnumerable<T>)ToArray()).GetEnumerator();
    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    public void Dispose()
    {
        _tensor.Dispose();
        GC.SuppressFinalize(this);
    }
}
