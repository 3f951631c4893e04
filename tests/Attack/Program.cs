using System.CommandLine;
using System.Runtime.InteropServices;
using System.Runtime.Versioning;
using EmtTorch.Attack;

[assembly: SupportedOSPlatform("linux")]

var seed = new Option<long>("--seed") { Description = "The seed of all attacks", DefaultValueFactory = _ => 1 };
var kind = new Option<string[]>("--kind")
{
    Description = "What is attacked: kills, files, configurations, commands, or all",
    DefaultValueFactory = _ => ["all"],
};
var budget = new Option<double?>("--budget") { Description = "Seconds, divided among the kinds", HelpName = "SECONDS" };
var count = new Option<int?>("--count") { Description = "Attacks of each kind (default: 100, if there is no budget)" };
var first = new Option<long>("--first")
{
    Description = "The number of the first attack; with --count 1 the one of a finding",
    DefaultValueFactory = _ => 1,
};
var jobs = new Option<int>("--jobs")
{
    Description = "Attacks at the same time",
    DefaultValueFactory = _ => Environment.ProcessorCount,
};
var limit = new Option<double>("--limit")
{
    Description = "Seconds in which a process must end after a signal, or a wrong command line must be refused",
    DefaultValueFactory = _ => 10,
};
var output = new Option<string?>("--out")
{
    Description = "Where findings and attack.md and attack.json go (default: a new temporary folder)",
    HelpName = "FOLDER",
};
var check = new Option<bool>("--check") { Description = "Attacks nothing; shows each oracle a deliberate defect" };
var root = new RootCommand(
    "Attacks the command line at random: kills, damaged files, mutated configurations, abused options. Prints what was "
        + "tried, what held and what was found. Exit code 1: something was found.\n\n"
        + "  Attack --kind kills --count 1000 --seed 7"
)
{
    seed,
    kind,
    budget,
    count,
    first,
    jobs,
    limit,
    output,
    check,
};
root.SetAction(parsed =>
{
    var folder = parsed.GetValue(output) ?? NewFolder();
    Directory.CreateDirectory(folder);
    folder = Path.GetFullPath(folder);
    if (parsed.GetValue(check))
        return OracleCheck.Run(folder);
    var workshop = new Workshop(folder);
    IAttackKind[] known =
    [
        new KillAttack(workshop, parsed.GetValue(limit)),
        new FileAttack(workshop),
        new ConfigurationAttack(),
        new CommandAttack(workshop, parsed.GetValue(limit)),
    ];
    var wanted = parsed.GetValue(kind)!;
    if (wanted.FirstOrDefault(w => w != "all" && known.All(k => k.Name != w)) is { } unknown)
    {
        Console.Error.WriteLine($"--kind: '{unknown}' is not one of kills, files, configurations, commands and all");
        return 2;
    }
    var kinds = known.Where(k => wanted.Contains("all") || wanted.Contains(k.Name)).ToList();
    var seconds = parsed.GetValue(budget) / kinds.Count;
    var attacks = parsed.GetValue(count) ?? (seconds is null ? 100 : null);
    var settings = new CampaignSettings(
        parsed.GetValue(seed),
        parsed.GetValue(first),
        attacks,
        seconds,
        Math.Max(1, parsed.GetValue(jobs)),
        folder
    );
    var campaign = new Campaign(settings);
    // Ctrl-C shows the table of what has been tried.
    using var interrupt = PosixSignalRegistration.Create(
        PosixSignal.SIGINT,
        context =>
        {
            context.Cancel = true;
            campaign.Stop();
        }
    );
    foreach (var some in kinds)
        campaign.Run(some);
    campaign.Report();
    return campaign.Found > 0 ? 1 : 0;
});
return root.Parse(args).Invoke();

// In memory where there is some: checkpoints are flushed to disk.
static string NewFolder() =>
    Directory.Exists("/dev/shm")
        ? Directory.CreateDirectory($"/dev/shm/emttorch-attack-{Environment.ProcessId}").FullName
        : Directory.CreateTempSubdirectory("emttorch-attack-").FullName;
