import Glibc
import OrderedCollections
import SafeIO
import Safetensors
import TensorCore
import TestSupport
import Testing

@Suite("Safetensors checkpoints") struct SafetensorsCheckpointTests {
  private func sample() throws -> OrderedDictionary<String, Tensor> {
    [
      "b.weight": try Tensor([1, 2, 3, 4, 5, 6] as [Float], shape: [2, 3]),
      "a.weight": try Tensor([-1, 7] as [Int32], shape: [2]),
      "c": try Tensor(bytes: [9], elementType: .u8, shape: []),
      "d \"\\\n": try Tensor(bytes: [1, 0, 2, 0], elementType: .bf16, shape: [2, 1]),
      "empty": try Tensor(bytes: [], elementType: .f64, shape: [0, 4]),
    ]
  }

  private func expectEqual(
    _ left: OrderedDictionary<String, Tensor>, _ right: OrderedDictionary<String, Tensor>
  ) {
    #expect(Set(left.keys) == Set(right.keys))
    for (name, tensor) in left {
      let other = right[name]
      #expect(other?.elementType == tensor.elementType)
      #expect(other?.shape == tensor.shape)
      let bytes = unsafe tensor.withBytes { unsafe Array($0) }
      #expect(unsafe other?.withBytes { unsafe Array($0) } == bytes, "\(name)")
    }
  }

  @Test("reads back what it writes") func roundTrip() throws {
    let directory = TemporaryDirectory()
    let path = directory.file("model.safetensors")
    try SafetensorsWriter.write(try sample(), to: path)
    let file = try SafetensorsFile(path: path)
    expectEqual(try sample(), file.tensors)
    #expect(file.metadata == ["format": "pt"])
    #expect(file.warnings.isEmpty)
    #expect(Array(file.tensors.keys) == ["empty", "b.weight", "a.weight", "d \"\\\n", "c"])
    let first = try FileReading.readAll(path)
    #expect((8 + Int(first[0]) + Int(first[1]) << 8) % 8 == 0)
    try SafetensorsWriter.write(file.tensors, to: path)
    #expect(try FileReading.readAll(path) == first)
    #expect(SafetensorsFile.isSafetensors(path: path))
    expectEqual(try sample(), try SafetensorsCheckpoint(path: directory.path).tensors)
  }

  @Test(
    "writes the bytes that the reference implementation writes",
    .enabled(if: SharedData.isAvailable, "the reference data is not here"))
  func reference() throws {
    let path = SharedData.path("fixtures/llama-tiny/model.safetensors")
    let file = try SafetensorsFile(path: path)
    let directory = TemporaryDirectory()
    try SafetensorsWriter.write(file.tensors, metadata: file.metadata, to: directory.file("copy"))
    #expect(try FileReading.readAll(directory.file("copy")) == FileReading.readAll(path))
  }

