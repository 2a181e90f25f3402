import OrderedCollections
import SafeIO
import Safetensors
import TensorCore
import TestSupport
import Testing

/// Bytes of a file with this header text and so many bytes of data.
func safetensors(_ header: String, dataByteCount: Int, length: UInt64? = nil) -> [UInt8] {
  let text = Array(header.utf8)
  let prefix = length ?? UInt64(text.count)
  return (0..<8).map { UInt8(truncatingIfNeeded: prefix >> ($0 * 8)) } + text
    + (0..<dataByteCount).map { UInt8(truncatingIfNeeded: $0) }
}

@Suite("Safetensors files") struct SafetensorsFileTests {
  private func open(_ bytes: [UInt8]) throws(SafetensorsError) -> SafetensorsFile {
    try SafetensorsFile(region: MemoryRegion(copying: bytes), path: "t.safetensors")
  }

  private func error(_ bytes: [UInt8]) -> SafetensorsError? {
    do throws(SafetensorsError) {
      _ = try open(bytes)
      return nil
    } catch { return error }
  }

  private func entry(_ name: String, _ dtype: String, _ shape: String, _ begin: Int, _ end: Int) -> String {
    #""\#(name)":{"dtype":"\#(dtype)","shape":\#(shape),"data_offsets":[\#(begin),\#(end)]}"#
  }

  @Test("reads every type of the format") func types() throws {
    var position = 0
    var entries: [String] = []
    for type in ElementType.allCases {
      let byteCount = try type.byteCount(elements: 8)
      entries.append(entry("t.\(type.rawValue)", type.rawValue, "[2,4]", position, position + byteCount))
      position += byteCount
    }
    let file = try open(safetensors("{\(entries.joined(separator: ","))}", dataByteCount: position))
    #expect(file.tensors.count == ElementType.allCases.count)
    for (name, tensor) in file.tensors {
      #expect(name == "t.\(tensor.elementType.rawValue)")
      #expect(tensor.shape == [2, 4])
    }
    #expect(file.tensors["t.U8"]?.byteOffset == file.tensors["t.BOOL"].map { $0.byteOffset + 8 })
  }

  @Test("reads metadata, scalars, empty tensors and padding") func oddShapes() throws {
    let header = """
      {"__metadata__":{"format":"pt","é":"\\u00e9"},\(entry("s", "F32", "[]", 0, 4)),\(entry("e", "F32", "[0,7]", 4, 4)),\
      \(entry("b", "U8", "[3]", 4, 7)),\(entry("z", "I64", "[0]", 7, 7))}
      """ + "   "
    let file = try open(safetensors(header, dataByteCount: 7))
    #expect(file.metadata == ["format": "pt", "é": "é"])
    #expect(Array(file.tensors.keys) == ["s", "e", "b", "z"])
    #expect(file.tensors["s"]?.shape.rank == 0)
    #expect(file.tensors["e"]?.shape == [0, 7])
    #expect(try open(safetensors("{}", dataByteCount: 0)).tensors.isEmpty)
  }

  @Test("tolerates misaligned tensors with a warning") func misaligned() throws {
    let file = try open(safetensors("{\(entry("a", "F32", "[1]", 0, 4))}  ", dataByteCount: 4))
    #expect(file.warnings.count == ((file.tensors["a"]?.byteOffset ?? 0) % 4 == 0 ? 0 : 1))
    #expect(try file.tensors["a"]?.floats() == [Float(bitPattern: 0x0302_0100)])
    let shifted = try open(safetensors("{\(entry("a", "F32", "[1]", 0, 4))} ", dataByteCount: 4))
    #expect(try shifted.tensors["a"]?.floats() == [Float(bitPattern: 0x0302_0100)])
    #expect(file.warnings.count + shifted.warnings.count >= 1)
  }

  @Test(
    "refuses impossible header lengths by value",
    arguments: [0, 1, 999, 100_000_001, 1 << 63, .max] as [UInt64])
  func headerLength(length: UInt64) {
    guard case .headerLength(_, let found, _) = error(safetensors("{}", dataByteCount: 8, length: length))
    else {
      Issue.record("not refused")
      return
    }
    #expect(found == length)
  }

