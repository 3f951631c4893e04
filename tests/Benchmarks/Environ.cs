using System.Runtime.InteropServices;

/// <summary>The environment as native libraries read it: .NET's own is a copy.</summary>
internal static partial class Environ
{
    /// <summary>Sets a variable.</summary>
    /// <param name="variable">NAME=VALUE.</param>
    public static void Set(string variable)
    {
        var parts = variable.Split('=', 2);
        if (SetVariable(parts[0], parts[1], 1) != 0)
            throw new InvalidOperationException($"{parts[0]} cannot be set");
    }

    [LibraryImport("libc", EntryPoint = "setenv", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int SetVariable(string name, string value, int overwrite);
}
