import GGUF
import OrderedCollections
import SafeIO
import TensorCore
import TestSupport
import Testing

/// Puts the bytes of a GGUF file together, right or wrong.
struct GGUFBytes {
  var bytes: [UInt8]

  init(version: UInt32 = 3, tensors: UInt64 = 0, entries: UInt64 = 0) {
    bytes = Array("GGUF".utf8)
    add(version)
    add(tensors)
    add(entries)
  }

  mutating func add(_ value: some FixedWidthInteger) {
    bytes += (0..<value.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
  }

  mutating func add(_ text: String) {
    add(UInt64(text.utf8.count))
    bytes += Array(text.utf8)
  }

  mutating func entry(_ key: String, _ type: UInt32, _ value: (inout GGUFBytes) -> Void) {
    add(key)
    add(type)
    value(&self)
  }

  mutating func tensor(
    _ name: String, _ dimensions: [UInt64], _ type: UInt32, _ offset: UInt64, rank: UInt32? = nil
  ) {
    add(name)
    add(rank ?? UInt32(dimensions.count))
    dimensions.forEach { add($0) }
    add(type)
    add(offset)
  }

  mutating func data(_ count: Int, alignment: Int = 32) {
    while bytes.count % alignment != 0 { bytes.append(0) }
    bytes += (0..<count).map { UInt8(truncatingIfNeeded: $0) }
  }
}

@Suite("GGUF headers") struct GGUFTests {
  private func open(_ file: GGUFBytes) throws(GGUFError) -> GGUFFile { try open(file.bytes) }

  private func open(_ bytes: [UInt8]) throws(GGUFError) -> GGUFFile {
    try GGUFFile(region: MemoryRegion(copying: bytes), path: "t.gguf")
  }

