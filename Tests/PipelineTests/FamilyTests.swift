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
  /// Logits of these depend on the length of the sequence, so that pieces cannot equal the whole.
  static let dependOnLength: Set<String> = ["llama-dynamic", "phi3-long"]

  static var directories: [String] {
    let parents = SharedData.isAvailable ? [own, SharedData.path("goldens")] : [own]
    return parents.flatMap { parent in
      ((try? FileReading.list(parent)) ?? []).sorted().map { parent + "/" + $0 }
        .filter { FileReading.exists($0 + "/expected.safetensors") }
    }
  }

  @Test(arguments: directories) func everyModeIsWithinItsBound(directory: String) throws {
    let golden = try GoldenComparison(directory: directory, pool: TestModels.pool)
    let dependsOnLength = Self.dependOnLength.contains { directory.hasSuffix("/" + $0) }
    for mode in GoldenComparison.Mode.allCases where !(dependsOnLength && [.chunks, .tokens].contains(mode)) {
      let error = try golden.error(mode)
      #expect(error <= golden.bound(mode), "\(directory) \(mode.rawValue): \(error)")
    }
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
