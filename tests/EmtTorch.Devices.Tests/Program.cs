using EmtTorch;
using NUnit.Framework.Api;
using NUnit.Framework.Interfaces;
using NUnit.Framework.Internal;

// Runs the tests without an SDK: EmtTorch.Devices.Tests [NAME…], only those whose full name contains one of the words.
// The device is EMTTORCH_TEST_DEVICE: cpu or cuda.
TorchRuntime.Start(null);
var runner = new NUnitTestAssemblyRunner(new DefaultTestAssemblyBuilder());
runner.Load(typeof(EmtTorch.Devices.Tests.TestDevice).Assembly, new Dictionary<string, object>());
var result = runner.Run(new Lines(), args.Length == 0 ? TestFilter.Empty : new Words(args));
Console.WriteLine(
    $"{result.PassCount} passed, {result.FailCount} failed, {result.SkipCount} skipped on "
        + $"{EmtTorch.Devices.Tests.TestDevice.Tested}, {result.Duration:0.0} s"
);
return result.FailCount == 0 && result.PassCount > 0 ? 0 : 1;

/// <summary>A line for each test as it ends.</summary>
internal sealed class Lines : ITestListener
{
    public void TestFinished(ITestResult result)
    {
        if (result.Test.IsSuite && result.ResultState.Site != FailureSite.SetUp)
            return;
        Console.WriteLine($"{result.ResultState.Status, -8} {result.FullName} [{result.Duration * 1000:0} ms]");
        if (result.ResultState.Status == TestStatus.Failed)
            Console.WriteLine($"{result.Message}\n{result.StackTrace}");
        Console.Out.Flush();
    }

    public void TestStarted(ITest test) { }

    public void TestOutput(TestOutput output) => Console.Write(output.Text);

    public void SendMessage(TestMessage message) { }
}

internal sealed class Words(string[] words) : TestFilter
{
    public override bool Match(ITest test) =>
        words.Any(w => test.FullName.Contains(w, StringComparison.OrdinalIgnoreCase));

    public override TNode AddToXml(TNode parentNode, bool recursive) => parentNode.AddElement("words");
}
