using System.Text.Json;
using System.Text.Json.Serialization;
using EmtTorch.Settings;

namespace EmtTorch.Analysis;

/// <summary>The JSON format of the files that analyses and studies write and read.</summary>
internal static class OutputJson
{
    /// <summary>The format of settings, with NaN and infinities as strings.</summary>
    public static readonly JsonSerializerOptions Options = new(SettingJson.Options)
    {
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
    };
}