  private func expectRefused(
    _ file: GGUFBytes, _ note: String = "", status: Diagnostic.ExitStatus = .badInput
  ) {
    do throws(GGUFError) {
      _ = try open(file)
      Issue.record("accepted: \(note)")
    } catch { #expect(error.diagnostic.status == status, "\(note): \(error)") }
  }

  private func sample(version: UInt32 = 3) -> GGUFBytes {
    var file = GGUFBytes(version: version, tensors: 2, entries: 16)
    file.entry("u8", 0) { $0.add(255 as UInt8) }
    file.entry("i8", 1) { $0.add(-1 as Int8) }
    file.entry("u16", 2) { $0.add(65535 as UInt16) }
    file.entry("i16", 3) { $0.add(-2 as Int16) }
    file.entry("u32", 4) { $0.add(UInt32.max) }
    file.entry("i32", 5) { $0.add(-3 as Int32) }
    file.entry("f32", 6) { $0.add((1.5 as Float).bitPattern) }
    file.entry("bool", 7) { $0.add(1 as UInt8) }
    file.entry("string", 8) { $0.add("é") }
    file.entry("u64", 10) { $0.add(UInt64.max) }
    file.entry("i64", 11) { $0.add(Int64.min) }
    file.entry("f64", 12) { $0.add((2.5).bitPattern) }
    file.entry("strings", 9) {
      $0.add(8 as UInt32)
      $0.add(2 as UInt64)
      $0.add("a")
      $0.add("")
    }
    file.entry("nested", 9) {
      $0.add(9 as UInt32)
      $0.add(2 as UInt64)
      for value in [7, 8] as [Int32] {
        $0.add(5 as UInt32)
        $0.add(1 as UInt64)
        $0.add(value)
      }
    }
    file.entry("general.architecture", 8) { $0.add("llama") }
    file.entry("general.alignment", 4) { $0.add(64 as UInt32) }
    file.tensor("a.weight", [4, 2], 0, 0)
    file.tensor("b.weight", [32, 3], 2, 64)
    file.data(64 + 54, alignment: 64)
    return file
  }

  @Test("reads every type of value and tensors", arguments: [2, 3] as [UInt32]) func values(version: UInt32)
    throws
  {
    let file = try open(sample(version: version))
    let expected: OrderedDictionary<String, GGUFValue> = [
      "u8": .uint8(255), "i8": .int8(-1), "u16": .uint16(65535), "i16": .int16(-2), "u32": .uint32(.max),
      "i32": .int32(-3), "f32": .float32(1.5), "bool": .bool(true), "string": .string("é"),
      "u64": .uint64(.max),
      "i64": .int64(.min), "f64": .float64(2.5), "strings": .array(.string(["a", ""])),
      "nested": .array(.array([.int32([7]), .int32([8])])), "general.architecture": .string("llama"),
      "general.alignment": .uint32(64),
    ]
    #expect(file.metadata == expected)
    #expect(file.version == version)
    #expect(file.warnings.isEmpty)
    #expect(file.tensors["a.weight"]?.shape == [2, 4])
    #expect(file.tensors["b.weight"]?.byteCount == 54)
    #expect(file.tensors["b.weight"]?.type.name == "Q4_0")
    #expect(file.dataOffset % 64 == 0)
    #expect(try file.tensor(named: "a.weight").floats(elements: 0..<1) == [Float(bitPattern: 0x0302_0100)])
    #expect(try file.bytes(of: "b.weight").byteCount == 54)
    #expect(throws: GGUFError.self) { try file.tensor(named: "b.weight") }
    #expect(throws: GGUFError.noTensor(file: "t.gguf", name: "c")) { try file.tensor(named: "c") }
  }

  @Test("refuses counts that the file cannot hold") func counts() {
    for count in [.max, 1_000_000_000, 1 << 62, 5] as [UInt64] {
      var file = GGUFBytes(entries: count)
      file.bytes += [UInt8](repeating: 0, count: 40)
      expectRefused(file, "\(count) entries")
      file = GGUFBytes(tensors: count)
      file.bytes += [UInt8](repeating: 0, count: 40)
      expectRefused(file, "\(count) tensors")
    }
    for version in [0, 1, 4, 0x0300_0000] as [UInt32] {
      expectRefused(GGUFBytes(version: version), "version \(version)")
    }
  }

  @Test("refuses lengths that the file cannot hold") func lengths() {
    for length in [1 << 63, .max, 1 << 61, 100] as [UInt64] {
      var file = GGUFBytes(entries: 1)
      file.entry("k", 8) { $0.add(length) }
      expectRefused(file, "string of \(length)")
      for type in GGUFValueType.allCases {
        file = GGUFBytes(entries: 1)
        file.entry("k", 9) {
          $0.add(type.rawValue)
          $0.add(length)
          $0.add(0 as UInt32)
        }
        expectRefused(file, "\(length) of type \(type)")
      }
      file = GGUFBytes(entries: 1)
      file.add(length)
      file.bytes += [UInt8](repeating: 0x61, count: 60)
      expectRefused(file, "key of \(length)")
    }
  }

  @Test("refuses deep nesting without recursion beyond the limit") func nesting() {
    var file = GGUFBytes(entries: 1)
    file.entry("k", 9) {
      for _ in 0..<100_000 {
        $0.add(9 as UInt32)
        $0.add(1 as UInt64)
      }
    }
    expectRefused(file)
  }

  @Test("refuses odd values and keys") func oddValues() {
    var file = GGUFBytes(entries: 1)
    file.entry("k", 7) { $0.add(2 as UInt8) }
    expectRefused(file, "truth value of 2")
    file = GGUFBytes(entries: 1)
    file.entry("k", 13) { $0.add(2 as UInt64) }
    expectRefused(file, "type 13")
    file = GGUFBytes(entries: 1)
    file.entry("", 0) { $0.add(2 as UInt8) }
    expectRefused(file, "empty key")
    file = GGUFBytes(entries: 2)
    for _ in 0..<2 { file.entry("k", 0) { $0.add(2 as UInt8) } }
    expectRefused(file, "duplicate key")
    file = GGUFBytes(entries: 1)
    file.add(2 as UInt64)
    file.bytes += [0xFF, 0xFE, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    expectRefused(file, "key that is not UTF-8")
  }

  @Test("refuses alignments that cannot be", arguments: [0, 13, 1 << 31, 3, 1 << 21] as [UInt32])
  func alignment(value: UInt32) {
    var file = GGUFBytes(entries: 1)
    file.entry("general.alignment", 4) { $0.add(value) }
    expectRefused(file)
  }

  @Test("refuses an alignment of another type") func alignmentType() {
    var file = GGUFBytes(entries: 1)
    file.entry("general.alignment", 10) { $0.add(32 as UInt64) }
    expectRefused(file)
  }

  @Test("refuses tensors that cannot be") func tensors() {
    let cases: [(String, [UInt64], UInt32, UInt64, UInt32?)] = [
      ("zero", [0], 0, 0, nil), ("zero row", [32, 0], 2, 0, nil),
      ("huge", [UInt64(Int64.max), 2], 24, 0, nil),
      ("too wide", [1 << 63], 24, 0, nil), ("pad overflow", [(1 << 63) - 3], 24, 0, nil),
      ("block", [33], 2, 0, nil),
      ("k block", [128], 12, 0, nil), ("rank", [1, 1, 1, 1, 1], 0, 0, nil), ("rank lie", [1], 0, 0, .max),
      ("type", [32], 43, 0, nil), ("removed", [32], 4, 0, nil), ("offset", [8], 0, 32, nil),
      ("far", [8], 0, 1 << 62, nil),
      ("wrap", [8], 0, .max, nil), ("beyond", [1000], 0, 0, nil),
      (String(repeating: "n", count: 64), [8], 0, 0, nil),
    ]
    for (name, dimensions, type, offset, rank) in cases {
      var file = GGUFBytes(tensors: 1)
      file.tensor(name, dimensions, type, offset, rank: rank)
      file.data(64)
      expectRefused(file, name)
    }
    var good = GGUFBytes(tensors: 1)
    good.tensor(String(repeating: "n", count: 63), [8], 0, 0)
    good.data(32)
    #expect((try? open(good))?.tensors.count == 1)
  }

  @Test("refuses tensors that overlap, leave holes or share a name") func layout() {
    for (offset, name) in [(0, "b"), (4, "b"), (64, "b"), (32, "a")] as [(UInt64, String)] {
      var file = GGUFBytes(tensors: 2)
      file.tensor("a", [8], 0, 0)
      file.tensor(name, [8], 0, offset)
      file.data(96)
      expectRefused(file, "\(name) at \(offset)")
    }
  }

  @Test("reads a million keys in linear time") func manyKeys() throws {
    var file = GGUFBytes(entries: 1_000_000)
    file.bytes.reserveCapacity(30_000_000)
    for index in 0..<1_000_000 { file.entry("key.\(index)", 0) { $0.bytes.append(1) } }
    var count = 0
    let time = try ContinuousClock().measure { count = try open(file).metadata.count }
    #expect(count == 1_000_000)
    #expect(time < .seconds(20), "took \(time)")
  }

  @Test("never traps on a damaged file") func damage() throws {
    let bytes = sample().bytes
    let header = try open(bytes).dataOffset
    for length in 0..<bytes.count { #expect((try? open(Array(bytes.prefix(length)))) == nil, "\(length)") }
    for index in 0..<header {
      for bit in 0..<8 {
        var damaged = bytes
        damaged[index] ^= 1 << bit
        guard let file = try? open(damaged) else { continue }
        for tensor in file.tensors.values { #expect(tensor.offset + tensor.byteCount <= bytes.count) }
      }
    }
  }

  @Test("reads files of another tool", .enabled(if: SharedData.isAvailable, "the reference data is not here"))
  func real() throws {
    let plain = try GGUFFile(path: SharedData.path("fixtures/llama-tiny-f16.gguf"))
    let mixed = try GGUFFile(path: SharedData.path("fixtures/llama-tiny-Q4_K_M.gguf"))
    #expect(plain.metadata["general.architecture"] == .string("llama"))
    #expect(plain.metadata["llama.embedding_length"]?.intValue == 256)
    #expect(plain.metadata["tokenizer.ggml.tokens"]?.arrayValue?.strings?.count == 512)
    #expect(Set(plain.tensors.keys) == Set(mixed.tensors.keys))
    #expect(mixed.tensors["blk.0.attn_q.weight"]?.type.name == "Q4_K")
    #expect(plain.warnings.isEmpty && mixed.warnings.isEmpty)
    #expect(try plain.tensor(named: "output_norm.weight").floats().allSatisfy { $0.isFinite })
    #expect(GGUFFile.isGGUF(path: plain.path))
  }
}
