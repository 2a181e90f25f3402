import Execution
import OrderedCollections
import PackedModel
import Pipeline
import SafeIO
import TensorCore
import TestSupport
import Testing

/// Damaged and dishonest packed files: an error, never a trap, and nothing outside the file is ever read.
@Suite(.serialized) struct PackedModelDamageTests {
  let directory = TemporaryDirectory()
  let tiny: LoadedModel

  init() throws {
    try TestModels.writeTiny(to: directory)
    tiny = try ModelFormats.load(directory.path)
  }

  private func packed(_ layout: PackOptions.Layout, compresses: Bool = false) throws -> PackedFile {
    let path = directory.file("\(layout)-\(compresses).adze")
    let recipe = try TestModels.recipe("rtn", "int4", group: 32, symmetric: false)
    let result = try TestModels.quantized(tiny, recipe)
    _ = try PackStage(ModelExport(result), options: PackOptions(layout: layout, compresses: compresses))
      .write(to: path)
    return try PackedFile(path: path, supportedFeatures: PackOptions.supportedFeatures)
  }

  @Test func verifyNamesEveryDamagedSection() throws {
    for compresses in [false, true] {
      let file = try packed(.panel16, compresses: compresses)
      let bytes = try TestModels.bytes(file.path)
      for section in file.sections.values where section.storedByteCount > 0 {
        var damaged = bytes
        damaged[section.offset + section.storedByteCount / 2] ^= 0x10
        let path = directory.write(damaged, to: "damaged.adze")
        let problems = try PackedFile(path: path, supportedFeatures: PackOptions.supportedFeatures).verify()
        #expect(problems.map(\.section) == [section.name])
      }
    }
  }

  @Test func damageToWhatIsReadAtStartIsNoticedAtStart() throws {
    let file = try packed(.panel16)
    let bytes = try TestModels.bytes(file.path)
    for name in ["graph", "vectors"] {
      let section = try #require(file.sections[name])
      var damaged = bytes
      damaged[section.offset + section.storedByteCount / 2] ^= 1
      let path = directory.write(damaged, to: "damaged.adze")
      #expect(TestModels.failure { _ = try ModelFormats.load(path) }?.status == .badInput, "\(name)")
    }
  }

  @Test func everyHeaderByteCounts() throws {
    let file = try packed(.panel16)
    let bytes = try TestModels.bytes(file.path)
    let end = file.sections.values.map(\.offset).min() ?? 0
    for position in stride(from: 0, to: end, by: max(1, end / 300)) {
      var damaged = bytes
      damaged[position] ^= 0x04
      let path = directory.write(damaged, to: "header.adze")
      #expect(TestModels.failure { _ = try ModelFormats.load(path) } != nil, "byte \(position)")
    }
  }

