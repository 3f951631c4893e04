namespace TorchSharp;

public enum DeviceType
{
    CPU = 0,
    CUDA = 1,
    MKLDNN = 2,
    OPENGL = 3,
    OPENCL = 4,
    IDEEP = 5,
    HIP = 6,
    FPGA = 7,
    MSNPU = 8,
    XLA = 9,
    MPS = 13,
    META = 14,
}

public static partial class torch
{
    /// <summary>A dtype; the numbers are libtorch's own.</summary>
    public enum ScalarType : sbyte
    {
        Byte = 0,
        Int8 = 1,
        Int16 = 2,
        Int32 = 3,
        Int64 = 4,
        Float16 = 5,
        Float32 = 6,
        Float64 = 7,
        ComplexFloat32 = 9,
        ComplexFloat64 = 10,
        Bool = 11,
        QInt8 = 12,
        QUInt8 = 13,
        QInt32 = 14,
        BFloat16 = 15,
    }

    public const ScalarType uint8 = ScalarType.Byte;
    public const ScalarType int8 = ScalarType.Int8;
    public const ScalarType int16 = ScalarType.Int16;
    public const ScalarType @short = ScalarType.Int16;
    public const ScalarType int32 = ScalarType.Int32;
    public const ScalarType @int = ScalarType.Int32;
    public const ScalarType int64 = ScalarType.Int64;
    public const ScalarType @long = ScalarType.Int64;
    public const ScalarType float16 = ScalarType.Float16;
    public const ScalarType half = ScalarType.Float16;
    public const ScalarType bfloat16 = ScalarType.BFloat16;
    public const ScalarType float32 = ScalarType.Float32;
    public const ScalarType @float = ScalarType.Float32;
    public const ScalarType float64 = ScalarType.Float64;
    public const ScalarType @double = ScalarType.Float64;
    public const ScalarType complex64 = ScalarType.ComplexFloat32;
    public const ScalarType complex128 = ScalarType.ComplexFloat64;
    public const ScalarType @bool = ScalarType.Bool;

    /// <summary>Where a tensor is: a kind of device and its number, -1 for the current one.</summary>
    public class Device
    {
        public DeviceType type { get; }
        public int index { get; }

        /// <param name="description">`cpu`, `cuda` or `cuda:1`.</param>
        /// <exception cref="ArgumentException">The text is none of these.</exception>
        public Device(string description)
        {
            var parts = description.Split(':');
            type = ParseType(parts[0]);
            int number = -1;
            if (parts.Length > 2 || (parts.Length == 2 && !int.TryParse(parts[1], out number)))
                throw new ArgumentException($"'{description}' is not a device: cpu, cuda or cuda:N is one.", nameof(description));
            index = number;
        }

        public Device(string deviceType, int index = -1) : this(ParseType(deviceType), index) { }

        public Device(DeviceType deviceType, int index = -1) => (type, this.index) = (deviceType, index);

        /// <summary>A CUDA device by its number.</summary>
        public Device(int index) : this(DeviceType.CUDA, index) { }

        public override string ToString() => type == DeviceType.CPU || index < 0 ? type.ToString().ToLowerInvariant() : $"{type.ToString().ToLowerInvariant()}:{index}";

        public static implicit operator Device(string description) => new(description);

        private static DeviceType ParseType(string name) => name.ToLowerInvariant() switch
        {
            "cpu" => DeviceType.CPU,
            "cuda" => DeviceType.CUDA,
            "mps" => DeviceType.MPS,
            "meta" => DeviceType.META,
            _ => throw new ArgumentException($"'{name}' is not a kind of device: cpu, cuda or meta is one."),
        };
    }

    public static Device CPU = new(DeviceType.CPU);
    public static Device CUDA => new(DeviceType.CUDA);
    public static Device META = new(DeviceType.META);

    public static Device device(string description) => new(description);
    public static Device device(string deviceType, int index = -1) => new(deviceType, index);
    public static Device device(DeviceType deviceType, int index = -1) => new(deviceType, index);
    public static Device device(int index) => new(index);

    /// <summary>Returns the device, or the CPU for null.</summary>
    /// <exception cref="InvalidOperationException">CUDA is asked for and not there.</exception>
    public static Device InitializeDevice(Device? device)
    {
        device ??= CPU;
        if (device.type == DeviceType.CUDA && !cuda.is_available())
            throw new InvalidOperationException("CUDA is not available: no NVIDIA GPU, or a libtorch without CUDA.");
        return device;
    }

    public static class cuda
    {
        public static bool is_available() => Native.st_cuda_available() != 0;
        public static bool is_cudnn_available() => Native.st_cudnn_available() != 0;
        public static int device_count() => Native.st_cuda_device_count();
        public static void manual_seed(long seed) => Native.Check(Native.st_cuda_manual_seed((ulong)seed, 0));
        public static void manual_seed_all(long seed) => Native.Check(Native.st_cuda_manual_seed((ulong)seed, 1));

        /// <summary>Waits until the device has done all that was asked of it.</summary>
        public static void synchronize(Device? device = null) => Native.Check(Native.st_cuda_synchronize(device?.index ?? -1));
    }

    public static class backends
    {
        public static class cuda
        {
            public static class matmul
            {
                /// <summary>Whether float32 products may round their factors to TF32 on the GPU.</summary>
                public static bool allow_tf32
                {
                    get => Native.st_cuda_allow_tf32() != 0;
                    set => Native.st_cuda_set_allow_tf32(value ? 1 : 0);
                }
            }
        }
    }

    public static int get_num_threads() => Native.st_get_num_threads();
    public static void set_num_threads(int num) => Native.Check(Native.st_set_num_threads(num));
    public static int get_num_interop_threads() => Native.st_get_num_interop_threads();
    public static void set_num_interop_threads(int num) => Native.Check(Native.st_set_num_interop_threads(num));
    public static string __version__ => Native.Version;
}
