using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace EmtTorch.Analysis;

/// <summary>A column of a table. A row is a T.</summary>
/// <param name="Title">Its heading.</param>
/// <param name="Text">The text of a row, or null for nothing.</param>
/// <param name="Number">The number of a row, by which the column is sorted. Null: it is sorted as text.</param>
internal sealed record Column<T>(string Title, Func<T, string?> Text, Func<T, double?>? Number = null)
{
    /// <summary>A column of numbers in one format.</summary>
    public Column(string title, Func<T, double?> number, string format)
        : this(title, row => NumberText.Fixed(number(row), format), number) { }

    /// <summary>Whether it is aligned to the left in Markdown.</summary>
    public bool Left { get; init; } = Number is null;

    /// <summary>The key in analysis.json of the number that it shows. Null: it shows no number from there.</summary>
    public string? Key { get; init; }

    /// <summary>The target of a row's link. Null: no link.</summary>
    public Func<T, string?>? Link { get; init; }
}

/// <summary>Tables as Markdown, HTML and CSV, from one description of their columns.</summary>
internal static partial class Table
{
    /// <summary>The columns that are not empty.</summary>
    public static List<Column<T>> Filled<T>(IEnumerable<Column<T>> columns, IReadOnlyCollection<T> rows) =>
        [.. columns.Where(c => rows.Any(row => c.Text(row) is not (null or NumberText.Nothing)))];

    public static string Markdown<T>(IReadOnlyList<Column<T>> columns, IEnumerable<T> rows)
    {
        var text = new StringBuilder();
        void Line(IEnumerable<string?> cells) =>
            text.Append($"| {string.Join(" | ", cells.Select(c => Plain(c ?? NumberText.Nothing)))} |\n");
        Line(columns.Select(c => c.Title));
        text.Append($"|{string.Join('|', columns.Select(c => c.Left ? ":--" : "--:"))}|\n");
        foreach (var row in rows)
            Line(columns.Select(c => c.Text(row)));
        return text.ToString();
    }

    /// <summary>Text that fits into a cell of a Markdown table, and means nothing else there.</summary>
    public static string Plain(string text) =>
        Active()
            .Replace(
                string.Concat(text.Where(c => c != '\r').Select(c => char.IsControl(c) ? ' ' : c)),
                active => active.Value == "<" ? "&lt;" : $"\\{active}"
            );

    /// <summary>What Markdown would read as the end of a cell, as a tag, or as the middle of a link.</summary>
    [GeneratedRegex(@"\||\\|<(?=[A-Za-z/!?])|\](?=\()")]
    private static partial Regex Active();

    /// <summary>An HTML table whose first column is the heading of each row.</summary>
    /// <param name="caption">The text above the table. Null: none.</param>
    /// <param name="attributes">The attributes of the table element.</param>
    /// <param name="chosen">Whether a row is highlighted. Null: none is.</param>
    public static string Html<T>(
        IReadOnlyList<Column<T>> columns,
        IEnumerable<T> rows,
        string? caption = null,
        string attributes = "",
        Func<T, bool>? chosen = null
    )
    {
        bool sortable = attributes.Contains("sortable", StringComparison.Ordinal);
        var html = new StringBuilder($"<div class=\"scroll\"><table{attributes}>");
        if (caption is not null)
            html.Append($"<caption>{Escape(caption)}</caption>");
        html.Append("<thead><tr>");
        foreach (var column in columns)
        {
            string title = Escape(column.Title),
                unnamed = title.Length == 0 ? " aria-label=\"comparison\"" : "";
            html.Append($"<th scope=\"col\"{(column.Number is null ? "" : " class=\"number\"")}>")
                .Append(sortable ? $"<button type=\"button\"{unnamed}>{title}</button>" : title)
                .Append("</th>");
        }
        html.Append("</tr></thead>\n<tbody>\n");
        foreach (var row in rows)
        {
            html.Append(chosen?.Invoke(row) == true ? "<tr class=\"chosen\">" : "<tr>");
            for (int i = 0; i < columns.Count; i++)
                html.Append(Cell(columns[i], row, first: i == 0, sortable));
            html.Append("</tr>\n");
        }
        return html.Append("</tbody></table></div>").ToString();
    }

    private static string Cell<T>(Column<T> column, T row, bool first, bool sortable)
    {
        string text = Escape(column.Text(row) ?? NumberText.Nothing);
        if (column.Link?.Invoke(row) is { } link)
            text = $"<a href=\"{Escape(link)}\">{text}</a>";
        string number = column.Number is null ? "" : " class=\"number\"";
        string key =
            !sortable ? ""
            : column.Number is { } value ? $" data-value=\"{Exact(value(row))}\""
            : first ? ""
            : $" data-value=\"{Escape(column.Text(row))}\"";
        return first ? $"<th scope=\"row\"{number}{key}>{text}</th>" : $"<td{number}{key}>{text}</td>";
    }

    public static string Escape(string? text) =>
        (text ?? "")
            .Replace("&", "&amp;")
            .Replace("<", "&lt;")
            .Replace(">", "&gt;")
            .Replace("\"", "&quot;")
            .Replace("'", "&#39;");

    /// <summary>
    /// Comma-separated values (RFC 4180, but with line feeds). Before a text that a spreadsheet would run stands an
    /// apostrophe.
    /// </summary>
    public static string Csv(IEnumerable<IEnumerable<string>> lines) =>
        string.Concat(
            lines.Select(fields =>
                string.Join(
                    ',',
                    fields
                        .Select(f => IsFormula(f) ? $"'{f}" : f)
                        .Select(f =>
                            f.AsSpan().IndexOfAny(",\"\r\n") < 0
                                ? f
                                : $"\"{f.Replace("\"", "\"\"", StringComparison.Ordinal)}\""
                        )
                ) + "\n"
            )
        );

    private static bool IsFormula(string text) =>
        text is ['=' or '+' or '-' or '@' or '\t' or '\r', ..]
        && !double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out _);

    /// <summary>A value for programs: numbers unrounded, nothing for a missing one.</summary>
    public static string Exact(object? value) =>
        value switch
        {
            double number => Exact((double?)number),
            bool truth => truth ? "true" : "false",
            _ => Convert.ToString(value, CultureInfo.InvariantCulture) ?? "",
        };

    /// <summary>A number for programs: unrounded, nothing if it is missing or not finite.</summary>
    public static string Exact(double? value) =>
        value is { } v && double.IsFinite(v) ? v.ToString("R", CultureInfo.InvariantCulture) : "";
}