  @Test("splits a checkpoint and joins it again", arguments: [1, 12, 24, 1 << 30])
  func shards(maxShardBytes: Int) throws {
    let directory = TemporaryDirectory()
    let names = try SafetensorsWriter.writeCheckpoint(
      try sample(), to: directory.path, maxShardBytes: maxShardBytes)
    #expect(directory.entries == names.sorted())
    #expect(
      maxShardBytes < 100 ? names.last == "model.safetensors.index.json" : names == ["model.safetensors"])
    let checkpoint = try SafetensorsCheckpoint(path: directory.path)
    expectEqual(try sample(), checkpoint.tensors)
    #expect(checkpoint.warnings.isEmpty)
    if names.count > 1 {
      expectEqual(
        try sample(), try SafetensorsCheckpoint(path: directory.file("model.safetensors.index.json")).tensors)
    }
  }

  @Test("keeps the old file when a source fails") func failingSource() throws {
    struct Refusal: Error {}
    let directory = TemporaryDirectory()
    let path = directory.write([1], to: "out")
    var sources = try sample().mapValues { TensorSource($0) }
    sources["z"] = TensorSource(elementType: .u8, shape: [1]) { throw Refusal() }
    #expect(throws: Refusal.self) { try SafetensorsWriter.write(sources: sources, to: path) }
    let wrong = try Tensor(bytes: [1, 2], elementType: .u8, shape: [2])
    sources["z"] = TensorSource(elementType: .u8, shape: [1]) { wrong }
    #expect(throws: SafetensorsError.self) { try SafetensorsWriter.write(sources: sources, to: path) }
    #expect(throws: SafetensorsError.self) { try SafetensorsWriter.write(["__metadata__": wrong], to: path) }
    #expect(try FileReading.readAll(path) == [1])
    #expect(directory.entries == ["out"])
  }

  // MARK: Indexes that disagree

  private func problems(_ index: String, _ change: (TemporaryDirectory) -> Void = { _ in }) throws -> [String]
  {
    let directory = TemporaryDirectory()
    let one = try Tensor(bytes: [1, 2], elementType: .u8, shape: [2])
    try SafetensorsWriter.write(["a": one, "b": one], to: directory.file("x.safetensors"))
    try SafetensorsWriter.write(["c": one], to: directory.file("y.safetensors"))
    directory.write(Array(index.utf8), to: "model.safetensors.index.json")
    change(directory)
    do throws(SafetensorsError) {
      _ = try SafetensorsCheckpoint(path: directory.path)
      return []
    } catch {
      guard case .index(_, let problems, _) = error else { return ["\(error)"] }
      return problems
    }
  }

  private let right = #""a":"x.safetensors","b":"x.safetensors","c":"y.safetensors""#

  @Test("accepts an index that agrees") func agreeing() throws {
    #expect(try problems("{\"weight_map\":{\(right)}}") == [])
    #expect(try problems("{\"metadata\":{\"total_size\":6},\"weight_map\":{\(right)}}") == [])
    #expect(try problems("{\"metadata\":{\"total_size\":6.0},\"weight_map\":{\(right)}}") == [])
  }

  @Test("lists every disagreement") func disagreeing() throws {
    #expect(try problems("{\"metadata\":{\"total_size\":7},\"weight_map\":{\(right)}}").count == 1)
    #expect(
      try problems("{\"weight_map\":{\(right),\"d\":\"x.safetensors\",\"e\":\"y.safetensors\"}}").count == 2)
    #expect(try problems("{\"weight_map\":{\(right),\"d\":\"z.safetensors\"}}").count == 1)
    #expect(
      try problems(
        "{\"weight_map\":{\"a\":\"y.safetensors\",\"b\":\"x.safetensors\",\"c\":\"y.safetensors\"}}"
      ).count == 2)
    #expect(try problems("{\"weight_map\":{\"a\":1}}").count == 1)
    #expect(try problems("{\"map\":{}}").count == 1)
    let many = (0..<100).map { "\"m\($0)\":\"x.safetensors\"" }.joined(separator: ",")
    #expect(try problems("{\"weight_map\":{\(right),\(many)}}").count == 20)
  }

  @Test(
    "opens shards only inside the directory",
    arguments: ["../x", "/etc/passwd", "a/../../b", "x\\u0000", "..", "link"])
  func traversal(name: String) throws {
    let found = try problems("{\"weight_map\":{\"a\":\"\(name)\"}}") { directory in
      unsafe symlink("/etc/passwd", directory.file("link"))
    }
    #expect(found.count == 1)
    #expect(found.first?.contains("io.outside-directory") == true)
  }

  @Test("says what a directory without safetensors holds") func directories() throws {
    let directory = TemporaryDirectory()
    #expect(throws: SafetensorsError.noCheckpoint(directory: directory.path, hint: nil)) {
      try SafetensorsCheckpoint(path: directory.path)
    }
    directory.write([0x80, 2], to: "pytorch_model.bin")
    do throws(SafetensorsError) { _ = try SafetensorsCheckpoint(path: directory.path) } catch {
      #expect(error.diagnostic.hint?.contains("pytorch_model.bin") == true)
      #expect(error.diagnostic.status == .badInput)
    }
    directory.write(safetensors("{}", dataByteCount: 0), to: "consolidated.safetensors")
    #expect(try SafetensorsCheckpoint(path: directory.path).warnings.count == 1)
    #expect(throws: SafetensorsError.io(.missing(file: directory.file("no")))) {
      try SafetensorsCheckpoint(path: directory.file("no"))
    }
  }
}
