namespace EmtTorch;

/// <summary>Opens files that are read.</summary>
internal static class InputFile
{
    /// <summary>
    /// Opens a file that another process may be writing. A pipe and a device are as an empty file: to open a pipe waits
    /// for a writer, and a device may have no end.
    /// </summary>
    /// <exception cref="IOException">The file is a folder, or cannot be opened.</exception>
    /// <exception cref="UnauthorizedAccessException">The file may not be read.</exception>
    public static Stream Open(string path)
    {
        if (Directory.Exists(path))
            throw new IOException($"{path} is a folder; a file is needed");
        return Length(path) == 0
            ? Stream.Null
            : new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, 1 << 16);
    }

    /// <summary>The bytes of a file; 0 of a pipe and of a device.</summary>
    /// <exception cref="IOException">There is no such file.</exception>
    public static long Length(string path)
    {
        var file = new FileInfo(path);
        return (file.ResolveLinkTarget(returnFinalTarget: true) as FileInfo ?? file).Length;
    }

    /// <summary>The whole text of a file.</summary>
    /// <exception cref="IOException">The file cannot be read, or is too long for a text.</exception>
    /// <exception cref="UnauthorizedAccessException">The file may not be read.</exception>
    public static string ReadText(string path)
    {
        using var file = Open(path);
        if (file.Length > LongestText)
            throw new IOException($"{path} has {file.Length} bytes; at most {LongestText} are read as one text");
        using var reader = new StreamReader(file);
        return reader.ReadToEnd();
    }

    private const long LongestText = 0x3FFFFFDF; // the longest string of .NET
}
