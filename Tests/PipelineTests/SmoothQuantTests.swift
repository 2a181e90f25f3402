import Calibration
import Codecs
import Execution
import Kernels
import OrderedCollections
import Pipeline
import Quantization
import TensorCore
import TestSupport
import Testing

/// A model whose norms make a few inputs fifty times as large, and whose weights undo that.
@Suite struct SmoothQuantTests {
  private let output = TemporaryDirectory()
  private let tiny: LoadedModel
  private let windows = TestModels.tinyWindows()

  init() throws {
    try TestModels.writeTiny(to: output)
    tiny = try ModelFormats.load(output.path)
  }

  /// Multiplies some gains of the layers' norms by 50 and divides the columns of what reads them.
  private func withOutliers() throws -> LoadedModel {
    var weights = tiny.requireWeights
    for layer in 0..<2 {
      let start = "model.layers.\(layer)."
      for (norm, readers) in [
        ("input_layernorm", ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
        ("post_attention_layernorm", ["mlp.gate_proj", "mlp.up_proj"]),
      ] {
        for (name, isGain) in [(norm, true)] + readers.map({ ($0, false) }) {
          let key = start + name + ".weight"
          let weight = try #require(weights[key])
          var values = try weight.decoded().values
          for index in values.indices where index % 64 % 20 == 3 { values[index] *= isGain ? 50 : 1 / 50 }
          weights[key] = .dense(try Tensor(values, shape: weight.shape))
        }
      }
    }
    return tiny.replacing(weights: weights)
  }

  private func recipe(_ options: [String: String]?) throws -> QuantizationRecipe {
    var recipe = try TestModels.recipe("rtn", "int8", group: -1)
    if let options { recipe.transforms = [.init(name: "smoothquant", options: options)] }
    return recipe
  }

  private func rounded(_ model: LoadedModel, _ options: [String: String]?) throws -> LoadedModel {
    let result = try TestModels.quantized(model, recipe(options))
    return result.source.replacing(weights: result.weights)
  }

  private static let tokens: [Int32] = (0..<40).map { $0 * 7 % 48 }

  /// Mean squared error of the logits against those of the float model.
  private func error(_ model: LoadedModel, _ precision: ActivationScheme) throws -> Float {
    var options = ExecutionOptions.reference
    options.activations = precision
    let exact = try TestModels.logits(tiny, Self.tokens)
    let found = try TestModels.logits(model, Self.tokens, options: options)
    return zip(found, exact).map { ($0 - $1) * ($0 - $1) }.reduce(0, +) / Float(exact.count)
  }

  @Test func outliersAreRestored() throws {
    let outliers = try withOutliers()
    #expect(try error(outliers, .float32) < 1e-8, "the float model is the same")
    let reference = try error(rounded(tiny, nil), .int8Token)
    let plain = try rounded(outliers, nil)
    let broken = try error(plain, .int8Token)
    #expect(broken > 20 * reference, "\(broken), \(reference)")
    for options in [["strength": "0.5"], [:]] {
      let result = try TestModels.quantized(outliers, recipe(options), .windows(windows))
      let report = try #require(result.transforms.first)
      #expect(report.name == "smoothquant" && !report.sites.isEmpty)
      let smooth = try error(result.source.replacing(weights: result.weights), .int8Token)
      #expect(smooth < 3 * reference, "\(options): \(smooth), \(reference)")
    }
    #expect(try error(plain, .int8Outliers) < broken / 4)
  }

  @Test func rotationRestoresThemToo() throws {
    let outliers = try withOutliers()
    var turning = try recipe(nil)
    turning.transforms = [.init(name: "rotation", options: [:])]
    let result = try TestModels.quantized(outliers, turning)
    let turned = try error(result.source.replacing(weights: result.weights), .int8Token)
    let (reference, broken) = (
      try error(rounded(tiny, nil), .int8Token), try error(rounded(outliers, nil), .int8Token)
    )
    #expect(turned < 3 * reference && turned < broken / 10, "\(turned), \(reference), \(broken)")
  }

  @Test func wrongOptionsAreNamed() throws {
    for options in [["strength": "2"], ["strength": "much"], ["stength": "0.5"]] {
      let failure = TestModels.failure {
        _ = try TestModels.quantized(tiny, recipe(options), .windows(windows))
      }
      #expect(failure?.code.contains("option") == true, "\(failure.map { "\($0)" } ?? "nothing")")
    }
  }
}
