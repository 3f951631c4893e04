using System.Collections;
using System.Reflection;
using TorchSharp;

namespace EmtTorch.Tests;

/// <summary>
/// TorchSharp's own record of the functions of autograd that live: one that is never freed stays in it.
/// </summary>
internal static class AutogradNodes
{
    private static readonly IList Alive = (IList)(
        typeof(torch.autograd)
            .GetNestedType("Node", BindingFlags.NonPublic)
            ?.GetField("AliveNodes", BindingFlags.NonPublic | BindingFlags.Static)
            ?.GetValue(null)
        ?? throw new MissingFieldException("this TorchSharp keeps no torch.autograd.Node.AliveNodes")
    );

    /// <summary>How many there are.</summary>
    public static int Count
    {
        get
        {
            lock (Alive)
                return Alive.Count;
        }
    }
}
