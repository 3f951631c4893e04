using System.Numerics;
using System.Runtime.InteropServices;

namespace TorchSharp;

public static partial class torch
{
    public partial class Tensor
    {
        // Type and device. Where nothing changes and no copy is asked for, the result is the same native tensor.

        private Tensor To(ScalarType? type, Device? device, bool copy, bool disposeAfter, bool non_blocking)
        {
            if (device?.type == DeviceType.CUDA) InitializeDevice(device);
            var result = Ops.to_dtype_layout.Call(this, type, Arg.None, device, Arg.None, non_blocking, copy);
            if (disposeAfter) Dispose();
            return result;
        }

        public Tensor to(ScalarType type, bool copy = false, bool disposeAfter = false, bool non_blocking = false) => To(type, null, copy, disposeAfter, non_blocking);
        public Tensor to(Device device, bool copy = false, bool disposeAfter = false, bool non_blocking = false) => To(null, device, copy, disposeAfter, non_blocking);
        public Tensor to(string device, bool copy = false, bool disposeAfter = false, bool non_blocking = false) => To(null, new Device(device), copy, disposeAfter, non_blocking);
        public Tensor to(DeviceType deviceType, int deviceIndex = -1, bool copy = false, bool disposeAfter = false, bool non_blocking = false) =>
            To(null, new Device(deviceType, deviceIndex), copy, disposeAfter, non_blocking);
        public Tensor to(ScalarType type, Device device, bool copy = false, bool disposeAfter = false, bool non_blocking = false) => To(type, device, copy, disposeAfter, non_blocking);
        public Tensor to(Tensor other, bool non_blocking = false) => To(other.dtype, other.device, false, false, non_blocking);
        public Tensor to_type(ScalarType type, bool copy = false, bool disposeAfter = false, bool non_blocking = false) => To(type, null, copy, disposeAfter, non_blocking);
        public Tensor type(ScalarType dtype) => to_type(dtype);
        public Tensor type(Func<Tensor, Tensor> typeFunc) => typeFunc(this);
        public Tensor type_as(Tensor tensor) => to_type(tensor.dtype);

        public Tensor cpu() => To(null, CPU, false, false, false);
        public Tensor cuda(Device? device = null, bool non_blocking = false) => To(null, device ?? CUDA, false, false, non_blocking);

        public Tensor @bool() => to_type(ScalarType.Bool);
        public Tensor @byte() => to_type(ScalarType.Byte);
        public Tensor @char() => to_type(ScalarType.Int8);
        public Tensor @short() => to_type(ScalarType.Int16);
        public Tensor @int() => to_type(ScalarType.Int32);
        public Tensor @long() => to_type(ScalarType.Int64);
        public Tensor half() => to_type(ScalarType.Float16);
        public Tensor bfloat16() => to_type(ScalarType.BFloat16);
        public Tensor @float() => to_type(ScalarType.Float32);
        public Tensor @double() => to_type(ScalarType.Float64);
        public Tensor cfloat() => to_type(ScalarType.ComplexFloat32);
        public Tensor cdouble() => to_type(ScalarType.ComplexFloat64);

        public bool is_floating_point() => dtype is ScalarType.Float16 or ScalarType.BFloat16 or ScalarType.Float32 or ScalarType.Float64;
        public long element_size() => ElementSize;

        // Complex numbers

        public Tensor real => Ops.real.Call(this);
        public Tensor imag => Ops.imag.Call(this);
        public Tensor angle() => Ops.angle.Call(this);
        public Tensor conj() => Ops.conj.Call(this);
        public bool is_conj() => Ops.is_conj.CallBool(this);
        public bool is_neg() => Ops.is_neg.CallBool(this);
        public Tensor view_as_real() => Ops.view_as_real.Call(this);
        public Tensor view_as_complex() => Ops.view_as_complex.Call(this);

        // To and from .NET's numbers

        public static explicit operator bool(Tensor value) => value.ToScalar().ToBoolean();
        public static explicit operator byte(Tensor value) => value.ToScalar().ToByte();
        public static explicit operator sbyte(Tensor value) => value.ToScalar().ToSByte();
        public static explicit operator short(Tensor value) => value.ToScalar().ToInt16();
        public static explicit operator int(Tensor value) => value.ToScalar().ToInt32();
        public static explicit operator long(Tensor value) => value.ToScalar().ToInt64();
        public static explicit operator float(Tensor value) => value.ToScalar().ToSingle();
        public static explicit operator double(Tensor value) => value.ToScalar().ToDouble();

        public static implicit operator Tensor(bool value) => (Scalar)value;
        public static implicit operator Tensor(byte value) => (Scalar)value;
        public static implicit operator Tensor(sbyte value) => (Scalar)value;
        public static implicit operator Tensor(short value) => (Scalar)value;
        public static implicit operator Tensor(int value) => (Scalar)value;
        public static implicit operator Tensor(long value) => (Scalar)value;
        public static implicit operator Tensor(float value) => (Scalar)value;
        public static implicit operator Tensor(double value) => (Scalar)value;
        public static implicit operator Tensor((float, float) value) => (Scalar)value;
        public static implicit operator Tensor(Complex value) => (Scalar)value;
        public static implicit operator Tensor(bool[] value) => Copy(value, ScalarType.Bool);
        public static implicit operator Tensor(byte[] value) => Copy(value, ScalarType.Byte);
        public static implicit operator Tensor(sbyte[] value) => Copy(value, ScalarType.Int8);
        public static implicit operator Tensor(short[] value) => Copy(value, ScalarType.Int16);
        public static implicit operator Tensor(int[] value) => Copy(value, ScalarType.Int32);
        public static implicit operator Tensor(long[] value) => Copy(value, ScalarType.Int64);
        public static implicit operator Tensor(float[] value) => Copy(value, ScalarType.Float32);
        public static implicit operator Tensor(double[] value) => Copy(value, ScalarType.Float64);
        public static implicit operator Tensor((float, float)[] value) => Copy(value, ScalarType.ComplexFloat32);
        public static implicit operator Tensor(Complex[] value) => Copy(value, ScalarType.ComplexFloat64);
        public static implicit operator Tensor(Scalar scalar) => Ops.scalar_tensor.Call(scalar, scalar.Type);

        private static Tensor Copy<T>(T[] values, ScalarType type) where T : unmanaged
        {
            using var number = Ops.scalar_tensor.Call(0, type);
            var copy = number.new_empty(values.Length);
            MemoryMarshal.AsBytes(values.AsSpan()).CopyTo(copy.bytes);
            return copy;
        }
    }
}
