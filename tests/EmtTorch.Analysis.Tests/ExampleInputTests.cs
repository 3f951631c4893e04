namespace EmtTorch.Analysis.Tests;

public sealed class ExampleInputTests
{
    [Test]
    public void DigitsAreTheirBitsTheHighestFirst()
    {
        Assert.That(
            ExampleInput.Parse("3141", 4, 3),
            Is.EqualTo(new double[][] { [-1, 1, 1], [-1, -1, 1], [1, -1, -1], [-1, -1, 1] })
        );
        Assert.That(ExampleInput.Parse("9", 1, 2), Is.EqualTo(new double[][] { [-1, 1] }), "1001, the lowest two bits");
        Assert.That(ExampleInput.Parse("1", 1, 40)[0], Is.EqualTo(Enumerable.Repeat(-1.0, 39).Append(1)));
    }

    [Test]
    public void TooFewDigitsRepeatAndTooManyAreCut()
    {
        Assert.That(ExampleInput.Parse("10", 3, 1), Is.EqualTo(new double[][] { [1], [-1], [1] }));
        Assert.That(ExampleInput.Parse("1000", 2, 1), Is.EqualTo(new double[][] { [1], [-1] }));
    }

    [Test]
    public void NumbersAreTakenAsTheyAre() =>
        Assert.That(ExampleInput.Parse("[[0.5, -1], [2, 0]]", 2, 2), Is.EqualTo(new double[][] { [0.5, -1], [2, 0] }));

    [TestCase("")]
    [TestCase("12a")]
    [TestCase("-3")]
    [TestCase("null")]
    [TestCase("[null, null]")]
    [TestCase("[[1, 1]]")]
    [TestCase("[[1, 1], [1]]")]
    [TestCase("[[1, 1], [1, 1e999]]")]
    [TestCase("[[1, 1], [1, \"1\"]]")]
    [TestCase("٣")]
    public void AllElseIsRefusedWithWhatWouldDo(string text) =>
        Assert.That(
            () => ExampleInput.Parse(text, 2, 2),
            Throws.ArgumentException.With.Message.Contains("2 vectors of 2 numbers")
        );
}
