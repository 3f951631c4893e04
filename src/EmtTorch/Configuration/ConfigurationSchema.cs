using System.Text.Json.Nodes;
using EmtTorch.Settings;
using EmtTorch.Training;

namespace EmtTorch.Configuration;

/// <summary>The JSON schema (2020-12) of configurations, for editors: configs/schema.json.</summary>
public static class ConfigurationSchema
{
    /// <summary>The schema's text, generated from the records, ending in a newline.</summary>
    public static string Generate()
    {
        var schema = RunConfiguration.Rule.Schema();
        schema.Insert(0, "title", "A training run");
        schema.Insert(0, "$schema", "https://json-schema.org/draft/2020-12/schema");
        return schema.ToJsonString(SettingJson.Options) + "\n";
    }
}
