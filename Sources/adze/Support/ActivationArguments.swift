import ArgumentParser
import Calibration
import Codecs
import Evaluation
import OrderedCollections
import Pipeline

/// What options of how static scales are chosen have in common.
enum ObserverOption {
  /// The rest of their help.
  static let choices = "minmax, mse, percentile (99.99) or percentile-99.9 (default: minmax)."

  /// Refuses what is no observer.
  static func validate(_ name: String?, option: String) throws {
    guard let name, ScaleObserver(name: name) == nil else { return }
    throw ValidationError("\(option) is minmax, mse, percentile or percentile-99.9, not '\(name)'.")
  }

  /// The observer that was named; nil when none was.
  static func observer(
    _ name: String?, option: String, isUsed: Bool, hint: String
  ) throws -> ScaleObserver? {
    guard let observer = name.flatMap({ ScaleObserver(name: $0) }) else { return nil }
    guard isUsed else { throw ValidationError("\(option) is for static scales: \(hint).") }
    return observer
  }
}

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
      "How static scales (int8-tensor, fp8-tensor) are chosen: \(ObserverOption.choices)",
      valueName: "observer"))
  var observer: String?

  func validate() throws {
    try ObserverOption.validate(observer, option: "--activation-observer")
  }

  func apply(to recipe: inout QuantizationRecipe) throws {
    guard recipe.quantizesWeights || scheme == nil else {
      throw ValidationError(
        "--activation-scheme is for quantized weights, and the preset leaves them as they are.")
    }
    if let scheme { recipe.setActivations(try .activations(named: scheme)) }
    let chosen = try ObserverOption.observer(
      observer, option: "--activation-observer", isUsed: recipe.hasStaticActivations,
      hint: "int8-tensor or fp8-tensor")
    if let chosen { recipe.activationObserver = chosen }
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
