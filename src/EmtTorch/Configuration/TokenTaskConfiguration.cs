using System.ComponentModel;
using System.ComponentModel.DataAnnotations;

namespace EmtTorch.Configuration;

// What each of these means is said by the task of its name. How long a document is, is none of these settings: it is the horizon of
// training.curriculum and evaluation.

/// <summary>Settings of <see cref="Tasks.AssociativeRecall"/>; horizons are lengths of sequences.</summary>
public sealed record AssociativeRecallConfiguration
{
    [Description("Pairs in a sequence, each asked for once.")]
    [Range(1, 1_048_576)]
    public int Pairs { get; init; } = 4;

    [Description("Tokens in the vocabulary, half of them keys, half values.")]
    [Range(2, 1_048_576)]
    public int Vocabulary { get; init; } = 8192;

    [Description("The power law of the gaps between pairs and questions: near 0 short ones, 1 uniform.")]
    [Range(0.0, 1.0, MinimumIsExclusive = true)]
    public double Power { get; init; } = 0.01;

    [Description("Random tokens where nothing is asked; false: zeros.")]
    public bool RandomNonQueries { get; init; } = true;
}

/// <summary>The vocabulary of tasks on pairs, <see cref="Tasks.PairTokens"/>.</summary>
public abstract record PairsConfiguration
{
    [Description("Keys in the vocabulary.")]
    [Range(1, 1_048_576)]
    public int Keys { get; init; } = 64;

    [Description("Values in the vocabulary.")]
    [Range(1, 1_048_576)]
    public int Values { get; init; } = 64;

    [Description("Tokens of noise in the vocabulary.")]
    [Range(1, 1_048_576)]
    public int Noise { get; init; } = 16;
}

/// <summary>Settings of <see cref="Tasks.SegmentRecall"/>; horizons are segments between pairs and questions.</summary>
public sealed record SegmentRecallConfiguration : PairsConfiguration
{
    [Description("Pairs in the first segment, each asked for in the last.")]
    [Range(1, 1_048_576)]
    public int Pairs { get; init; } = 4;

    [Description("Tokens in a segment.")]
    [Range(1, 1_048_576)]
    public int SegmentLength { get; init; } = 64;

    [Description("Pairs in each segment between, which nobody asks for.")]
    [Range(0, 1_048_576)]
    public int Distractors { get; init; }

    [Description("Whether every second question, by chance, gives the value and asks for its key; values are then distinct in a document, as keys are.")]
    public bool BothWays { get; init; }

    [Description("How many vocabularies, of as many keys and values each, the network's tokens are: one for each of several tasks.")]
    [Range(1, 1024)]
    public int Vocabularies { get; init; } = 1;

    [Description("Which of these vocabularies documents are made of.")]
    [Range(1, 1024)]
    public int Vocabulary { get; init; } = 1;
}

/// <summary>Settings of <see cref="Tasks.Rebinding"/>; horizons are lengths of sequences.</summary>
public sealed record RebindingConfiguration : PairsConfiguration
{
    [Description("Keys that a sequence binds.")]
    [Range(1, 1_048_576)]
    public int Pairs { get; init; } = 4;

    [Description("How many times one of them is bound again.")]
    [Range(0, 1_048_576)]
    public int Rebindings { get; init; } = 4;

    [Description("Questions in a sequence.")]
    [Range(1, 1_048_576)]
    public int Questions { get; init; } = 4;
}

/// <summary>Settings of <see cref="Tasks.TwoHop"/>; horizons are segments between facts and questions.</summary>
public sealed record TwoHopConfiguration
{
    [Description("Chains of facts in the first segment, each asked for in the last.")]
    [Range(1, 1_048_576)]
    public int Chains { get; init; } = 4;

    [Description("Facts that a question goes along from a chain's first name: 2 joins two of them, 1 asks the same documents for the next name; with more, chains are as long.")]
    [Range(1, 1024)]
    public int Hops { get; init; } = 2;

    [Description("Tokens in a segment.")]
    [Range(1, 1_048_576)]
    public int SegmentLength { get; init; } = 64;

    [Description("Names in the vocabulary: what facts join.")]
    [Range(1, 1_048_576)]
    public int Names { get; init; } = 64;

    [Description("Tokens of noise in the vocabulary.")]
    [Range(1, 1_048_576)]
    public int Noise { get; init; } = 16;

    [Description("Facts of no chain, in the first segment and in each of those between.")]
    [Range(0, 1_048_576)]
    public int Distractors { get; init; }
}

/// <summary>Settings of <see cref="Tasks.CopyTask"/>; horizons are delays.</summary>
public sealed record CopyConfiguration
{
    [Description("Symbols that strings are made of.")]
    [Range(2, 1_048_576)]
    public int Symbols { get; init; } = 8;

    [Description("Symbols in a string.")]
    [Range(1, 1_048_576)]
    public int Length { get; init; } = 10;

    [Description("Tokens in a segment.")]
    [Range(1, 1_048_576)]
    public int SegmentLength { get; init; } = 64;
}

/// <summary>Settings of <see cref="Tasks.TextCorpus"/>; horizons are segments of a document.</summary>
public sealed record TextConfiguration
{
    [Description("The text file; 90 % of it are for training, 5 % for the tests while training, 5 % are kept.")]
    [RegularExpression("^[^\\u0000]*[^\\u0000\\s][^\\u0000]*$", ErrorMessage = "a file's path, not empty")]
    public required string Path { get; init; }

    [Description("Characters in a segment.")]
    [Range(1, 1_048_576)]
    public int SegmentLength { get; init; } = 256;
}
