using System.Runtime.InteropServices;
using System.Text;

namespace EmtTorch;

/// <summary>Writes files that exist whole or not at all, even after a power cut.</summary>
internal static partial class AtomicFile
{
    /// <summary>The ending of unfinished files. The owner of a folder removes those that a kill left.</summary>
    public const string Unfinished = ".tmp";

    /// <summary>
    /// Writes a file under another name in the same folder, flushes it to the disk, renames it, and flushes the folder.
    /// </summary>
    /// <exception cref="IOException">The file cannot be written; an existing one stays.</exception>
    public static void Write(string path, Action<FileStream> write)
    {
        // A name of its own, since several processes may write the same file, such as the sweep that they share.
        var temporary = $"{path}.{Guid.NewGuid():N}{Unfinished}";
        try
        {
            using (var stream = new FileStream(temporary, FileMode.Create, FileAccess.Write, FileShare.None))
            {
                write(stream);
                stream.Flush(flushToDisk: true);
            }
            File.Move(temporary, path, overwrite: true);
        }
        catch
        {
            if (File.Exists(temporary))
                File.Delete(temporary);
            throw;
        }
        if (OperatingSystem.IsLinux())
            FlushFolder(Path.GetDirectoryName(Path.GetFullPath(path))!);
    }

    /// <summary>Writes a file of text in UTF-8, as <see cref="Write"/>.</summary>
    /// <exception cref="IOException">The file cannot be written; an existing one stays.</exception>
    public static void WriteText(string path, string text) =>
        Write(path, stream => stream.Write(Encoding.UTF8.GetBytes(text)));

    // A rename changes the folder, which .NET cannot open.
    private static void FlushFolder(string folder)
    {
        const int readOnly = 0;
        int descriptor = Open(folder, readOnly);
        if (descriptor < 0)
            return;
        _ = Synchronize(descriptor);
        _ = Close(descriptor);
    }

    [LibraryImport("libc", EntryPoint = "open", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "fsync")]
    private static partial int Synchronize(int descriptor);

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int Close(int descriptor);
}
