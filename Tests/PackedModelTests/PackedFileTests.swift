import OrderedCollections
import PackedModel
import SafeIO
import TensorCore
import TestSupport
import Testing

@Suite("Packed files") struct PackedFileTests {
  private let text = Array(String(repeating: "graph @acorn { } ", count: 20).utf8)

  private func values(_ count: Int) -> [UInt8] {
    var generator = SeededGenerator(seed: 7)
    return (0..<count).flatMap { _ in
      let bits = SmallFloat.bfloat16(generator.normal())
      return [UInt8(truncatingIfNeeded: bits), UInt8(truncatingIfNeeded: bits >> 8)]
    }
  }

  private var sections: [PackedSectionInput] {
    [
      PackedSectionInput(name: "graph", kind: "graph", bytes: text, compression: .zstd),
      PackedSectionInput(name: "plain", kind: "weights", bytes: values(50)),
      PackedSectionInput(
        name: "planes", kind: "weights", bytes: values(3000), compression: .zstd, transform: .bf16Planes),
      PackedSectionInput(name: "empty", kind: "note", bytes: [], compression: .zstd),
      PackedSectionInput(name: "short", kind: "note", bytes: [1, 2, 3], compression: .zstd),
    ]
  }

  private func write(_ features: [String] = []) throws -> [UInt8] {
    let directory = TemporaryDirectory()
    try PackedWriter.write(
      to: directory.file("m.adze"), metadata: ["tool": "adze", "numbers": [1, 2.5]],
      requiredFeatures: features,
      sections: sections)
    #expect(directory.entries == ["m.adze"])
    #expect(PackedFile.isPacked(path: directory.file("m.adze")))
    return try FileReading.readAll(directory.file("m.adze"))
  }

  private func open(_ bytes: [UInt8], _ features: Set<String> = []) throws(PackedModelError) -> PackedFile {
    try PackedFile(region: MemoryRegion(copying: bytes), path: "m.adze", supportedFeatures: features)
  }

  @Test("gives back what it got") func roundTrip() throws {
    let file = try open(try write())
    #expect(file.metadata == ["tool": "adze", "numbers": [1, 2.5]])
    #expect(Array(file.sections.keys) == ["graph", "plain", "planes", "empty", "short"])
    for section in sections {
      let expected = try section.load().flatMap(\.array)
      #expect(try file.bytes(of: section.name).array == expected, "\(section.name)")
      #expect(file.sections[section.name]?.kind == section.kind)
      #expect(file.sections[section.name]?.byteCount == expected.count)
      #expect((file.sections[section.name]?.offset ?? 1) % 64 == 0)
    }
    #expect(file.sections["planes"]?.transform == .bf16Planes)
    #expect(file.sections["short"]?.compression == PackedCompression.none)
    #expect(file.requiredFeatures == ["bf16_planes", "zstd"])
    #expect((file.sections["graph"]?.storedByteCount ?? .max) < text.count)
    var done = 0
    #expect(file.verify { now, total in done = max(done, now * 100 / total) }.isEmpty)
    #expect(done == 100)
    let tensor = try file.bytes(of: "plain").tensor(.bf16, [50])
    #expect(try tensor.floats().count == 50)
    #expect(throws: TensorCoreError.self) { try file.bytes(of: "plain").tensor(.bf16, [49]) }
    #expect(throws: PackedModelError.noSection(file: "m.adze", name: "x")) { try file.bytes(of: "x") }
  }

  @Test("uses uncompressed sections in place") func inPlace() throws {
    let directory = TemporaryDirectory()
    let path = directory.file("m")
    try PackedWriter.write(to: path, metadata: [:], sections: sections)
    let file = try PackedFile(path: path)
    let plain = try file.bytes(of: "plain")
    #expect(plain.region.byteCount == (try FileReading.size(path)))
    #expect(plain.range.lowerBound == file.sections["plain"]?.offset)
  }

  @Test("writes the same bytes every time") func deterministic() throws { #expect(try write() == write()) }

  @Test("compresses bfloat16 better by planes") func planes() throws {
    let directory = TemporaryDirectory()
    let bytes = values(20_000)
    var stored: [Int] = []
    for transform in [PackedTransform.none, .bf16Planes] {
      let section = PackedSectionInput(
        name: "w", kind: "weights", bytes: bytes, compression: .zstd, transform: transform)
      try PackedWriter.write(to: directory.file("m"), metadata: [:], sections: [section])
      let file = try PackedFile(path: directory.file("m"))
      #expect(try file.bytes(of: "w").array == bytes)
      stored.append(file.sections["w"]?.storedByteCount ?? 0)
    }
    #expect(stored[1] < stored[0])
  }

  @Test("finds every flipped bit and names the section") func flips() throws {
    let bytes = try write()
    let file = try open(bytes)
    for index in bytes.indices {
      var damaged = bytes
      damaged[index] ^= 1 << (index % 8)
      let owner = file.sections.values.first { section in
        let start =
          file.sections.values.last { $0.offset < section.offset }.map { $0.offset + $0.storedByteCount } ?? 0
        return start <= index && index < section.offset + section.storedByteCount
      }
      do throws(PackedModelError) {
        let problems = try open(damaged).verify()
        #expect(problems.map(\.section) == [owner?.name], "byte \(index)")
      } catch {
        #expect(
          owner?.name == "graph" && index < (file.sections["graph"]?.offset ?? 0), "byte \(index): \(error)")
        #expect(error.diagnostic.subject == "header" || index < 16)
      }
    }
  }

