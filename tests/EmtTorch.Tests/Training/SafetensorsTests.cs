using System.Buffers.Binary;
using System.Text;
using static TorchSharp.torch;

namespace EmtTorch.Tests;

public sealed class SafetensorsTests : InTemporaryFolder
{
    private string In(string name) => Path.Combine(Folder, name);

    private static byte[] Raw(string header, byte[] data)
    {
        var text = Encoding.UTF8.GetBytes(header);
        var bytes = new byte[8 + text.Length + data.Length];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, text.Length);
        text.CopyTo(bytes, 8);
        data.CopyTo(bytes, 8 + text.Length);
        return bytes;
    }

    private string Write(byte[] bytes)
    {
        File.WriteAllBytes(In("file.safetensors"), bytes);
        return In("file.safetensors");
    }

    private static readonly Dictionary<string, SafetensorsTensor> Sample = new()
    {
        ["bytes"] = new("U8", [3], new byte[] { 1, 2, 3 }),
        ["number"] = new("F64", [], BitConverter.GetBytes(1.5)),
        ["none"] = new("F32", [0, 4], Array.Empty<byte>()),
        ["matrix"] = new("F32", [1, 2], new byte[] { 0, 0, 128, 63, 0, 0, 0, 64 }),
    };

    private static readonly Dictionary<string, string> NoTexts = [];

    /// <summary>A file as Python's package lays it out, byte by byte.</summary>
    [Test]
    public void AFileOfPythonsIsRead()
    {
        var file = SafetensorsFile.Read(
            Write(
                Raw(
                    """{"__metadata__":{"format":"pt"},"a":{"dtype":"I64","shape":[2],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[],"data_offsets":[16,20]}}   """,
                    [7, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 128, 63]
                )
            )
        );
        using (Assert.EnterMultipleScope())
        {
            Assert.That(file.Metadata["format"], Is.EqualTo("pt"));
            Assert.That(file.Tensors["a"].Shape, Is.EqualTo(new long[] { 2 }));
            Assert.That(BitConverter.ToInt64(file.Tensors["a"].ToArray()), Is.EqualTo(7));
            Assert.That(BitConverter.ToInt64(file.Tensors["a"].ToArray().AsSpan(8)), Is.EqualTo(-1));
            Assert.That(file.Tensors["b"].Shape, Is.Empty);
            Assert.That(BitConverter.ToSingle(file.Tensors["b"].ToArray()), Is.EqualTo(1));
        }
    }

    [Test]
    public void WhatIsWrittenIsLaidOutAsTheFormatSays()
    {
        SafetensorsFile.Write(In("x"), Sample, new Dictionary<string, string> { ["key"] = "välue \"quoted\"" });
        var bytes = File.ReadAllBytes(In("x"));
        long header = BinaryPrimitives.ReadInt64LittleEndian(bytes);
        var json = System.Text.Json.JsonDocument.Parse(bytes.AsMemory(8, (int)header)).RootElement;
        using (Assert.EnterMultipleScope())
        {
            Assert.That(header % 8, Is.Zero);
            // Wide elements first: number (8 bytes each), matrix and none (4), bytes (1).
            Assert.That(
                json.EnumerateObject().Select(p => p.Name),
                Is.EqualTo(new[] { "__metadata__", "number", "matrix", "none", "bytes" })
            );
            Assert.That(
                json.GetProperty("matrix").GetProperty("data_offsets").EnumerateArray().Select(n => n.GetInt32()),
                Is.EqualTo(new[] { 8, 16 })
            );
            Assert.That(bytes.AsSpan((int)(8 + header), 8).ToArray(), Is.EqualTo(BitConverter.GetBytes(1.5)));
            Assert.That(bytes[^3..], Is.EqualTo(new byte[] { 1, 2, 3 }));
            Assert.That(SafetensorsFile.Read(In("x")).Metadata["key"], Is.EqualTo("välue \"quoted\""));
        }
        foreach (var (name, tensor) in SafetensorsFile.Read(In("x")).Tensors)
        {
            Assert.That(tensor.Shape, Is.EqualTo(Sample[name].Shape), name);
            Assert.That(tensor.ToArray(), Is.EqualTo(Sample[name].ToArray()), name);
        }
    }

    [Test]
    public void AnyFlippedByteIsFound()
    {
        SafetensorsFile.Write(In("x"), Sample, new Dictionary<string, string> { ["step"] = "7" });
        var good = File.ReadAllBytes(In("x"));
        int lost = 0;
        for (int i = 0; i < good.Length; i++)
        {
            foreach (byte flip in new byte[] { 1, 32, 128 })
            {
                var bad = (byte[])good.Clone();
                bad[i] ^= flip;
                try
                {
                    // Only the checksum's own name can go unnoticed here; a checkpoint without a checksum is refused by
                    // its folder.
                    var file = SafetensorsFile.Read(Write(bad));
                    Assert.That(file.HasChecksum, Is.False, $"byte {i}");
                    lost++;
                }
                catch (InvalidDataException e)
                {
                    Assert.That(e.Message, Does.Contain("file.safetensors"));
                }
            }
        }

        Assert.That(lost, Is.LessThanOrEqualTo(3 * "__metadata__sha256".Length));
    }

    [Test]
    public void AnyCutIsFound()
    {
        SafetensorsFile.Write(In("x"), Sample, new Dictionary<string, string>());
        var good = File.ReadAllBytes(In("x"));
        for (int length = 0; length < good.Length; length++)
        {
            Assert.That(
                () => SafetensorsFile.Read(Write(good[..length])),
                Throws.TypeOf<InvalidDataException>(),
                $"{length} bytes"
            );
        }

        Assert.That(
            () => SafetensorsFile.Read(Write([.. good, 0])),
            Throws.TypeOf<InvalidDataException>(),
            "a byte too many"
        );
    }

    [TestCase("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}""", 4, "shape")]
    [TestCase(
        """{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}""",
        6,
        "overlaps"
    )]
    [TestCase("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}""", 8, "gap")]
    [TestCase(
        """{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}""",
        8,
        "twice"
    )]
    [TestCase("""{"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}}""", 4, "F33")]
    [TestCase("""{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}""", 4, "-1")]
    [TestCase(
        """{"a":{"dtype":"F32","shape":[9223372036854775807,9223372036854775807],"data_offsets":[0,4]}}""",
        4,
        ""
    )]
    [TestCase("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,400]}}""", 4, "outside")]
    [TestCase("""{"a":{"dtype":"F32","shape":[1]}}""", 4, "")]
    [TestCase("""[1]""", 0, "object")]
    [TestCase("""{"a":5}""", 0, "")]
    public void BadHeadersAreRefused(string header, int data, string says) =>
        Assert.That(
            () => SafetensorsFile.Read(Write(Raw(header, new byte[data]))),
            Throws.TypeOf<InvalidDataException>().With.Message.Contains(says)
        );

    [Test]
    public void RandomBytesAreRefusedAndNothingElse()
    {
        var random = new Random(1);
        for (int i = 0; i < 2000; i++)
        {
            var bytes = new byte[random.Next(200)];
            random.NextBytes(bytes);
            if (bytes.Length >= 8)
                BinaryPrimitives.WriteInt64LittleEndian(bytes, random.Next(bytes.Length));
            Assert.That(() => SafetensorsFile.Read(Write(bytes)), Throws.TypeOf<InvalidDataException>());
        }
    }

    [TestCase(8), TestCase(16), TestCase(1 << 30)]
    public void ATensorOfSeveralPartsIsWrittenAndReadAsOfOne(int longestPart)
    {
        using var scope = NewDisposeScope();
        var tensor = arange(15, dtype: ScalarType.Float32).view(3, 5);
        var stored = StoredTensors.Store(tensor, longestPart);
        SafetensorsFile.Write(In("parts"), new Dictionary<string, SafetensorsTensor> { ["a"] = stored }, NoTexts);
        SafetensorsFile.Write(
            In("whole"),
            new Dictionary<string, SafetensorsTensor> { ["a"] = new("F32", [3, 5], tensor.bytes.ToArray()) },
            NoTexts
        );
        Assert.That(File.ReadAllBytes(In("parts")), Is.EqualTo(File.ReadAllBytes(In("whole"))));
        var read = SafetensorsFile.Read(In("parts"), null, longestPart);
        Assert.That(read.Tensors["a"].Data.IsSingleSegment, Is.EqualTo(longestPart >= 60));
        Assert.That(StoredTensors.Load(read, "a").data<float>().ToArray(), Is.EqualTo(tensor.data<float>().ToArray()));
    }

    [Test]
    public void OnlyWhatIsWantedIsKeptAndTheRestIsCheckedAllTheSame()
    {
        SafetensorsFile.Write(In("x"), Sample, NoTexts);
        var file = SafetensorsFile.Read(In("x"), name => name == "number");
        Assert.That(file.Tensors.Keys, Is.EqualTo(new[] { "number" }));
        Assert.That(file.Names, Is.EquivalentTo(Sample.Keys));
        Assert.That(BitConverter.ToDouble(file.Tensors["number"].ToArray()), Is.EqualTo(1.5));
        var bytes = File.ReadAllBytes(In("x"));
        bytes[^1] ^= 1; // in `bytes`, which is not wanted
        Assert.That(
            () => SafetensorsFile.Read(Write(bytes), name => name == "number"),
            Throws.TypeOf<InvalidDataException>().With.Message.Contains("checksum")
        );
    }

    // Two tensors of 2.2 GiB, beyond what an array of .NET holds. Takes 10 GiB of memory and half a minute.
    [Test, Explicit]
    public void ATensorOfMoreThanTwoGibibytesIsWrittenAndRead()
    {
        using var scope = NewDisposeScope();
        const long size = 2362232012;
        var tensor = zeros(size, dtype: ScalarType.Byte);
        tensor[size - 1] = 7;
        SafetensorsFile.Write(
            In("large"),
            new Dictionary<string, SafetensorsTensor>
            {
                ["large"] = StoredTensors.Store(tensor),
                ["small"] = StoredTensors.Store(ones(3)),
            },
            NoTexts
        );
        var file = SafetensorsFile.Read(In("large"));
        Assert.That(StoredTensors.Load(file, "large")[size - 1].item<byte>(), Is.EqualTo(7));
        Assert.That(StoredTensors.Load(file, "small").sum().item<float>(), Is.EqualTo(3));
    }
}
