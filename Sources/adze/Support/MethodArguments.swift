import ArgumentParser
import Quantization

/// Options of quantization methods. Each becomes an option of the method, which refuses those that it does not have.
struct MethodArguments: ParsableArguments {
  @Option(help: "gptq: share of the mean diagonal added to the second moment (default 0.01).")
  var damping: Double?

  @Option(help: "gptq: columns between two full updates (default 128).")
  var blockSize: Int?

  @Flag(
    inversion: .prefixedNo,
    help:
      "gptq: round columns by falling importance with static groups, or in natural order (default: whole groups in order of importance)"
  )
  var actOrder: Bool?

  @Flag(
    inversion: .prefixedNo, help: "gptq: fix all scales before rounding; implied by --act-order (default no)."
  )
  var staticGroups: Bool?

  @Option(help: "gptq: share of the error in the inputs that is corrected for, 0 to 1 (default 0.5).")
  var asymmetry: Double?

  @Option(help: "gptq: sweeps of coordinate descent over the result; 0 for none (default 2).")
  var refine: Int?

  @Option(help: "How scales are chosen: extremes or least-squares (rtn: extremes, gptq: least-squares).")
  var scaleSearch: String?

  @Option(
    name: [.customLong("method-option"), .customShort("O")],
    help: ArgumentHelp(
      "Any option of the method, as the methods list them; may be repeated.", valueName: "key=value"))
  var pairs: [String] = []

  func validate() throws {
    if let pair = pairs.first(where: { !$0.contains("=") || $0.hasPrefix("=") }) {
      throw ValidationError("--method-option is KEY=VALUE, not '\(pair)'.")
    }
  }

  /// The options that were given, as the methods name them.
  var values: [String: String] {
    var values: [String: String] = [:]
    values["damping"] = damping.map { "\($0)" }
    values["block-size"] = blockSize.map { "\($0)" }
    values["act-order"] = actOrder.map { "\($0)" }
    values["static-groups"] = staticGroups.map { "\($0)" }
    values["asymmetry"] = asymmetry.map { "\($0)" }
    values["refine"] = refine.map { "\($0)" }
    values["scale-search"] = scaleSearch
    for pair in pairs {
      let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      values[String(parts[0])] = String(parts[1])
    }
    return values
  }
}

private let standard = LearnedRounding.standard

/// Options of learned rounding.
struct LearningArguments: ParsableArguments {
  @Option(help: "Steps a block (default \(standard.iterations)).") var iterations: Int?
  @Option(help: "Calibration windows of a step (default \(standard.batch)).") var batch: Int?
  @Option(help: "Calibration windows that are learned from, evenly spread; others judge (default: all).")
  var learningWindows: Int?
  @Option(help: "How far a code's offset can move in all, in codes (default: 0.4 for 2 bits, else 0.2).")
  var reach: Double?
  @Option(
    help:
      "How far a scale's multiplier can move in all; 0: not at all (default \(standard.scaleReach))."
  )
  var scaleReach: Double?
  @Option(
    help: "A block's inputs: those that quantized blocks make, or the unquantized ones: quantized or float.")
  var learningInputs: String?
  @Option(
    help:
      "Steps in which codes and scales of the whole model then follow its predictions (default \(standard.modelIterations))."
  )
  var modelIterations: Int?
  @Option(
    help:
      "How far a code's offset can move in those, in codes; 0: not at all (default \(standard.modelReach))."
  )
  var modelReach: Double?
  @Option(
    help:
      "How far a scale's multiplier can move in those; 0: not at all (default \(standard.modelScaleReach))."
  )
  var modelScaleReach: Double?
  @Option(
    help:
      "Weight, in those, of errors in what blocks pass on, beside the divergence; 0: none (default \(standard.modelStateWeight))."
  )
  var modelStateWeight: Double?
  @Option(
    help:
      "Windows that the model writes after parts of the text, for those to learn from as well (default \(standard.modelSelfGenerated))."
  )
  var modelSelfGenerated: Int?
  @Option(help: "Seed of the order of windows (default \(standard.seed)).") var learningSeed: Int?

  /// The options that were given, by their names in recipes.
  var values: [String: String] {
    var values: [String: String] = [:]
    values["iterations"] = iterations.map { "\($0)" }
    values["batch"] = batch.map { "\($0)" }
    values["windows"] = learningWindows.map { "\($0)" }
    values["reach"] = reach.map { "\($0)" }
    values["scale-reach"] = scaleReach.map { "\($0)" }
    values["inputs"] = learningInputs
    values["model-iterations"] = modelIterations.map { "\($0)" }
    values["model-reach"] = modelReach.map { "\($0)" }
    values["model-scale-reach"] = modelScaleReach.map { "\($0)" }
    values["model-state-weight"] = modelStateWeight.map { "\($0)" }
    values["model-self-generated"] = modelSelfGenerated.map { "\($0)" }
    values["seed"] = learningSeed.map { "\($0)" }
    return values
  }

  func refuseUnlessEmpty(method: String) throws {
    guard let option = values.keys.min() else { return }
    throw ValidationError("--method \(method) learns nothing: '\(option)' is an option of learned-rounding.")
  }
}

/// A number of bytes such as `900MiB`, `8GB`, `2G` (as `2GB`) or `1048576`.
struct ByteCount: ExpressibleByArgument {
  let value: Int

  init?(argument: String) {
    let units: [(String, Int)] = [
      ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40), ("kB", 1000), ("MB", 1_000_000),
      ("GB", 1_000_000_000), ("B", 1), ("K", 1000), ("M", 1_000_000), ("G", 1_000_000_000),
    ]
    let unit = units.first { argument.hasSuffix($0.0) }
    let number = unit.map { String(argument.dropLast($0.0.count)) } ?? argument
    guard let parsed = Double(number), parsed > 0, parsed * Double(unit?.1 ?? 1) < 1e18 else { return nil }
    value = Int(parsed * Double(unit?.1 ?? 1))
  }
}
