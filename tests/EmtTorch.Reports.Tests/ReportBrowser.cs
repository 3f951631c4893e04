using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net.WebSockets;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace EmtTorch.Reports.Tests;

/// <summary>A headless Chromium without a network, driven through the DevTools protocol.</summary>
internal sealed class ReportBrowser : IAsyncDisposable
{
    private readonly Process _process;
    private readonly string _profile;
    private readonly ClientWebSocket _socket = new();
    private readonly ConcurrentDictionary<int, TaskCompletionSource<JsonNode>> _pending = new();
    private Task _reading = Task.CompletedTask;
    private string _session = "";
    private int _calls;

    /// <summary>What the open page said: "error: …", "warning: …".</summary>
    public ConcurrentQueue<string> Console { get; } = new();

    private ReportBrowser(Process process, string profile) => (_process, _profile) = (process, profile);

    /// <returns>Null where this machine has no Chromium or Chrome.</returns>
    public static string? Find()
    {
        if (Environment.GetEnvironmentVariable("CHROMIUM") is { Length: > 0 } chosen)
            return chosen;
        string[] names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
        var folders = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(
            Path.PathSeparator,
            StringSplitOptions.RemoveEmptyEntries
        );
        string[] others = ["/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"];
        return folders
            .SelectMany(folder => names.Select(name => Path.Combine(folder, name)))
            .Concat(others)
            .FirstOrDefault(File.Exists);
    }

    public static async Task<ReportBrowser> Start(string chromium, CancellationToken cancel)
    {
        string profile = Directory.CreateTempSubdirectory("emttorch-chromium-").FullName;
        var start = new ProcessStartInfo(chromium) { RedirectStandardError = true, RedirectStandardOutput = true };
        // A proxy on a port that nothing listens to: whatever the page asks of a network fails.
        foreach (
            string option in (string[])
                [
                    "--headless=new",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--disable-dev-shm-usage",
                    "--no-first-run",
                    "--proxy-server=127.0.0.1:9",
                    "--remote-debugging-port=0",
                    $"--user-data-dir={profile}",
                    "about:blank",
                ]
        )
        {
            start.ArgumentList.Add(option);
        }

        var browser = new ReportBrowser(Process.Start(start)!, profile);
        try
        {
            browser._process.OutputDataReceived += (_, _) => { };
            browser._process.BeginOutputReadLine();
            string? line;
            const string Listening = "DevTools listening on ";
            do line = await browser._process.StandardError.ReadLineAsync(cancel);
            while (line is not null && !line.StartsWith(Listening, StringComparison.Ordinal));
            if (line is null)
                throw new InvalidOperationException($"{chromium} did not start.");
            // A full pipe would stop it
            _ = browser._process.StandardError.BaseStream.CopyToAsync(Stream.Null, CancellationToken.None);
            await browser._socket.ConnectAsync(new Uri(line[Listening.Length..]), cancel);
            browser._reading = browser.Read();
            return browser;
        }
        catch
        {
            browser._process.Kill(entireProcessTree: true);
            throw;
        }
    }

    /// <summary>Opens a file in a new tab and waits until its script has drawn everything.</summary>
    public async Task Open(string file, int width = 1200)
    {
        if (_session != "")
            await Call("Page.close");
        string target = (await Call("Target.createTarget", new() { ["url"] = "about:blank" }, session: false))[
            "targetId"
        ]!.GetValue<string>();
        _session = (
            await Call("Target.attachToTarget", new() { ["targetId"] = target, ["flatten"] = true }, session: false)
        )["sessionId"]!.GetValue<string>();
        Console.Clear();
        foreach (string domain in (string[])["Page", "Runtime", "Log"])
            await Call($"{domain}.enable");
        await Resize(width);
        await Call("Page.navigate", new() { ["url"] = new Uri(file).AbsoluteUri });
        await Wait("document.documentElement?.dataset.ready === 'true'");
    }

    public Task Resize(int width) =>
        Call(
            "Emulation.setDeviceMetricsOverride",
            new()
            {
                ["width"] = width,
                ["height"] = 900,
                ["deviceScaleFactor"] = 1,
                ["mobile"] = width < 600,
            }
        );

    /// <summary>The value of an expression, or of the promise that it is.</summary>
    public async Task<JsonNode?> Evaluate(string script)
    {
        var reply = await Call(
            "Runtime.evaluate",
            new()
            {
                ["expression"] = script,
                ["awaitPromise"] = true,
                ["returnByValue"] = true,
            }
        );
        if (reply["exceptionDetails"] is { } thrown)
            throw new InvalidOperationException(thrown.ToJsonString());
        return reply["result"]!["value"];
    }

