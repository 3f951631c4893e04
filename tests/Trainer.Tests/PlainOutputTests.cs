using EmtTorch.Settings;

namespace EmtTorch.Trainer.Tests;

/// <summary>What people read on a terminal: no codes from files, no passwords, nothing that is cut amid a word.</summary>
public sealed class PlainOutputTests : InTemporaryFolder
{
    private const string Small = """
        { "device": "cpu", "threads": 1, "task": { "name": "repeat_copy", "d": 2, "s": 2 },
          "model": { "hidden_size": 8 }, "training": { "steps": 40, "batch_size": 8, "log_interval": 10,
            "curriculum": { "horizons": [4] } }, "evaluation": { "horizon": 6, "batches": 1, "batch_size": 8 } }
        """;

    private string Config(string text = Small)
    {
        var path = Path.Combine(Folder, "small.json");
        File.WriteAllText(path, text);
        return path;
    }

    private (int Code, string Output, string Error) Run(params string[] arguments) =>
        Command.RunTrainer(Folder, arguments);

    [TestCase("plain\ttext\n", "plain\ttext\n")]
    [TestCase("a\r\nb\rc", "a\r\nb\\u000dc")]
    [TestCase("\u001b[31mred\u009b0m\a", "\\u001b[31mred\\u009b0m\\u0007")]
    public void ControlCharactersAreWrittenAsTheirCodes(string text, string written)
    {
        using var inner = new StringWriter();
        using var writer = new PlainWriter(inner);
        writer.Write(text);
        writer.WriteLine(text.ToCharArray());
        Assert.That(inner.ToString(), Is.EqualTo(written + written + writer.NewLine));
    }

    [Test, Category(Layer.Process)]
    public void AFilesCodesDoNotReachTheTerminal()
    {
        var (code, _, error) = Run(Config("""{ "\u001b]0;title\u0007": 1, "task": { "name": "t1" } }"""));
        Assert.That(code, Is.EqualTo(2));
        Assert.That(error, Does.Contain(@"\u001b]0;title\u0007: unknown key").And.Not.Contain("\u001b"));
    }

    [TestCase("step 5 of 60  loss 0.10000  horizon 9", 100, "step 5 of 60  loss 0.10000  horizon 9")]
    [TestCase("step 5 of 60  loss 0.10000  horizon 9", 36, "step 5 of 60  loss 0.10000")]
    [TestCase("step 5 of 60  loss 0.10000  horizon 9", 26, "step 5 of 60  loss 0.10000")]
    [TestCase("step 5 of 60  loss 0.10000  horizon 9", 25, "step 5 of 60")]
    [TestCase("one, seed 1: 5 %   two, seed 1: 7 %", 20, "one, seed 1: 5 %")]
    [TestCase("step 5 of 60  loss 0.10000", 11, "step 5 of")]
    [TestCase("step 5 of 60  loss 0.10000", 1, "")]
    [TestCase("step 5 of 60  loss 0.10000", 0, "")]
    public void ALineIsCutBetweenFigures(string line, int width, string cut) =>
        Assert.That(Screen.Cut(line, width), Is.EqualTo(cut));

    [TestCase("runs/t1/seed-1", "runs/t1/seed-1")]
    [TestCase("my runs", "'my runs'")]
    [TestCase("a'b$(c)", @"'a'\''b$(c)'")]
    [TestCase("-out", "./-out")]
    [TestCase("", "''")]
    public void WordsOfSuggestedCommandsAreQuoted(string path, string word) =>
        Assert.That(ShellWord.Quote(path), Is.EqualTo(word));

    [Test, Category(Layer.Process)]
    public void ASuggestedCommandRunsAsItIs()
    {
        var (code, output, _) = Run(Config(), "--out", "a b$c", "--seeds", "1-2");
        Assert.That(code, Is.Zero);
        var suggested = output.Split("-- analyze ")[1].Trim();
        Assert.That(suggested, Is.EqualTo("'a b$c/small'/seed-*"));
        using var shell = Command.Start(Folder, "sh", ["-c", $"dotnet {Command.TrainerFile} analyze {suggested}"]);
        Assert.That(shell.End().Code, Is.Zero);
    }

    [Test, Category(Layer.Process)]
    public void ADumbTerminalGetsNoCodes([Values("dumb", "xterm")] string term, [Values(1, 80)] int columns)
    {
        if (!File.Exists("/usr/bin/script"))
            Requirement.IsMissing("script is missing: apt-get install bsdutils");
        var trainer = $"stty cols {columns}; dotnet {Command.TrainerFile} {Config()}";
        using var script = Command.Start(Folder, "script", ["-qec", trainer, "/dev/null"], ("TERM", term), ("CI", ""));
        var (code, output, _) = script.End();
        Assert.That(code, Is.Zero, output);
        bool live = output.Contains("\u001b[2K", StringComparison.Ordinal);
        Assert.That(live, Is.EqualTo(term == "xterm" && columns > 1));
        if (term == "dumb")
            Assert.That(output, Does.Not.Contain("\u001b").And.Contains("step 10 of 40"));
    }

    [TestCase("Host=a;Password=hunter2 x;Database=d", "Host=a;Password=…;Database=d")]
    [TestCase("Host=a;PWD = 'hunter2;x';Database=d", "Host=a;PWD = …;Database=d")]
    [TestCase("SSL Password=\"hunter2;x\";Database=d", "SSL Password=…;Database=d")]
    [TestCase("Password=hunter2", "Password=…")]
    [TestCase("postgres://me:hunter2@db/x", "postgres://me:…@db/x")]
    [TestCase("cuda:1 at a@b", "cuda:1 at a@b")]
    public void ProblemsSayNoPassword(string text, string said) =>
        Assert.That(new ConfigurationProblem("key", text).ToString(), Is.EqualTo($"key: {said}"));

    [TestCase("model.retrieval.connection")]
    [TestCase("model.retrieval.conection")]
    [TestCase("connection")]
    [Category(Layer.Process)]
    public void AConnectionStringInTheWrongPlaceIsNotRepeated(string key)
    {
        var (code, output, error) = Run(Config(), "--set", $"{key}=Host=db;Username=me;Password=hunter2;Database=d");
        Assert.That(code, Is.EqualTo(2));
        Assert.That(error, Does.Contain(key));
        Assert.That(output + error, Does.Not.Contain("hunter2"));
    }

    [TestCase("log.jsonl")]
    [TestCase("metrics.jsonl")]
    [TestCase("failures.jsonl")]
    [Category(Layer.Process)]
    public void NothingIsAppendedThroughALink(string file)
    {
        var (run, elsewhere) = (Path.Combine(Folder, "runs", "small", "seed-1"), Path.Combine(Folder, "elsewhere"));
        Directory.CreateDirectory(run);
        File.WriteAllText(elsewhere, "mine");
        File.CreateSymbolicLink(Path.Combine(run, file), elsewhere);
        var (code, _, error) = Run(Config());
        Assert.That(code, Is.EqualTo(2), error);
        Assert.That(error, Does.Contain($"{file} is a link to {elsewhere}"));
        Assert.That(File.ReadAllText(elsewhere), Is.EqualTo("mine"));
        Assert.That(Directory.GetFileSystemEntries(run), Has.Length.EqualTo(1), "nothing is written");
    }
}
