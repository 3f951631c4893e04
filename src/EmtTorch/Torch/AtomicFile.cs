using System.Runtime.InteropServices;
using System.Text;

namespace EmtTorch;

/// <summary>Files that are there whole or not at all, also after a power cut.</summary>
public static partial class AtomicFile
{
    /// <summary>What unfinished files end in; a folder's owner removes those that a kill left behind.</summary>
    internal const string Unfinished = ".tmp";

    /// <summary>
    /// Writes to another name in the same folder, flushes to the disk, renames, and flushes the folder.
    /// </summary>
    /// <exception cref="IOException">The file can't be written; the one that was there stays.</exception>
    public static void Write(string path, Action<FileStream> write)
    {
        // A name of its own: several processes may write one file, the copy of a sweep that they share for example.
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

    /// <summary>Writes text, UTF-8, likewise.</summary>
    /// <exception cref="IOException">The file can't be written; the one that was there stays.</exception>
    public static void WriteText(string path, string text) =>
        Write(path, stream => stream.Write(Encoding.UTF8.GetBytes(text)));

    // The rename itself is in the folder, and .NET opens no folders.
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
