using System.Runtime.InteropServices;

namespace EmtTorch.Trainer;

/// <summary>
/// Standard output and error, which may be closed, broken or full. What cannot be written is dropped, and the command
/// goes on: results are in files.
/// </summary>
internal static partial class StandardStreams
{
    private const int ReadWrite = 2,
        GetFlags = 1,
        CloseOnExec = 1;

    /// <summary>Standard output, for bytes.</summary>
    public static Stream Output { get; private set; } = Stream.Null;

    /// <summary>Whether standard output was given, and could not be written.</summary>
    public static bool OutputFailed { get; private set; }

    /// <summary>Puts streams that never fail in place of the console's own.</summary>
    public static void Open()
    {
        bool output = IsGiven(1),
            error = IsGiven(2);
        // Otherwise a file that is opened later has the number of a closed stream, and libtorch writes to it.
        for (int stream = 0; stream <= 2 && !OperatingSystem.IsWindows(); stream++)
        {
            if (Control(stream, GetFlags) < 0)
                _ = Open("/dev/null", ReadWrite); // gets the lowest free number
        }
        Output = output ? new DroppingStream(Console.OpenStandardOutput(), TellOfOutput) : Stream.Null;
        Console.SetOut(Writer(Output));
        Console.SetError(Writer(error ? new DroppingStream(Console.OpenStandardError(), _ => { }) : Stream.Null));
    }

    /// <summary>
    /// Whether the program was started with a stream. A closed one's number may have become a file of the runtime:
    /// these are closed on exec, and so differ from a stream that came through one.
    /// </summary>
    private static bool IsGiven(int stream) =>
        OperatingSystem.IsWindows() || Control(stream, GetFlags) is >= 0 and var flags && (flags & CloseOnExec) == 0;

    private static void TellOfOutput(string reason)
    {
        OutputFailed = true;
        Console.Error.WriteLine($"Standard output cannot be written: {reason}. What is printed from here on is lost.");
    }

    private static StreamWriter Writer(Stream stream) => new(stream, Console.OutputEncoding) { AutoFlush = true };

    [LibraryImport("libc", EntryPoint = "fcntl")]
    private static partial int Control(int stream, int command);

    [LibraryImport("libc", EntryPoint = "open", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    /// <summary>Passes on what is written until that fails, and drops the rest. A broken pipe never fails.</summary>
    private sealed class DroppingStream(Stream to, Action<string> failed) : Stream
    {
        private bool _broken;

        public override bool CanRead => false;
        public override bool CanSeek => false;
        public override bool CanWrite => true;
        public override long Length => throw new NotSupportedException();
        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            if (_broken)
                return;
            try
            {
                to.Write(buffer);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                _broken = true;
                failed(e.Message);
            }
        }

        public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

        public override void Flush() { }

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();
    }
}
