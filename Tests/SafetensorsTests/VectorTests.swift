import GGUF
import Llama2C
import OrderedCollections
import SafeIO
import Safetensors
import TensorCore
import TestSupport
import Testing

@Suite("Vectors") struct VectorTests {
  private static func path(_ relative: String) -> String { SharedData.projectRoot + "/Formats/" + relative }

  private static func hostile(_ format: String) -> [String] {
    let folder = path(format + "/Vectors/hostile")
    return ((try? FileReading.list(folder)) ?? []).map { folder + "/" + $0 }
  }

  @Test("the reference implementation's safetensors file reads and writes back") func safetensors() throws {
    let path = Self.path("Safetensors/Vectors/reference.safetensors")
    let file = try SafetensorsFile(path: path)
    #expect(file.tensors.count == 13)
    #expect(try file.tensors["f16"]?.floats() == [1.5, -2])
    #expect(try file.tensors["i16"]?.integers() == [1, -2, 3, 4])
    #expect(try file.tensors["f64"]?.floats() == [2.5])
    #expect(file.tensors["f64"]?.shape.rank == 0)
    #expect(file.tensors["empty"]?.shape == [0, 3])
    let directory = TemporaryDirectory()
    try SafetensorsWriter.write(file.tensors, to: directory.file("copy"))
    #expect(try FileReading.readAll(directory.file("copy")) == FileReading.readAll(path))
  }

  @Test("hostile safetensors files are refused", arguments: hostile("Safetensors"))
  func hostileSafetensors(path: String) {
    do throws(SafetensorsError) {
      _ = try SafetensorsFile(path: path)
      Issue.record("accepted")
    } catch { #expect(error.diagnostic.status == .badInput) }
  }

  @Test("the reference implementation's GGUF file reads") func gguf() throws {
    let file = try GGUFFile(path: Self.path("GGUF/Vectors/reference.gguf"))
    let expected: OrderedDictionary<String, GGUFValue> = [
      "v.u8": .uint8(255), "v.i8": .int8(-1), "v.u16": .uint16(65535), "v.i16": .int16(-2),
      "v.u32": .uint32(7),
      "v.i32": .int32(-3), "v.f32": .float32(1.5), "v.bool": .bool(true), "v.u64": .uint64(1 << 63),
      "v.i64": .int64(-1 << 62), "v.f64": .float64(2.5), "v.strings": .array(.string(["a", "é", ""])),
      "v.ints": .array(.int32([1, 2, 3])), "general.name": .string("vector"),
    ]
    for (key, value) in expected { #expect(file.metadata[key] == value, "\(key)") }
    #expect(try file.tensor(named: "a.weight").floats() == [0, 1, 2, 3, 4, 5])
    #expect(file.tensors["a.weight"]?.shape == [2, 3])
    #expect(try file.tensor(named: "b.weight").floats() == [0, 1, 2, 3])
    #expect(file.tensors["c.weight"]?.shape == [2, 32])
    #expect(file.tensors["c.weight"]?.byteCount == 36)
  }

  @Test("hostile GGUF files are refused", arguments: hostile("GGUF"))
  func hostileGGUF(path: String) {
    do throws(GGUFError) {
      _ = try GGUFFile(path: path)
      Issue.record("accepted")
    } catch { #expect(error.diagnostic.status == .badInput) }
  }

  @Test("a llama2.c file with a classifier of its own reads") func llama2c() throws {
    let checkpoint = try Llama2CCheckpoint.open(Self.path("Llama2C/Vectors/own-classifier.bin"))
    #expect(checkpoint.configuration["tie_word_embeddings"] == false)
    #expect(checkpoint.tensors["lm_head.weight"]?.shape == [5, 8])
    let head = try #require(checkpoint.tensors["lm_head.weight"])
    let first = (head.byteOffset - 28) / 4
    #expect(try head.floats(elements: 0..<1) == [Float(first % 251)])
    #expect(head.byteOffset + head.byteCount == head.region.byteCount)
  }

  @Test("hostile llama2.c files are refused", arguments: hostile("Llama2C"))
  func hostileLlama2C(path: String) {
    do throws(Llama2CError) {
      _ = try Llama2CCheckpoint.open(path)
      Issue.record("accepted")
    } catch { #expect(error.diagnostic.status == .badInput) }
  }
}
