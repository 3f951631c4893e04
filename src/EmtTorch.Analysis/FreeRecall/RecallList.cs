namespace EmtTorch.Analysis.FreeRecall;

/// <summary>An item of a study list.</summary>
/// <param name="Position">Its serial position, from 1.</param>
/// <param name="Item">Its name.</param>
/// <param name="Columns">What the table says of it in further columns.</param>
public sealed record StudiedItem(int Position, string Item, IReadOnlyDictionary<string, string> Columns);

/// <summary>An item that was recalled.</summary>
/// <param name="Item">Its name.</param>
/// <param name="Studied">The item of the list that it is; null for an intrusion.</param>
/// <param name="Repeat">How often it was recalled before in this list.</param>
/// <param name="OtherLists">For an intrusion, the other lists in which the subject studied it.</param>
public sealed record RecalledItem(string Item, StudiedItem? Studied, int Repeat, IReadOnlyList<int> OtherLists)
{
    /// <summary>Whether it is of the list, and recalled for the first time.</summary>
    public bool IsRight => Studied is not null && Repeat == 0;
}

/// <summary>One study list of one subject, and what the subject recalled of it.</summary>
/// <param name="Subject">The subject.</param>
/// <param name="Number">The list's number.</param>
/// <param name="Study">The items in the order of study.</param>
/// <param name="Recalls">All recalls in their order.</param>
/// <param name="Columns">What the table says of the whole list: further columns with one value in all its rows.</param>
public sealed record RecallList(
    string Subject,
    int Number,
    IReadOnlyList<StudiedItem> Study,
    IReadOnlyList<RecalledItem> Recalls,
    IReadOnlyDictionary<string, string> Columns
)
{
    /// <summary>The right recalls in their order, without repeats and intrusions.</summary>
    public IEnumerable<StudiedItem> Right => Recalls.Where(r => r.IsRight).Select(r => r.Studied!);

    /// <summary>
    /// The transitions from one right recall to the next. One that begins or ends with a repeat or an intrusion is left
    /// out.
    /// </summary>
    public IEnumerable<RecallTransition> Transitions()
    {
        var left = Study.ToList();
        for (int n = 0; n < Recalls.Count; n++)
        {
            if (!Recalls[n].IsRight)
                continue;
            left.Remove(Recalls[n].Studied!);
            if (n + 1 < Recalls.Count && Recalls[n + 1].IsRight)
                yield return new(n, Recalls[n].Studied!, Recalls[n + 1].Studied!, [.. left]);
        }
    }
}

/// <summary>A transition between two recalls.</summary>
/// <param name="Output">The place of the first one among the recalls, from 0.</param>
/// <param name="From">The first one.</param>
/// <param name="To">The second one.</param>
/// <param name="Possible">What could have been the second one: all items that were not recalled yet.</param>
public sealed record RecallTransition(
    int Output,
    StudiedItem From,
    StudiedItem To,
    IReadOnlyList<StudiedItem> Possible
);