    public async Task<T> Evaluate<T>(string script) => (await Evaluate(script))!.GetValue<T>();

    public async Task Wait(string condition, int seconds = 20)
    {
        var clock = Stopwatch.StartNew();
        while (!await Evaluate<bool>($"!!({condition})"))
        {
            if (clock.Elapsed.TotalSeconds > seconds)
                throw new TimeoutException($"Never true: {condition}. Console: {string.Join("; ", Console)}");
            await Task.Delay(50);
        }
    }

    /// <summary>Presses and releases a key, such as ArrowRight.</summary>
    public async Task Key(string name)
    {
        int code = name switch
        {
            "ArrowLeft" => 37,
            "ArrowRight" => 39,
            _ => throw new ArgumentException(name),
        };
        foreach (string type in (string[])["keyDown", "keyUp"])
        {
            await Call(
                "Input.dispatchKeyEvent",
                new()
                {
                    ["type"] = type,
                    ["key"] = name,
                    ["code"] = name,
                    ["windowsVirtualKeyCode"] = code,
                }
            );
        }
    }

    public async Task Screenshot(string file)
    {
        var reply = await Call(
            "Page.captureScreenshot",
            new() { ["format"] = "png", ["captureBeyondViewport"] = true }
        );
        await File.WriteAllBytesAsync(file, Convert.FromBase64String(reply["data"]!.GetValue<string>()));
    }

    /// <summary>As on "print" or on "screen".</summary>
    public Task Media(string media) => Call("Emulation.setEmulatedMedia", new() { ["media"] = media });

    private async Task<JsonNode> Call(string method, JsonObject? parameters = null, bool session = true)
    {
        int id = Interlocked.Increment(ref _calls);
        var reply = _pending[id] = new(TaskCreationOptions.RunContinuationsAsynchronously);
        var message = new JsonObject
        {
            ["id"] = id,
            ["method"] = method,
            ["params"] = parameters ?? [],
        };
        if (session)
            message["sessionId"] = _session;
        await _socket.SendAsync(
            JsonSerializer.SerializeToUtf8Bytes(message),
            WebSocketMessageType.Text,
            true,
            CancellationToken.None
        );
        return await reply.Task.WaitAsync(TimeSpan.FromSeconds(30));
    }

    private async Task Read()
    {
        var buffer = new byte[1 << 16];
        try
        {
            while (true)
            {
                using var bytes = new MemoryStream();
                WebSocketReceiveResult part;
                do
                {
                    part = await _socket.ReceiveAsync(buffer, CancellationToken.None);
                    if (part.MessageType == WebSocketMessageType.Close)
                        return;
                    bytes.Write(buffer, 0, part.Count);
                } while (!part.EndOfMessage);
                Handle(JsonNode.Parse(bytes.ToArray())!);
            }
        }
        catch (WebSocketException) { } // closed
    }

    private void Handle(JsonNode message)
    {
        if (message["id"] is { } id)
        {
            if (!_pending.TryRemove(id.GetValue<int>(), out var reply))
                return;
            if (message["error"] is { } error)
                reply.SetException(new InvalidOperationException(error.ToJsonString()));
            else
                reply.SetResult(message["result"]!);
            return;
        }
        if (message["sessionId"]?.GetValue<string>() != _session)
            return;
        var about = message["params"];
        switch (message["method"]?.GetValue<string>())
        {
            case "Runtime.consoleAPICalled" when about!["type"]!.GetValue<string>() is "error" or "warning" or "assert":
                Console.Enqueue($"{about["type"]}: {about["args"]!.ToJsonString()}");
                break;
            case "Runtime.exceptionThrown":
                Console.Enqueue($"error: {about!["exceptionDetails"]!.ToJsonString()}");
                break;
            case "Log.entryAdded":
                Console.Enqueue($"{about!["entry"]!["level"]}: {about["entry"]!["text"]}");
                break;
        }
    }

    public async ValueTask DisposeAsync()
    {
        try
        {
            await Call("Browser.close", session: false);
            await _process.WaitForExitAsync().WaitAsync(TimeSpan.FromSeconds(5));
        }
        catch (Exception e) when (e is WebSocketException or TimeoutException or InvalidOperationException)
        {
            _process.Kill(entireProcessTree: true);
        }
        await _reading;
        _socket.Dispose();
        _process.Dispose();
        try
        {
            Directory.Delete(_profile, recursive: true);
        }
        catch (IOException) { } // a late child of the browser still writes there; it is a temporary folder
    }
}