  @Test func futureFeaturesAreRefused() throws {
    let file = try packed(.panel16)
    let path = directory.file("future.adze")
    try write(file, metadata: file.metadata, to: path, features: ["layout-panel16", "telepathy"])
    let failure = TestModels.failure { _ = try ModelFormats.load(path) }
    #expect(failure?.rendered.contains("telepathy") == true)
    var bytes = try TestModels.bytes(file.path)
    bytes[8] = 9
    #expect(
      TestModels.failure { _ = try ModelFormats.load(directory.write(bytes, to: "version.adze")) } != nil)
  }

  /// Every scalar of the metadata replaced by values that nobody expects there.
  @Test(arguments: [PackOptions.Layout.panel16, .canonical])
  func contradictoryMetadataIsAnError(layout: PackOptions.Layout) throws {
    let file = try packed(layout)
    let path = directory.file("metadata.adze")
    var refused = 0
    for place in JSONPlaces.leaves(.object(file.metadata)) {
      guard place.first != .key("configuration"), place.first != .key("provenance") else { continue }
      for value in JSONPlaces.strangeValues {
        let changed = JSONPlaces.replacing(place[...], in: .object(file.metadata), by: value)
        try write(file, metadata: changed.objectValue ?? [:], to: path, features: file.requiredFeatures)
        if let failure = TestModels.failure(loadAndRun(path)) {
          #expect(failure.code != "not-diagnosable", "\(place): \(failure.message)")
          refused += 1
        }
      }
    }
    #expect(refused > 150)
  }

  /// The graph's text with numbers and names changed at random.
  @Test func contradictoryGraphsAreAnError() throws {
    let file = try packed(.panel16)
    let text = String(decoding: try file.bytes(of: "graph").array, as: UTF8.self)
    let path = directory.file("graph.adze")
    var generator = SeededGenerator(seed: 21)
    var refused = 0
    for round in 0..<250 {
      var words = text.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
      for _ in 0..<Int.random(in: 1...2, using: &generator) { mutate(&words, &generator) }
      try write(
        file, metadata: file.metadata, to: path, features: file.requiredFeatures,
        graph: Array(words.joined(separator: " ").utf8))
      if let failure = TestModels.failure(loadAndRun(path)) {
        #expect(failure.code != "not-diagnosable", "round \(round): \(failure.message)")
        refused += 1
      }
    }
    #expect(refused > 100)
  }

  private func mutate(_ words: inout [String], _ generator: inout SeededGenerator) {
    let index = Int.random(in: 0..<words.count, using: &generator)
    let numbers = ["0", "1", "2", "3", "64", "2147483648", "9223372036854775807", "-1", "1e300", "T"]
    switch Int.random(in: 0..<4, using: &generator) {
    case 0: words[index] = words[Int.random(in: 0..<words.count, using: &generator)]
    case 1: words.swapAt(index, Int.random(in: 0..<words.count, using: &generator))
    default:
      // A number somewhere behind the place, inside its word.
      let number = numbers.randomElement(using: &generator) ?? "0"
      guard let place = words[index...].firstIndex(where: { $0.contains { $0.isNumber } }) else { return }
      words[place] = words[place].replacing(/[0-9]+/, with: number, maxReplacements: 1)
    }
  }

  private func loadAndRun(_ path: String) -> () throws -> Void {
    {
      let model = try ModelFormats.load(path)
      _ = try TestModels.logits(model, [0, 5, 9])
      _ = try TestModels.logits(model, [0, 5, 9], options: .init())
    }
  }

  private func write(
    _ file: PackedFile, metadata: JSONObject, to path: String, features: [String], graph: [UInt8]? = nil
  ) throws {
    let sections = try file.sections.values.map { section in
      let bytes = section.name == "graph" ? graph : nil
      return PackedSectionInput(
        name: section.name, kind: section.kind, bytes: try bytes ?? file.bytes(of: section.name).array)
    }
    try PackedWriter.write(to: path, metadata: metadata, requiredFeatures: features, sections: sections)
  }
}

/// Places in a JSON value.
enum JSONPlaces {
  enum Step: Equatable {
    case key(String)
    case index(Int)
  }

  static let strangeValues: [JSONValue] = [
    .integer(-1), .integer(0), .integer(65), .integer(1 << 31), .integer(.max), .number(1e300),
    .string("bf16"), .null,
  ]

  /// Paths to scalars; of long arrays the first two elements only.
  static func leaves(_ value: JSONValue) -> [[Step]] {
    if let object = value.objectValue {
      return object.flatMap { key, value in leaves(value).map { [.key(key)] + $0 } }
    }
    if let array = value.arrayValue {
      return array.prefix(2).enumerated().flatMap { index, value in leaves(value).map { [.index(index)] + $0 }
      }
    }
    return [[]]
  }

  static func replacing(_ place: ArraySlice<Step>, in value: JSONValue, by new: JSONValue) -> JSONValue {
    switch place.first {
    case nil: return new
    case .key(let key):
      guard var object = value.objectValue, let old = object[key] else { return value }
      object[key] = replacing(place.dropFirst(), in: old, by: new)
      return .object(object)
    case .index(let index):
      guard var array = value.arrayValue, array.indices.contains(index) else { return value }
      array[index] = replacing(place.dropFirst(), in: array[index], by: new)
      return .array(array)
    }
  }
}
