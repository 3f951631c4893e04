using System.Buffers.Binary;
using System.Text;

namespace EmtTorch.Attack;

/// <summary>Shows each oracle a deliberate defect. An oracle that does not find it is of no use.</summary>
internal sealed class OracleCheck(string folder)
{
    private int _missed;

    public static int Run(string folder)
    {
        var check = new OracleCheck(folder);
        var (program, memory) = (Victim.Program, Victim.MemoryLimit);
        check.Processes();
        (Victim.Program, Victim.MemoryLimit) = (program, memory);
        check.Folders();
        check.Kinds();
        Victim.Program = program;
        return check._missed > 0 ? 1 : 0;
    }

    private void Expect(string defect, string? found)
    {
        _missed += found is null ? 1 : 0;
        Console.WriteLine(
            $"{(found is null ? "NOT FOUND" : "found")}: {defect}{(found is null ? "" : $": {Oracle.Shorten(found)}")}"
        );
    }

    /// <summary>Programs that end in ways that none may.</summary>
    private void Processes()
    {
        VictimEnd End(string script, double seconds = 20)
        {
            Victim.Program = ["sh", "-c", script];
            return Victim.Run(new(folder, []), seconds);
        }
        Expect("a stack trace", Oracle.Crash(End("echo '   at EmtTorch.Run.Train() in Run.cs:line 3' >&2; exit 1")));
        Expect("an exception that nobody caught", Oracle.Crash(End("echo 'Unhandled exception. X' >&2; exit 1")));
        Expect("a crash", Oracle.Crash(End("kill -SEGV $$")));
        Expect("a hang", Oracle.Crash(End("sleep 60", seconds: 1)));
        Expect("exit code 3", Oracle.Code(End("exit 3")));
        Victim.MemoryLimit = 200;
        Expect("memory without an end", Oracle.Crash(End("exec tail /dev/zero")));

        Victim.Program = ["sh", "-c", "trap '' TERM; echo ready; sleep 60 & wait"];
        using var deaf = Victim.Start(new(folder, []));
        while (deaf.Text.Length == 0)
            Thread.Sleep(10);
        deaf.Signal(Victim.Terminate, group: false);
        Expect("a signal without effect", Oracle.Crash(deaf.End(1, "end after SIGTERM")));
        Expect("exit code 1 after SIGTERM", Oracle.CodeAfter(new(1, "", null), Victim.Terminate, training: true));
        Expect("no checkpoint after SIGHUP", Oracle.CodeAfter(new(129, "", null), Victim.Hangup, training: true));
    }

    /// <summary>Folders that are not what an undisturbed run leaves.</summary>
    private void Folders()
    {
        string Make(string name, string metrics, byte weight)
        {
            var run = Path.Combine(folder, name);
            Workshop.Write(Path.Combine(run, "metrics.jsonl"), metrics);
            Workshop.Write(Path.Combine(run, "checkpoints", "latest"), "step-00000007.safetensors\n");
            const string Header = """{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}""";
            var length = new byte[8];
            BinaryPrimitives.WriteInt64LittleEndian(length, Header.Length);
            File.WriteAllBytes(
                Path.Combine(run, "checkpoints", "step-00000007.safetensors"),
                [.. length, .. Encoding.ASCII.GetBytes(Header), weight]
            );
            return run;
        }
        const string Metrics = "{\"step\":7,\"loss\":0.5,\"seconds\":1}\n";
        var right = Contents.Of(Make("right", Metrics, 1));
        string? Against(string name, string metrics, byte weight) =>
            Oracle.Difference(right, Contents.Of(Make(name, metrics, weight)));
        Expect("another weight", Against("weight", Metrics, 2));
        Expect("another loss", Against("loss", Metrics.Replace("0.5", "0.25"), 1));
        Expect("a line less", Against("line", "", 1));
        Expect("a line more", Against("more", Metrics + Metrics, 1));
        if (Against("clock", Metrics.Replace(":1}", ":2}"), 1) is { } found)
            Expect($"nothing, where only the time differs, but {found}", null);
        Expect("steps lost", KillAttack.Lost(Make("lost", Metrics.Replace("7", "20"), 1), polite: false));
        Expect("a step lost politely", KillAttack.Lost(Make("polite", Metrics.Replace("7", "8"), 1), polite: true));
    }

    /// <summary>The program itself, with a defect around it.</summary>
    private void Kinds()
    {
        var program = Victim.Program;
        string? First(string script, IAttackKind kind, int most = 12)
        {
            Victim.Program = ["sh", "-c", $"{script}", "sh", .. program];
            for (int number = 1; number <= most; number++)
            {
                var place = new AttackPlace(
                    number,
                    new Random(number),
                    Path.Combine(folder, $"check-{kind.Name}-{number}")
                );
                Directory.CreateDirectory(place.Folder);
                if (kind.Attack(place).FirstOrDefault(o => o.Problem is not null) is { } outcome)
                    return $"{outcome.What}: {outcome.Problem}";
            }
            return null;
        }
        // Templates are made by the program as it is.
        var workshop = new Workshop(folder);
        var elman = Scenarios.All[0];
        workshop.Undisturbed(elman);
        const string Forgetful = """
            case "$*" in *--resume*) find . -name metrics.jsonl -exec sed -i 1d {} + ;; esac; exec "$@"
            """;
        Expect(
            "a run that forgets a line",
            First(Forgetful, new KillAttack(workshop, 60) { Victims = [elman] }, most: 3)
        );
        Expect("files that are not named", First("exec \"$@\" >&2 2>/dev/null", new FileAttack(workshop), most: 40));
        Expect("a refusal that writes", First("date >left; exec \"$@\"", new CommandAttack(workshop, 60)));
        string? Configurations(Action<string, IReadOnlyList<string>> reader) =>
            First("", new ConfigurationAttack { Reader = reader }, most: 1);
        Expect("an exception of a reader", Configurations((_, _) => throw new InvalidCastException("defect")));
        Expect("a slow reader", Configurations((_, _) => Thread.Sleep(3000)));
    }
}
