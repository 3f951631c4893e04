namespace EmtTorch.Tests;

/// <summary>What a test takes beside the SDK: a browser, PostgreSQL, npm, Slurm.</summary>
internal static class Requirement
{
    /// <summary>
    /// Ends the test: skipped on somebody's machine, failed where CI is set. There scripts/test.sh installs what is
    /// missing, and a test that is skipped would look like one that passes.
    /// </summary>
    /// <param name="what">What is missing, and how to get it.</param>
    public static void IsMissing(string what)
    {
        if (Environment.GetEnvironmentVariable("CI") is { Length: > 0 })
            Assert.Fail(what);
        Assert.Ignore(what);
    }
}
