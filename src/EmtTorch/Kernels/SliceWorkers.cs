using System.Diagnostics;

namespace EmtTorch.Kernels;

/// <summary>
/// Threads that stay, for work of a fraction of a millisecond a call: the items of a job are handed out one by one, the
/// caller works too, and nothing is said about which thread does which item.
/// </summary>
/// <remarks>One job at a time uses the threads. A second caller meanwhile, another network in the same process say,
/// does its own items on its own thread, and so does an item that has a job of its own.</remarks>
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
                return; // woken for an earlier job, too late for it, and this one wants fewer
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
    private static readonly List<Worker> Workers = []; // one for each thread, the caller excepted
    private static volatile Job? s_current;
    private static int s_jobs; // so far

    /// <summary>Does all items and returns when they are done.</summary>
    /// <param name="items">Items, numbered from 0.</param>
    /// <param name="threads">The most threads to use, the caller's among them.</param>
    /// <param name="work">Given the thread's number, below <paramref name="threads"/>, and the item's.</param>
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
                // Between two training steps there is less time than falling asleep and waking up take.
                if (!Spin(() => Volatile.Read(ref s_jobs) != seen))
                {
                    Volatile.Write(ref worker.Asleep, 1);
                    Thread.MemoryBarrier();
                    // A job that came meanwhile has either seen that flag, and then wakes, or is seen here.
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

    /// <summary>Looks again and again for a while; false where it has not come.</summary>
    private static bool Spin(Func<bool> come)
    {
        for (long start = Stopwatch.GetTimestamp(); !come(); )
        {
            if (Stopwatch.GetElapsedTime(start).TotalMicroseconds > SpinMicroseconds)
                return false;
            Thread.SpinWait(8);
        }
        return true;
    }
}