  @Test("refuses headers that are no object of the format") func headers() {
    let good = entry("a", "U8", "[4]", 0, 4)
    let texts: [(String, Int)] = [
      (" {}", 8), ("[]", 8), ("\u{FEFF}{}", 8), ("{} x", 11), ("{\(good)", 8 + 1 + good.utf8.count),
      ("{\"a\":1}", 13),
      ("{\(good),\(good)}", -1),
      ("{\(good),\"\\u0061\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[4,4]}}", -1),
      ("{\"__metadata__\":{\"a\":1},\(good)}", -1), ("{\"__metadata__\":{},\"__metadata__\":{},\(good)}", -1),
      ("{\"__metadata__\":{\"a\":\"b\",\"a\":\"c\"},\(good)}", -1), ("{\"__metadata__\":null,\(good)}", -1),
      ("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", -1),
      ("{\"a\":{\"dtype\":\"U8\",\"shape\":[4]}}", -1),
      ("{\"a\":{\"dtype\":8,\"shape\":[4],\"data_offsets\":[0,4]}}", -1),
      ("{\"a\":{\"dtype\":\"U8\",\"shape\":4,\"data_offsets\":[0,4]}}", -1),
      (String(repeating: "{\"a\":", count: 100_000), -1),
    ]
    for (text, offset) in texts {
      let found = error(safetensors(text, dataByteCount: 4))
      #expect(found != nil, "\(text.prefix(80))")
      #expect(found?.diagnostic.status == .badInput)
      if offset >= 0 { #expect(found?.diagnostic.offset == offset, "\(text.prefix(80))") }
    }
    #expect(error(safetensors("{\(good)\u{0}}", dataByteCount: 4)) != nil)
    #expect(error(safetensors("{\(good)}", dataByteCount: 4)) == nil)
  }

  @Test(
    "refuses numbers that are not plain integers",
    arguments: ["4.0", "4e0", "-0", "-4", "1e3", "99999999999999999999"])
  func numbers(text: String) {
    #expect(error(safetensors("{\(entry("a", "U8", "[\(text)]", 0, 4))}", dataByteCount: 4)) != nil)
    let offsets = #"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,\#(text)]}}"#
    #expect(error(safetensors(offsets, dataByteCount: 4)) != nil)
  }

  @Test("refuses shapes and ranges that do not agree") func sizes() {
    let entries = [
      entry("a", "F32", "[4611686018427387904,4]", 0, 4), entry("a", "F32", "[9223372036854775807,2]", 0, 4),
      entry("a", "F32", "[-1]", 0, 4), entry("a", "F32", "[2]", 0, 4), entry("a", "F32", "[1]", 0, 5),
      entry("a", "F4", "[1]", 0, 4), entry("a", "F4", "[7]", 0, 4), entry("a", "F6_E2M3", "[5]", 0, 4),
      entry("a", "F33", "[1]", 0, 4), entry("a", "f32", "[1]", 0, 4), entry("a", "U8", "[4]", 4, 0),
      entry("a", "U8", "[4]", 1, 5), entry("a", "U8", "[8]", 0, 8),
      entry("a", "U8", "[4]", 0, 4).replacing("[0,4]", with: "[0,4,4]"),
      entry("a", "U8", "[\(String(repeating: "1,", count: 70))4]", 0, 4),
    ]
    for text in entries {
      let found = error(safetensors("{\(text)}", dataByteCount: 4))
      #expect(found != nil, "\(text)")
      #expect(found?.diagnostic.subject == "a", "\(text)")
    }
  }

  @Test("refuses overlap, holes and bytes that belong to nothing, by name") func tiling() {
    let first = entry("first", "U8", "[4]", 0, 4)
    func neighbours(_ second: String, _ count: Int) -> Diagnostic? {
      error(safetensors("{\(second),\(first)}", dataByteCount: count))?.diagnostic
    }
    for diagnostic in [
      neighbours(entry("second", "U8", "[4]", 3, 7), 7), neighbours(entry("second", "U8", "[4]", 5, 9), 9),
    ] {
      #expect(diagnostic?.rendered.contains("first") == true)
      #expect(diagnostic?.rendered.contains("second") == true)
    }
    #expect(neighbours(entry("second", "U8", "[4]", 0, 4), 4) != nil)
    #expect(neighbours(entry("second", "U8", "[4]", 4, 8), 9) != nil)
    #expect(neighbours(entry("second", "U8", "[4]", 4, 8), 8) == nil)
    #expect(error(safetensors("{\(entry("a", "U8", "[3]", 1, 4))}", dataByteCount: 4)) != nil)
    let same = (0..<10_000).map { entry("t\($0)", "U8", "[4]", 0, 4) }.joined(separator: ",")
    #expect(error(safetensors("{\(same)}", dataByteCount: 4)) != nil)
  }

  @Test("tells other formats by their first bytes")
  func foreign() {
    let cases: [([UInt8], String)] = [
      (Array("PK\u{3}\u{4}\u{14}".utf8) + [UInt8](repeating: 0x80, count: 40), "zip"),
      ([0x80, 2, 0x8A, 0x0A, 0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20, 0x6A], "pickle"),
      ([0x80, 4, 0x95], "pickle"), (Array("GGUF".utf8) + [3, 0, 0, 0, 1, 2, 3, 4, 5], "GGUF"),
      (Array("version https://git-lfs.github.com/spec/v1\n".utf8), "Git LFS"),
    ]
    for (bytes, kind) in cases {
      guard case .otherFormat(_, let found, let hint) = error(bytes) else {
        Issue.record("\(kind) not recognised")
        continue
      }
      #expect(found.contains(kind))
      #expect(!hint.isEmpty)
    }
    #expect(error([]) != nil)
    #expect(error([1, 2, 3]) != nil)
  }

  @Test("never traps on a damaged file") func damage() throws {
    let header =
      #"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"b":"#
      + #"{"dtype":"I8","shape":[3],"data_offsets":[8,11]}}"#
    let bytes = safetensors(header, dataByteCount: 11)
    #expect(error(bytes) == nil)
    for length in 0..<bytes.count { #expect(error(Array(bytes.prefix(length))) != nil) }
    for index in 0..<bytes.count - 11 {
      for bit in 0..<8 {
        var damaged = bytes
        damaged[index] ^= 1 << bit
        if let file = try? open(damaged) {
          for tensor in file.tensors.values { #expect(tensor.byteOffset + tensor.byteCount <= bytes.count) }
        }
      }
    }
  }

  @Test("reads 200 000 tensors in linear time") func manyTensors() throws {
    let entries = (0..<200_000).map {
      entry("model.layers.\($0).self_attn.q_proj.weight", "U8", "[1]", $0, $0 + 1)
    }
    let bytes = safetensors("{\(entries.joined(separator: ","))}", dataByteCount: 200_000)
    let clock = ContinuousClock()
    var count = 0
    let time = try clock.measure { count = try open(bytes).tensors.count }
    #expect(count == 200_000)
    #expect(time < .seconds(20), "took \(time)")
  }
}
