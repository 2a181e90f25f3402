import ArgumentParser
import Calibration
import Codecs
import Evaluation
import OrderedCollections
import Pipeline

/// Options that say how the inputs of quantized layers are quantized.
struct ActivationArguments: ParsableArguments {
  @Option(
    name: .customLong("activation-scheme"),
    help: ArgumentHelp(
      "How inputs of the layers are quantized when the model runs: none, int8-token, int8-tensor, fp8-token, ...; stored with the model (default: what the preset says, else none).",
      valueName: "scheme"))
  var scheme: String?

  @Option(
    name: .customLong("activation-observer"),
    help: ArgumentHelp(
      "How static scales (int8-tensor, fp8-tensor) are chosen: minmax, mse, percentile (99.99) or percentile-99.9 (default: minmax).",
      valueName: "observer"))
  var observer: String?

  func validate() throws {
    guard let observer, ScaleObserver(name: observer) == nil else { return }
    throw ValidationError(
      "--activation-observer is minmax, mse, percentile or percentile-99.9, not '\(observer)'.")
  }

  func apply(to recipe: inout QuantizationRecipe) throws {
    guard recipe.quantizesWeights || scheme == nil else {
      throw ValidationError(
        "--activation-scheme is for quantized weights, and the preset leaves them as they are.")
    }
    if let scheme { recipe.setActivations(try .activations(named: scheme)) }
    guard let observer = observer.flatMap({ ScaleObserver(name: $0) }) else { return }
    guard recipe.hasStaticActivations else {
      throw ValidationError("--activation-observer is for static scales: int8-tensor or fp8-tensor.")
    }
    recipe.activationObserver = observer
  }

  /// How inputs were quantized, and what that costs; nil when they were not.
  static func summary(_ result: QuantizedModel) -> String? {
    let schemes = OrderedSet(result.activations.values.map(\.scheme.description))
    guard !schemes.isEmpty else { return nil }
    let reports = result.activationReports
    guard !reports.isEmpty else { return schemes.joined(separator: ", ") }
    let error = reports.reduce(0) { $0 + $1.relativeError } / Double(reports.count)
    let share = reports.reduce(0) { $0 + $1.outlierShare } / Double(reports.count)
    return schemes.joined(separator: ", ") + " (mean relative error \(NumberFormat.significant(error, 3)), "
      + "\(NumberFormat.significant(share * 100, 3)) % outlier columns)"
  }
}
