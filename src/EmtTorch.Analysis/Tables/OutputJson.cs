using System.Text.Json;
using System.Text.Json.Serialization;
using EmtTorch.Settings;

namespace EmtTorch.Analysis;

/// <summary>JSON of the files that analyses and studies write and read again.</summary>
internal static class OutputJson
{
    /// <summary>As settings are written, and NaN and infinities by their names.</summary>
    public static readonly JsonSerializerOptions Options = new(SettingJson.Options)
    {
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
    };
}
