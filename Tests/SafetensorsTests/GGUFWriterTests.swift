import GGUF
import OrderedCollections
import SafeIO
import TensorCore
import TestSupport
import Testing

@Suite("Writing GGUF") struct GGUFWriterTests {
  private let directory = TemporaryDirectory()

  private static let metadata: OrderedDictionary<String, GGUFValue> = [
    "general.architecture": .string("llama"), "u8": .uint8(255), "i8": .int8(-1), "u16": .uint16(65535),
    "i16": .int16(-2), "u32": .uint32(.max), "i32": .int32(-3), "f32": .float32(-0.0), "bool": .bool(false),
    "text": .string("é\u{301}"), "odd": .bytes([0xFF, 0, 0x61]), "u64": .uint64(.max), "i64": .int64(.min),
    "f64": .float64(.infinity), "a.u8": .array(.uint8([1, 2])), "a.i8": .array(.int8([-1])),
    "a.u16": .array(.uint16([3, 65535])), "a.i16": .array(.int16([-3])), "a.u32": .array(.uint32([])),
    "a.i32": .array(.int32([-5, 6])), "a.f32": .array(.float32([1.5, -2])), "a.bool": .array(.bool([true])),
    "a.text": .array(.string(["", "b", "ü"])), "a.u64": .array(.uint64([7])), "a.i64": .array(.int64([-7])),
    "a.f64": .array(.float64([2.5])),
    "a.a": .array(.array([.array([]), .array([.uint8([9]), .string([])])])),
  ]

  private func tensors(_ count: Int = 3) throws -> OrderedDictionary<String, GGUFTensorSource> {
    var result: OrderedDictionary<String, GGUFTensorSource> = [:]
    for index in 0..<count {
      result["t\(index).weight"] = try GGUFTensorSource(
        Tensor((0..<(5 * (index + 1))).map { Float($0 + index) }, shape: Shape([index + 1, 5])))
    }
    return result
  }

  @Test("what is written is read", arguments: [32, 1, 4096] as [UInt32]) func roundTrip(alignment: UInt32)
    throws
  {
    var metadata = Self.metadata
    metadata["general.alignment"] = .uint32(alignment)
    let path = directory.file("a.gguf")
    try GGUFWriter.write(metadata: metadata, tensors: tensors(), to: path)
    let file = try GGUFFile(path: path)
    #expect(file.metadata["f32"]?.type == .float32)
    #expect(file.metadata == metadata)
    #expect(file.alignment == Int(alignment))
    #expect(file.tensors.count == 3)
    #expect(file.tensors.values.allSatisfy { $0.offset % Int(alignment) == 0 })
    #expect(try file.tensor(named: "t2.weight").floats() == (0..<15).map { Float($0 + 2) })
    #expect(file.tensors["t2.weight"]?.shape == [3, 5])
    #expect(try copy(path) == FileReading.readAll(path))
  }

  /// Reads a file and writes it again.
  private func copy(_ path: String) throws -> [UInt8] {
    let file = try GGUFFile(path: path)
    var tensors: OrderedDictionary<String, GGUFTensorSource> = [:]
    for (name, tensor) in file.tensors {
      let bytes = try file.bytes(of: name)
      tensors[name] = GGUFTensorSource(type: tensor.type, shape: tensor.shape) { bytes }
    }
    let target = directory.file("copy.gguf")
    try GGUFWriter.write(metadata: file.metadata, tensors: tensors, version: file.version, to: target)
    return try FileReading.readAll(target)
  }

  @Test("files of other tools are written back byte for byte", .enabled(if: SharedData.isAvailable))
  func peers() throws {
    var count = 0
    for folder in ["fixtures", "tokenizers"] {
      for name in try FileReading.list(SharedData.path(folder)) where name.hasSuffix(".gguf") {
        let path = SharedData.path(folder + "/" + name)
        #expect(try copy(path) == FileReading.readAll(path), "\(name)")
        count += 1
      }
    }
    #expect(count >= 10)
  }

