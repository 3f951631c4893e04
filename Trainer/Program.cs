using System.CommandLine;
using System.CommandLine.Parsing;
using EmtTorch.Trainer;

StandardStreams.Open();
PlainWriter.Install();
if (!Directory.Exists("."))
{
    Console.Error.WriteLine("The current folder is gone: change to one that is there.");
    return Exit.Wrong;
}
var root = CommandLine.Create();

// The usage of a subcommand does not list the root's argument.
root.Arguments[0].Hidden = root.Subcommands.Any(c => c.Name == args.FirstOrDefault());

// An argument such as @run1 is a name. It is not a file with further arguments, which might name itself.
var parsed = root.Parse(args, new ParserConfiguration { ResponseFileTokenReplacer = null });
if (parsed.Errors.Count == 0)
{
    int code = Exit.Of(() =>
    {
        // --help is answered whatever stands beside it, also where an option lacks its value.
        if (parsed.Action is not { ClearsParseErrors: true })
            ExtensionsOption.Load(parsed);
        return Exit.Done;
    });
    return code == Exit.Done ? parsed.Invoke() : code;
}
foreach (var error in parsed.Errors)
{
    Console.Error.WriteLine(
        error.SymbolResult is ArgumentResult { Argument: var argument, Tokens.Count: 0 }
            ? $"{argument.Name} is missing: {argument.Description}."
            : error.Message
    );
}
Console.Error.WriteLine("--help lists what there is.");
return Exit.Wrong;
