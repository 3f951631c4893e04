using System.Globalization;
using System.Reflection;
using System.Text;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using EmtTorch.Analysis;
using EmtTorch.Analysis.Charts;

namespace EmtTorch.Reports;

/// <summary>One HTML file with its style, its scripts and its figures' data inside.</summary>
internal sealed partial class Page
{
    private static readonly string[] Libraries = ["vega", "vega-lite", "vega-embed"];

    private readonly StringBuilder _body = new();
    private readonly List<string> _figures = [];
    private readonly HashSet<string> _ids = [];
    private readonly string _title;

    public Page(string title) => _title = title;

    /// <summary>JSON of the examples that the slider moves through; null for a page without.</summary>
    public string? Examples { get; set; }

    /// <summary>Without the libraries the page links them; a test asks for that.</summary>
    public bool Bundled { get; init; } = true;

    /// <summary>Adds HTML as it is.</summary>
    public void Add(string html) => _body.Append(html).Append('\n');

    public void Add(Figure figure)
    {
        string id = UniqueId(figure.Id);
        _figures.Add($"\"{id}\":{CompactJson.Text(figure.Spec)}");
        Add(Frame(id, figure.Title, figure.Caption, "data-figure"));
    }

    /// <summary>The place of a drawing that the page's script fills in.</summary>
    public static string Frame(string id, string title, string caption, string kind) =>
        $"""
            <figure id="{id}" {kind}="{id}" aria-labelledby="{id}-title">
            <div class="title"><h3 id="{id}-title">{Escape(title)}</h3><span class="tools">
            <button type="button" data-save="svg" aria-label="Save {Escape(title)} as SVG">SVG</button>
            <button type="button" data-save="png" aria-label="Save {Escape(title)} as PNG">PNG</button></span></div>
            <div class="drawing"></div>
            <figcaption>{Prose(caption)}</figcaption>
            </figure>
            """;

    /// <summary>Says that something is not drawn, and why.</summary>
    public void Missing(string what, string? why) =>
        Add(
            $"<p class=\"missing\"><strong>{Escape(what)}</strong> not drawn: "
                + $"{Escape(why ?? "there is no data for it.")}</p>"
        );

    public string Render()
    {
        bool bundled = Bundled && Libraries.All(name => Resource($"{name}.min.js") is not null);
        var linked = bundled
            ? ""
            : "<p class=\"problem\">The chart libraries are not inside this page: it loads them from "
                + "cdn.jsdelivr.net, and needs a network to draw its figures.</p>";
        var libraries = string.Concat(Libraries.Select(name => Script(name, bundled)));
        var script = InlineScript(Resource("report.js")!);
        return $"""
            <!DOCTYPE html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <title>{Escape(_title)}</title>
            <style>
            {Resource("report.css")}
            </style>
            </head>
            <body>
            <main>
            {linked}<noscript><p class="problem">The figures are drawn by a script, and scripts are off.</p></noscript>
            {_body}{(bundled ? Licences() : "")}</main>
            {Data()}{libraries}<script>{script}</script>
            </body>
            </html>

            """;
    }

    private static string Licences()
    {
        var licences = Libraries.Select(name =>
            $"<h4>{name}</h4><pre>{Escape(Resource($"{name}.LICENSE") ?? "BSD 3-Clause")}</pre>\n"
        );
        return "<footer><details><summary>Licences of the chart libraries in this page</summary>\n"
            + $"{string.Concat(licences)}</details></footer>\n";
    }

    /// <summary>What the page's script draws.</summary>
    private string Data()
    {
        // The data has no "<" that could end the script: CompactJson writes it as an escape.
        var figures = string.Join(",\n", _figures);
        return "<script type=\"application/json\" id=\"data\">"
            + $$"""{"theme":{{Theme()}},"figures":{{{figures}}},"examples":{{Examples ?? "null"}}}</script>"""
            + "\n";
    }

    private static string Script(string library, bool bundled) =>
        bundled
            ? $"<script id=\"{library}\">{InlineScript(Resource($"{library}.min.js")!)}</script>\n"
            : $"<script src=\"https://cdn.jsdelivr.net/npm/{library}@{(library == "vega-embed" ? 7 : 6)}\"></script>\n";

    /// <summary>Vega's settings of all figures: fonts, axes, and the palette.</summary>
    private static string Theme()
    {
        var theme = JsonNode.Parse(Resource("theme.json")!)!;
        theme["mark"] = CompactJson.Node(new { color = Palette.Blue });
        theme["range"] = CompactJson.Node(new { category = Palette.Series });
        return CompactJson.Text(theme);
    }

    public static string Escape(string? text) => Table.Escape(text);

    /// <summary>Text whose numbers stay on the line of their unit, of "of" and of "=".</summary>
    public static string Prose(string? text) => Escape(Joint().Replace(text ?? "", "\u00a0"));

    [GeneratedRegex(@"(?<=\d) (?=%|rad\b|of \d)|(?<=\d of) (?=\d)|(?<=\w) (?== [\d−])|(?<=\w =) (?=[\d−])")]
    private static partial Regex Joint();

    /// <summary>An HTML id that is in no other use on the page.</summary>
    private string UniqueId(string wanted)
    {
        string clean = string.Concat(wanted.Select(c => char.IsAsciiLetterOrDigit(c) || c == '-' ? c : '-'));
        if (clean.Length == 0 || !char.IsAsciiLetter(clean[0]))
            clean = "figure-" + clean;
        string id = clean;
        for (int n = 2; !_ids.Add(id); n++)
            id = $"{clean}-{n}";
        return id;
    }

    // Inside strings, templates and regular expressions, the only places where a script has them, both mean the same.
    private static string InlineScript(string script) =>
        script.Replace("</script", "<\\/script", StringComparison.OrdinalIgnoreCase).Replace("<!--", "<\\!--");

    private static string? Resource(string name)
    {
        using var stream = Assembly.GetExecutingAssembly().GetManifestResourceStream(name);
        if (stream is null)
            return null;
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }
}
