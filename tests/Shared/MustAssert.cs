using NUnit.Framework.Interfaces;

[assembly: EmtTorch.Tests.MustAssert]

namespace EmtTorch.Tests;

/// <summary>Fails a test that ends well without an assertion: it has tried nothing.</summary>
[AttributeUsage(AttributeTargets.Assembly)]
internal sealed class MustAssertAttribute : Attribute, ITestAction
{
    public ActionTargets Targets => ActionTargets.Test;

    public void BeforeTest(ITest test) { }

    public void AfterTest(ITest test)
    {
        var context = TestContext.CurrentContext;
        if (context.Result.Outcome.Status == TestStatus.Passed && context.AssertCount == 0)
            Assert.Fail("This test ended without an assertion.");
    }
}
