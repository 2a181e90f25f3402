import Architectures
import Calibration
import Codecs
import OrderedCollections
import Pipeline
import Quantization
import SafeIO
import TensorCore
import TestSupport
import Testing

/// Families on the whole way: logits in every mode, quantization of experts, and checkpoints whose tensors lie otherwise.
@Suite(.serialized) struct FamilyTests {
  static let own = SharedData.projectRoot + "/Tests/ArchitecturesTests/Goldens"

  static var directories: [String] {
    let parents = SharedData.isAvailable ? [own, SharedData.path("goldens")] : [own]
    return parents.flatMap { parent in
      ((try? FileReading.list(parent)) ?? []).sorted().map { parent + "/" + $0 }
        .filter { FileReading.exists($0 + "/expected.safetensors") }
    }
  }

  private func name(_ directory: String) -> String { String(directory.split(separator: "/").last ?? "") }

  /// Errors by mode; nil where pieces cannot equal the whole.
  private func errors(_ golden: GoldenComparison) throws -> [Double?] {
    try GoldenComparison.Mode.allCases.map { mode in
      golden.applies(mode) ? try golden.error(mode) : nil
    }
  }

  /// Every mode is within its bound, and as good as FAMILIES.md says: not worse than three times the error there, and not so
  /// much better that the table is out of date.
  @Test(
    .enabled(if: !FamilyDocument.isBlessing, "the tables are being written"), arguments: directories)
  func everyModeIsAsGoodAsTheDocumentSays(directory: String) throws {
    let golden = try GoldenComparison(directory: directory, pool: TestModels.pool)
    let row = try FamilyDocument().rows("goldens").first { $0[0] == name(directory) }
    let stated = try #require(row, "FAMILIES.md lacks the golden; BLESS=1 writes it")
    #expect(stated[1] == golden.family)
    let found = try errors(golden)
    for (index, mode) in GoldenComparison.Mode.allCases.enumerated() {
      guard let error = found[index] else {
        #expect(stated[2 + index] == FamilyDocument.none)
        continue
      }
      #expect(error <= golden.bound(mode), "\(directory) \(mode.rawValue): \(error)")
      let known = try #require(Double(stated[2 + index]))
      let least = mode == .int8 || mode == .int8Weights ? 0.001 : 2e-6
      #expect(error <= max(3 * known, least), "\(mode.rawValue): \(error), but the document says \(known)")
      #expect(known <= max(3 * error, least), "\(mode.rawValue): \(error), but the document says \(known)")
    }
  }

  @Test(.enabled(if: !FamilyDocument.isBlessing, "the tables are being written"))
  func theDocumentCountsLinesAndKnowsEveryFamily() throws {
    let document = try FamilyDocument()
    #expect(document.rows("files") == (try FamilyDocument.files()), "BLESS=1 writes the table anew")
    let families = document.rows("files").flatMap { $0[2].split(separator: ", ").map(String.init) }
    #expect(Set(families) == Set(ModelFamily.all.map(\.name)))
    guard SharedData.isAvailable else { return }
    #expect(Set(document.rows("goldens").map { $0[0] }) == Set(Self.directories.map(name)))
  }

  /// Writes the tables of FAMILIES.md.
  @Test(
    .enabled(
      if: FamilyDocument.isBlessing && SharedData.isAvailable, "only with BLESS=1 and the reference data"))
  func writeTheDocument() throws {
    var document = try FamilyDocument()
    document.replace(
      "files", head: ["file", "lines", "families", "GGUF, read and written as"],
      rows: try FamilyDocument.files().map { ["`\($0[0])`"] + $0.dropFirst() })
    let rows = try Self.directories.sorted { name($0) < name($1) }.map { directory in
      let golden = try GoldenComparison(directory: directory, pool: TestModels.pool)
      let cells = try errors(golden).map { $0.map(FamilyDocument.text) ?? FamilyDocument.none }
      return [name(directory), golden.family] + cells
    }
    document.replace(
      "goldens", head: ["golden", "family"] + GoldenComparison.Mode.allCases.map(\.rawValue), rows: rows)
    try document.write()
  }

  private func windows() -> CalibrationSource {
    var generator = SeededGenerator(seed: 5)
    return .windows(
      CalibrationWindows(
        windows: (0..<4).map { _ in (0..<32).map { _ in Int32.random(in: 2..<200, using: &generator) } }))
  }

  @Test func expertsAreQuantizedOnTheTokensThatReachThem() throws {
    let model = try ModelFormats.load(Self.own + "/qwen2-moe")
    for method in ["rtn", "gptq"] {
      var recipe = try TestModels.recipe(method, "int8", group: 8)
      recipe.maximumFallbackShare = 1
      let result = try TestModels.quantized(model, recipe, windows())
      let experts = result.reports.filter { $0.layer.contains(".experts.") }
      #expect(experts.count == 2 * 5 * 3)
      #expect(experts.allSatisfy { $0.relativeError.isFinite && $0.relativeError < 0.05 }, "\(method)")
      guard method == "gptq" else { continue }
      for layer in 0..<2 {
        let counts = experts.filter {
          $0.layer.contains("layers.\(layer).") && $0.layer.contains("down_proj")
        }
        .map(\.tokenCount)
        #expect(counts.reduce(0, +) == 2 * 4 * 32, "each token goes to two experts: \(counts)")
      }
    }
  }

  /// Transposed and interleaved tensors go back into their places, quantized or not.
  @Test(arguments: ["gpt2-inner", "gpt-neox-sequential", "bloom", "falcon-new"])
  func rearrangedTensorsAreWrittenAsTheyWereRead(name: String) throws {
    let model = try ModelFormats.load(Self.own + "/" + name)
    #expect(!model.rearrangements.isEmpty)
    let recipe = try TestModels.recipe("rtn", "int8", group: -1)
    let result = try TestModels.quantized(model, recipe, windows())
    let output = TemporaryDirectory()
    let path = output.file(name)
    try ModelContainers.container(named: "compressed-tensors", output: path).write(result, to: path)
    let read = try ModelFormats.load(path)
    #expect(try TestModels.decoded(read.requireCheckpoint()) == TestModels.decoded(result.weights))
  }
}
