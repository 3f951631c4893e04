using EmtTorch.Analysis.Charts;

namespace EmtTorch.Reports;

/// <summary>A self-contained page of figures, each of which downloads as SVG and PNG.</summary>
/// <remarks>
/// A specification without a width takes the page's, and follows it. Where its usermeta has "height": [a, b], its
/// height is a times that width, and b pixels. Its colours, fonts and axes are the page's unless it says otherwise.
/// </remarks>
/// <example>
/// <code>
/// File.WriteAllText("recall.html", FigurePage.Render("Free recall", [lagCurve, serialPosition]));
/// </code>
/// </example>
public static class FigurePage
{
    /// <param name="title">The page's heading.</param>
    /// <param name="figures">Drawn in this order.</param>
    /// <param name="introduction">A paragraph above the figures.</param>
    /// <returns>The HTML file's text.</returns>
    public static string Render(string title, IReadOnlyList<Figure> figures, string? introduction = null)
    {
        var page = new Page(title);
        page.Add($"<header><h1>{Page.Escape(title)}</h1></header>");
        if (introduction is not null)
            page.Add($"<p>{Page.Escape(introduction)}</p>");
        if (figures.Count == 0)
            page.Missing("Figures", "there are none.");
        foreach (var figure in figures)
            page.Add(figure);
        return page.Render();
    }
}