  @Test("finds damage in a section only when it is asked for") func lazily() throws {
    var bytes = try write()
    let offset = try #require(try open(bytes).sections["plain"]?.offset)
    bytes[offset] ^= 1
    let file = try open(bytes)
    #expect(try file.bytes(of: "plain").byteCount == 100)
    #expect(throws: PackedModelError.self) { try file.bytes(of: "plain", checked: true) }
    #expect(file.verify().map(\.section) == ["plain"])
  }

  @Test("refuses every prefix and bytes at the end") func truncation() throws {
    let bytes = try write()
    for length in 0..<bytes.count { #expect((try? open(Array(bytes.prefix(length)))) == nil, "\(length)") }
    #expect((try? open(bytes + [0])) == nil)
  }

  @Test("refuses later versions and unknown features") func features() throws {
    var bytes = try write(["paged-experts"])
    #expect(throws: PackedModelError.feature(file: "m.adze", name: "paged-experts")) { try open(bytes) }
    #expect(try open(bytes, ["paged-experts"]).requiredFeatures.contains("paged-experts"))
    bytes[8] = 2
    #expect(throws: PackedModelError.version(file: "m.adze", version: 2)) {
      try open(bytes, ["paged-experts"])
    }
  }

  // MARK: Headers with a right digest and wrong content

  private func file(_ header: String, data: [UInt8] = []) -> [UInt8] {
    func littleEndian(_ value: Int) -> [UInt8] {
      (0..<8).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
    }
    var text = Array(header.utf8)
    text += [UInt8](repeating: 0x20, count: 960 - text.count)
    let preamble =
      Array("ADZEPACK".utf8) + littleEndian(1) + littleEndian(text.count)
      + littleEndian(64 + text.count + data.count)
    return preamble + Checksum.sha256(preamble + text).bytes + text + data
  }

  private func header(_ sections: String, features: String = "[]") -> String {
    #"{"required_features":\#(features),"metadata":{},"sections":[\#(sections)]}"#
  }

  private func entry(
    _ name: String = "\"a\"", offset: Int = 1024, stored: Int = 4, bytes: Int = 4,
    compression: String = "none",
    transform: String = "none"
  ) -> String {
    let digest = Checksum.sha256([1, 2, 3, 4]).hexadecimal
    return #"{"name":\#(name),"kind":"k","offset":\#(offset),"stored_bytes":\#(stored),"bytes":\#(bytes),"#
      + #""compression":"\#(compression)","transform":"\#(transform)","sha256":"\#(digest)"}"#
  }

  @Test("refuses headers that lie") func lies() throws {
    #expect(try open(file(header(entry()), data: [1, 2, 3, 4])).verify().isEmpty)
    let wrong = [
      header(entry(offset: 960)), header(entry(offset: 1088)), header(entry(offset: -64)),
      header(entry(stored: 5, bytes: 5)),
      header(entry(stored: 3, bytes: 3)), header(entry(stored: .max, bytes: .max)),
      header(entry(stored: -4, bytes: -4)),
      header(entry(bytes: 5)), header(entry(compression: "lz4")), header(entry(transform: "bf16_planes")),
      header(entry(transform: "x")), header(entry("7")), header(entry("\"\"")),
      header(entry() + "," + entry()),
      header(entry().replacing("sha256", with: "sha1")), header(entry(), features: "[1]"),
      header(entry(), features: "{}"),
      "[]", "{}", header(""), header("{}"), header("1"), header(entry()) + "x",
      header(entry(bytes: 5, compression: "zstd", transform: "bf16_planes")),
    ]
    for text in wrong {
      #expect(throws: PackedModelError.self, "\(text)") { try open(file(text, data: [1, 2, 3, 4])) }
    }
  }

  @Test("asks for no memory that a compressed section cannot fill", arguments: [4, 1 << 20, 1 << 39, .max])
  func bomb(byteCount: Int) throws {
    let text = header(entry(offset: 1024, bytes: byteCount, compression: "zstd"))
    let packed = try open(file(text, data: [1, 2, 3, 4]))
    #expect(throws: PackedModelError.self) { try packed.bytes(of: "a") }
    #expect(packed.verify().map(\.section) == ["a"])
  }

  @Test("leaves the old file when a section fails") func failure() throws {
    struct Refusal: Error {}
    let directory = TemporaryDirectory()
    let path = directory.write([1], to: "m")
    let failing = PackedSectionInput(name: "x", kind: "k", byteCount: 4) { throw Refusal() }
    #expect(throws: Refusal.self) {
      try PackedWriter.write(to: path, metadata: [:], sections: sections + [failing])
    }
    let wrong = PackedSectionInput(name: "x", kind: "k", byteCount: 4) { [] }
    #expect(throws: PackedModelError.self) {
      try PackedWriter.write(to: path, metadata: [:], sections: [wrong])
    }
    #expect(throws: PackedModelError.self) {
      try PackedWriter.write(to: path, metadata: [:], sections: sections + sections)
    }
    let odd = PackedSectionInput(
      name: "x", kind: "k", bytes: [1, 2, 3], compression: .zstd, transform: .bf16Planes)
    #expect(throws: PackedModelError.self) {
      try PackedWriter.write(to: path, metadata: [:], sections: [odd])
    }
    #expect(directory.entries == ["m"])
    #expect(try FileReading.readAll(path) == [1])
  }

  @Test("computes the SHA-256 of the standard") func checksum() {
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    #expect(Checksum.sha256(Array("abc".utf8)).hexadecimal == abc)
    #expect(SHA256Digest(hexadecimal: abc)?.hexadecimal == abc)
    #expect(SHA256Digest(hexadecimal: String(repeating: "+1", count: 32)) == nil)
  }
}
