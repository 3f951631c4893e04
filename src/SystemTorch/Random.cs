namespace TorchSharp;

public static partial class torch
{
    /// <summary>A source of random numbers with a state of its own, on one device.</summary>
    public class Generator : IDisposable
    {
        private nint _handle;

        public unsafe Generator(ulong seed = 0, Device? device = null)
        {
            device ??= CPU;
            _handle = Native.st_generator_new((int)device.type, device.index, seed);
            if (_handle == 0) Native.Throw();
        }

        private Generator(nint handle) => _handle = handle;

        /// <summary>The CPU's generator, from which operators draw that are given none.</summary>
        public static Generator Default => new(Native.st_generator_default((int)DeviceType.CPU, -1));

        public IntPtr Handle => _handle != 0 ? _handle : throw new ObjectDisposedException(nameof(Generator));

        public unsafe Device device
        {
            get
            {
                int type, index;
                Native.st_generator_device(Handle, &type, &index);
                return new Device((DeviceType)type, index);
            }
        }

        public unsafe Tensor get_state()
        {
            nint state;
            Native.Check(Native.st_generator_get_state(Handle, &state));
            return new Tensor(state);
        }

        public void set_state(Tensor value)
        {
            Native.Check(Native.st_generator_set_state(Handle, value.Handle));
            GC.KeepAlive(value);
        }

        public Generator manual_seed(long seed)
        {
            Native.Check(Native.st_generator_manual_seed(Handle, (ulong)seed));
            return this;
        }

        public long seed() => (long)Native.st_generator_seed(Handle);
        public long initial_seed() => (long)Native.st_generator_initial_seed(Handle);

        public void Dispose()
        {
            if (_handle != 0) Native.st_generator_free(_handle);
            _handle = 0;
            GC.SuppressFinalize(this);
        }

        ~Generator() => Dispose();
    }

    /// <summary>Seeds the default generators of the CPU and of every GPU.</summary>
    public static Generator manual_seed(long seed)
    {
        Native.Check(Native.st_manual_seed((ulong)seed));
        return Generator.Default;
    }

    public static Tensor get_rng_state()
    {
        using var generator = Generator.Default;
        return generator.get_state();
    }

    public static void set_rng_state(Tensor new_state)
    {
        using var generator = Generator.Default;
        generator.set_state(new_state);
    }

    public static class random
    {
        public static Tensor get_rng_state() => torch.get_rng_state();
        public static void set_rng_state(Tensor new_state) => torch.set_rng_state(new_state);
        public static Generator manual_seed(long seed) => torch.manual_seed(seed);

        public static long initial_seed()
        {
            using var generator = Generator.Default;
            return generator.initial_seed();
        }

        public static long seed()
        {
            using var generator = Generator.Default;
            return generator.seed();
        }
    }
}
