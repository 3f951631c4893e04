using static TorchSharp.torch;

namespace EmtTorch.Models;

/// <summary>
/// Soft orthogonality: β ‖WᵀW − I‖² (Frobenius) is added to the loss and draws the singular values of W to 1 (Vorontsov
/// et al. 2017).
/// </summary>
internal static class SpectralPenalty
{
    /// <summary>The gradient for β = 1: 4 W (WᵀW − I).</summary>
    /// <param name="weight">W (…, H, H), one matrix or several.</param>
    public static Tensor Gradient(Tensor weight)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        var identity = eye(weight.shape[^1], dtype: weight.dtype, device: weight.device);
        return matmul(weight, matmul(weight.transpose(-2, -1), weight).sub_(identity))
            .mul_(4)
            .MoveToOuterDisposeScope();
    }
}
