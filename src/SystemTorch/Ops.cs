namespace TorchSharp;

/// <summary>The ATen operators that the C# calls, each named `name_Overload`.</summary>
internal static partial class Ops
{
    internal static readonly Operator item = new("item"), equal = new("equal");
}
