using System.Diagnostics;
using static TorchSharp.torch;

namespace EmtTorch.Kernels;

/// <summary>
/// Threads that stay alive, for calls that take a fraction of a millisecond. The items of a job are handed out one by
/// one to the threads and to the caller; any thread may do any item.
/// </summary>
/// <remarks>One job at a time uses the threads. A second caller, such as another network in the process, does its items
/// on its own thread, and so does an item that starts a job.</remarks>
internal static class SliceWorkers
{
    private sealed class Job(int items, int threads, Action<int, int> work)
    {
        public readonly ManualResetEventSlim Finished = new();
        private int _next,
            _done;
        private Exception? _failure;

        public void Work(int thread)
        {
            if (thread >= threads)
                return; // woken too late, for an earlier job; this one uses fewer threads
            for (int item; (item = Interlocked.Increment(ref _next) - 1) < items; )
            {
                try
                {
                    work(thread, item);
                }
                catch (Exception e)
                {
                    Volatile.Write(ref _failure, e);
                }
                if (Interlocked.Increment(ref _done) == items)
                    Finished.Set();
            }
        }

        public void Wait()
        {
            if (!Spin(() => Finished.IsSet))
                Finished.Wait();
            if (Volatile.Read(ref _failure) is { } e)
                throw new InvalidOperationException("A slice of the batch failed.", e);
        }
    }

    private sealed class Worker
    {
        public readonly SemaphoreSlim Waker = new(0);
        public int Asleep;
    }

    private const double SpinMicroseconds = 200;

    private static readonly Lock Gate = new();
    private static readonly List<Worker> Workers = []; // one for each thread but the caller
    private static volatile Job? s_current;
    private static int s_jobs; // the number of jobs so far

    [ThreadStatic]
    private static int s_threads;

    /// <summary>
    /// The number of threads for a kernel that this thread calls: Torch's, unless <see cref="WithKernelThreads"/> says
    /// another.
    /// </summary>
    public static int Threads => s_threads > 0 ? s_threads : get_num_threads();

    /// <summary>
    /// Does a work in which kernels use a number of threads, and Torch's operators one: their sums over a tensor depend
    /// on it.
    /// </summary>
    public static void WithKernelThreads(int threads, Action work)
    {
        var (before, torchs) = (s_threads, get_num_threads());
        try
        {
            s_threads = threads;
            set_num_threads(1);
            work();
        }
        finally
        {
            s_threads = before;
            set_num_threads(torchs);
        }
    }

    /// <summary>Does all items of a kernel on <see cref="Threads"/>, and returns when they are done.</summary>
    /// <param name="items">The number of items.</param>
    /// <param name="work">Does an item, given its number, from 0.</param>
    /// <exception cref="InvalidOperationException">An item threw the inner exception.</exception>
    public static void Run(int items, Action<int> work) => Run(items, Threads, (_, item) => work(item));

    /// <summary>Does all items, and returns when they are done.</summary>
    /// <param name="items">The number of items.</param>
    /// <param name="threads">The most threads to use, including the caller's.</param>
    /// <param name="work">Does an item, given the thread's number, below <paramref name="threads"/>, and the item's,
    /// from 0.</param>
    /// <exception cref="InvalidOperationException">An item threw the inner exception.</exception>
    public static void Run(int items, int threads, Action<int, int> work)
    {
        threads = Math.Min(threads, items);
        if (threads <= 1 || Gate.IsHeldByCurrentThread || !Gate.TryEnter())
        {
            for (int i = 0; i < items; i++)
                work(0, i);
            return;
        }
        try
        {
            while (Workers.Count < threads - 1)
                Start();
            var job = new Job(items, threads, work);
            s_current = job;
            Interlocked.Increment(ref s_jobs);
            for (int i = 0; i < threads - 1; i++)
            {
                if (Interlocked.Exchange(ref Workers[i].Asleep, 0) == 1)
                    Workers[i].Waker.Release();
            }

            job.Work(0);
            job.Wait();
            s_current = null;
        }
        finally
        {
            Gate.Exit();
        }
    }

    private static void Start()
    {
        var worker = new Worker();
        Workers.Add(worker);
        int number = Workers.Count,
            seen = Volatile.Read(ref s_jobs);
        new Thread(() =>
        {
            while (true)
            {
                // The time between two training steps is shorter than falling asleep and waking up.
                if (!Spin(() => Volatile.Read(ref s_jobs) != seen))
                {
                    Volatile.Write(ref worker.Asleep, 1);
                    Thread.MemoryBarrier();
                    // A job that starts now either has seen the flag and wakes this thread, or is seen here.
                    if (Volatile.Read(ref s_jobs) == seen || Interlocked.Exchange(ref worker.Asleep, 0) == 0)
                        worker.Waker.Wait();
                }
                seen = Volatile.Read(ref s_jobs);
                s_current?.Work(number);
            }
        })
        {
            IsBackground = true,
            Name = $"EmtTorch slice {number}",
        }.Start();
    }

    /// <summary>Waits for a condition for a short time, without sleeping; returns whether it holds.</summary>
    private static bool Spin(Func<bool> condition)
    {
        for (long start = Stopwatch.GetTimestamp(); !condition(); )
        {
            if (Stopwatch.GetElapsedTime(start).TotalMicroseconds > SpinMicroseconds)
                return false;
            Thread.SpinWait(8);
        }
        return true;
    }
}
