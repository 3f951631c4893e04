namespace EmtTorch.Tests;

/// <summary>Layers of tests: scripts/test.sh runs one by one. A test without a category is a unit test.</summary>
internal static class Layer
{
    /// <summary>Against numbers that another program recorded in files beside the tests.</summary>
    public const string Reference = "reference";

    /// <summary>Runs the command line as a user does, and interrupts or kills it.</summary>
    public const string Process = "process";

    /// <summary>Needs PostgreSQL, npm, Slurm or Chromium.</summary>
    public const string External = "external";

    /// <summary>Takes long by nature. The test says why.</summary>
    public const string Slow = "slow";
}
