namespace TorchSharp;

public static partial class torch
{
    /// <summary>One place of an index expression: a number, a slice, `...`, a new dimension, or a tensor of indices or flags.</summary>
    public struct TensorIndex
    {
        internal enum Sort { Number, Slice, Ellipsis, NewDimension, Flag, Tensor }

        internal Sort Kind;
        internal long Start, Step;
        internal long? Stop;
        internal Tensor? Indices;
        internal bool HasStart;

        public static readonly TensorIndex Ellipsis = new() { Kind = Sort.Ellipsis };
        public static readonly TensorIndex None = new() { Kind = Sort.NewDimension };
        public static readonly TensorIndex Null = None;
        public static readonly TensorIndex Colon = Slice();

        public static TensorIndex Slice(long? start = null, long? stop = null, long? step = null) =>
            new() { Kind = Sort.Slice, HasStart = start.HasValue, Start = start ?? 0, Stop = stop, Step = step ?? 1 };

        public static TensorIndex Slice((int?, int?) range) => Slice(range.Item1, range.Item2);

        public static TensorIndex Slice(Range range) => Slice(
            range.Start.IsFromEnd ? -range.Start.Value : range.Start.Value,
            range.End.IsFromEnd ? (range.End.Value == 0 ? null : -range.End.Value) : range.End.Value);

        public static TensorIndex Bool(bool value) => new() { Kind = Sort.Flag, Start = value ? 1 : 0 };
        public static TensorIndex Single(long? index) => index is { } i ? new() { Kind = Sort.Number, Start = i } : None;
        public static TensorIndex Tensor(Tensor tensor) => new() { Kind = Sort.Tensor, Indices = tensor };

        public static implicit operator TensorIndex(long value) => Single(value);
        public static implicit operator TensorIndex((int?, int?) range) => Slice(range);
        public static implicit operator TensorIndex(Range range) => Slice(range);
        public static implicit operator TensorIndex(Index index) => Single(index.IsFromEnd ? -index.Value : index.Value);
    }
}