  @Test("the vectors are written back byte for byte") func vectors() throws {
    let folder = SharedData.projectRoot + "/Formats/GGUF/Vectors"
    let names = try FileReading.list(folder).filter { $0.hasSuffix(".gguf") }
    #expect(!names.isEmpty)
    for name in names { #expect(try copy(folder + "/" + name) == FileReading.readAll(folder + "/" + name)) }
  }

  @Test("the parts of the vector are one model") func splitVector() throws {
    let folder = SharedData.projectRoot + "/Formats/GGUF/Vectors/split"
    for name in try FileReading.list(folder) {
      let model = try GGUFCheckpoint(path: folder + "/" + name)
      #expect(model.files.count == 3)
      #expect(Array(model.tensors.keys) == ["f32", "q8_0"])
      #expect(model.metadata == ["general.architecture": .string("llama"), "general.name": .string("split")])
      #expect(try model.tensor(named: "f32").floats() == [0, 1, 2, 3, 4, 5])
      #expect(try model.bytes(of: "q8_0").integers() == (0..<68).map { Int64($0) })
    }
  }

  @Test("what a file cannot hold is refused and leaves nothing") func refusals() throws {
    let path = directory.file("bad.gguf")
    let good = try Tensor([1, 2] as [Float], shape: [2])
    let cases: [(OrderedDictionary<String, GGUFValue>, OrderedDictionary<String, GGUFTensorSource>)] = [
      (["": .uint8(1)], [:]), ([String(repeating: "k", count: 65536): .uint8(1)], [:]),
      (["general.alignment": .uint32(24)], [:]), (["general.alignment": .uint64(32)], [:]),
      ([:], ["": try GGUFTensorSource(good)]),
      ([:], [String(repeating: "n", count: 64): try GGUFTensorSource(good)]),
      ([:], ["rank": try GGUFTensorSource(good.reshaped(to: [1, 1, 1, 1, 2]))]),
      ([:], ["empty": try GGUFTensorSource(Tensor([] as [Float], shape: [0, 2]))]),
      ([:], ["short": GGUFTensorSource(type: Self.type("F32"), shape: [3]) { good }]),
      ([:], ["long": GGUFTensorSource(type: Self.type("F32"), shape: [1]) { good }]),
      ([:], ["block": GGUFTensorSource(type: Self.type("Q4_0"), shape: [33]) { good }]),
      (
        [:],
        [
          "thrown": GGUFTensorSource(type: Self.type("F32"), shape: [2]) {
            throw GGUFError.notGGUF(file: "x")
          }
        ]
      ),
    ]
    for (metadata, tensors) in cases {
      #expect(throws: (any Error).self, "\(metadata.keys) \(tensors.keys)") {
        try GGUFWriter.write(metadata: metadata, tensors: tensors, to: path)
      }
      #expect(directory.entries.isEmpty)
    }
    #expect(throws: TensorCoreError.self) {
      try GGUFTensorSource(Tensor(bytes: [1], elementType: .u8, shape: [1]))
    }
  }

  static func type(_ name: String) -> GGUFTensorType {
    GGUFTensorType.all.first { $0.name == name } ?? GGUFTensorType.all[0]
  }

  @Test("pieces make a tensor") func pieces() throws {
    let path = directory.file("p.gguf")
    let source = GGUFTensorSource(type: Self.type("F32"), shape: [2, 3]) { write in
      for value in 0..<6 { try write(Tensor([Float(value)], shape: [1])) }
    }
    try GGUFWriter.write(metadata: [:], tensors: ["a": source], to: path)
    #expect(try GGUFFile(path: path).tensor(named: "a").floats() == [0, 1, 2, 3, 4, 5])
  }

  // MARK: Splits

  private func split(_ maxShardBytes: Int = 40) throws -> [String] {
    try GGUFWriter.writeSplit(
      metadata: Self.metadata, tensors: tensors(4), to: directory.file("m.gguf"),
      limit: PartLimit(byteCount: maxShardBytes))
  }

  @Test("a split model is read as a whole from any of its parts") func splits() throws {
    let paths = try split()
    #expect(paths.map(FileReading.fileName) == (1...4).map { "m-0000\($0)-of-00004.gguf" })
    #expect(directory.entries == paths.map(FileReading.fileName))
    for path in paths {
      let model = try GGUFCheckpoint(path: path)
      #expect(model.metadata == Self.metadata)
      #expect(model.files.map(\.path) == paths)
      #expect(Array(model.tensors.keys) == (0..<4).map { "t\($0).weight" })
      for index in 0..<4 {
        #expect(
          try model.tensor(named: "t\(index).weight").floats()
            == (0..<(5 * (index + 1))).map { Float($0 + index) })
      }
      #expect(model.warnings == ["1 strings of the metadata are not UTF-8"])
      #expect(throws: GGUFError.self) { try model.bytes(of: "none") }
    }
    #expect(try GGUFFile(path: paths[1]).metadata.count == 3)
    #expect(try split(1 << 20) == [directory.file("m.gguf")])
    #expect(try GGUFCheckpoint(path: directory.file("m.gguf")).metadata == Self.metadata)
  }

  @Test("parts that do not belong together are refused") func foreignParts() throws {
    func expectRefused(_ note: String, _ body: () throws -> Void) throws {
      for name in directory.entries { AtomicFile.remove(directory.file(name)) }
      let first = try split()[0]
      _ = try GGUFCheckpoint(path: first)
      try body()
      #expect(throws: GGUFError.self, "\(note)") { try GGUFCheckpoint(path: first) }
    }
    func rewrite(
      _ index: Int, tensor: String = "x.weight",
      _ change: (inout OrderedDictionary<String, GGUFValue>) -> Void
    ) throws {
      let path = GGUFSplit.path(directory.file("m"), index: index, count: 4)
      let file = try GGUFFile(path: path)
      var metadata = file.metadata
      change(&metadata)
      let sources = try [tensor: GGUFTensorSource(Tensor([1] as [Float], shape: [1]))]
      try GGUFWriter.write(
        metadata: metadata,
        tensors: OrderedDictionary(uniqueKeysWithValues: sources.map { ($0.key, $0.value) }),
        to: path)
    }
    try expectRefused("missing") { AtomicFile.remove(directory.file("m-00003-of-00004.gguf")) }
    try expectRefused("renamed") { try rewrite(2) { $0["split.no"] = .uint16(1) } }
    try expectRefused("another count") { try rewrite(2) { $0["split.count"] = .uint16(5) } }
    try expectRefused("another total") { try rewrite(2) { $0["split.tensors.count"] = .int32(5) } }
    try expectRefused("no number") { try rewrite(1) { $0["split.no"] = nil } }
    try expectRefused("twice the same") { try rewrite(1, tensor: "t0.weight") { _ in } }
    try expectRefused("another model") { try rewrite(1) { $0["general.architecture"] = .string("gpt2") } }
    try expectRefused("too few tensors") {
      for index in 0..<4 { try rewrite(index, tensor: "y\(index)") { $0["split.tensors.count"] = .int32(9) } }
    }
    try expectRefused("an impossible count") { try rewrite(0) { $0["split.count"] = .int32(-4) } }
    let path = directory.file("free.gguf")
    try GGUFWriter.write(
      metadata: ["split.no": .uint16(0), "split.count": .uint16(2)], tensors: [:], to: path)
    #expect(throws: GGUFError.self) { try GGUFCheckpoint(path: path) }
  }

  @Test("names of parts") func names() {
    #expect(GGUFSplit.path("/a/b", index: 1, count: 12) == "/a/b-00002-of-00012.gguf")
    let place = GGUFSplit.parse("/a/b-00002-of-00012.gguf")
    #expect(place?.stem == "/a/b" && place?.index == 1 && place?.count == 12)
    for odd in [
      "b.gguf", "b-00000-of-00002.gguf", "b-00003-of-00002.gguf", "b-1-of-2.gguf", "b-00001-of-00000.gguf",
    ] {
      #expect(GGUFSplit.parse(odd) == nil, "\(odd)")
    }
  }
}
