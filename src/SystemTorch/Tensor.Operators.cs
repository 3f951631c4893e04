namespace TorchSharp;

public static partial class torch
{
    public partial class Tensor
    {
        public Tensor cpu() => to(CPU);
        public Tensor to(Device device, bool copy = false, bool disposeAfter = false, bool non_blocking = false) => throw new NotImplementedException();
    }
}
