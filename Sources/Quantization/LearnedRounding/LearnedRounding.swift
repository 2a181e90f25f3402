import Kernels
import TensorCore

/// Learned rounding: offsets of the codes and multipliers of the scales of a block of layers move against the gradient of the
/// block's output error, from wherever another method put them.
///
/// Source: Cheng et al. 2023, "Optimize Weight Rounding via Signed Gradient Descent for the Quantization of LLMs" (arXiv
/// 2309.05516). Differences: it starts from finished codes, not from the weights; a step is as long as the gradient is large beside
/// those before it, not always the same; offsets move by a stated reach in all; the error of a token counts relative to its target;
/// the result is kept only when it is better than the start over at most 32 windows.
public struct LearnedRounding: Sendable, Equatable {
  /// Steps a block.
  public var iterations: Int
  /// Windows of a step.
  public var batch: Int
  /// Calibration windows that are learned from; nil for all. Others judge then; see ``LearningWindows``.
  public var windows: Int?
  /// How far an offset can move in all steps together, in codes; nil for 0.4 with at most four codes, else 0.2.
  public var reach: Double?
  /// How far the multiplier of a scale can move in all steps together; 0 leaves scales alone.
  public var scaleReach: Double
  /// Whether the block's inputs are those that quantized blocks before make; those of the unquantized model otherwise.
  public var usesQuantizedInputs: Bool
  /// Seed of the order of windows.
  public var seed: UInt64
  /// Steps in which the codes and scales of the whole model then move together; 0 for none.
  public var modelIterations: Int
  /// How far an offset can move in those, in codes; 0 leaves codes alone.
  public var modelReach: Double
  /// How far the multiplier of a scale can move in those.
  public var modelScaleReach: Double
  /// Weight, in those, of the relative squared errors in what blocks pass on, beside the divergence; 0 for none.
  public var modelStateWeight: Double
  /// Windows that the unquantized model writes after parts of the text, from which those steps learn as well.
  public var modelSelfGenerated: Int

  /// Creates options.
  public init(
    iterations: Int = 128, batch: Int = 2, windows: Int? = nil, reach: Double? = nil,
    scaleReach: Double = 0.05,
    usesQuantizedInputs: Bool = true, seed: UInt64 = 0, modelIterations: Int = 0, modelReach: Double = 0.2,
    modelScaleReach: Double = 0.2, modelStateWeight: Double = 0.1, modelSelfGenerated: Int = 0
  ) {
    self.iterations = iterations
    self.batch = batch
    self.windows = windows
    self.reach = reach
    self.scaleReach = scaleReach
    self.usesQuantizedInputs = usesQuantizedInputs
    self.seed = seed
    self.modelIterations = modelIterations
    self.modelReach = modelReach
    self.modelScaleReach = modelScaleReach
    self.modelStateWeight = modelStateWeight
    self.modelSelfGenerated = modelSelfGenerated
  }

  /// How far an offset of a block's weight can move: fewer codes lie further apart, and more of them are wrong.
  func blockReach(of start: GridMatrix) -> Double {
    reach ?? (start.maximumCode <= 3 ? 0.4 : 0.2)
  }

  /// The name in recipes and reports.
  public static let name = "learned-rounding"

  /// What is done when nothing is asked for.
  public static let standard = LearnedRounding()

  /// Its options, as recipes and the command line name them.
  public static let options: [MethodOption] = [
    MethodOption(name: "iterations", defaultValue: "\(standard.iterations)", summary: "steps a block"),
    MethodOption(name: "batch", defaultValue: "\(standard.batch)", summary: "calibration windows of a step"),
    MethodOption(
      name: "windows", defaultValue: "all",
      summary: "calibration windows that are learned from, evenly spread; others judge"),
    MethodOption(
      name: "reach", defaultValue: "auto",
      summary: "how far a code's offset can move in all, in codes; auto: 0.4 for 2 bits, else 0.2"),
    MethodOption(
      name: "scale-reach", defaultValue: "\(standard.scaleReach)",
      summary: "how far a scale's multiplier can move in all; 0: not at all"),
    MethodOption(name: "inputs", defaultValue: "quantized", summary: "a block's inputs: quantized or float"),
    MethodOption(
      name: "model-iterations", defaultValue: "\(standard.modelIterations)",
      summary:
        "steps in which codes and scales of the whole model then follow the divergence of its predictions"),
    MethodOption(
      name: "model-reach", defaultValue: "\(standard.modelReach)",
      summary: "how far a code's offset can move in those, in codes; 0: not at all"),
    MethodOption(
      name: "model-scale-reach", defaultValue: "\(standard.modelScaleReach)",
      summary: "how far a scale's multiplier can move in those; 0: not at all"),
    MethodOption(
      name: "model-state-weight", defaultValue: "\(standard.modelStateWeight)",
      summary: "weight, in those, of errors in what blocks pass on, beside the divergence; 0: none"),
    MethodOption(
      name: "model-self-generated", defaultValue: "\(standard.modelSelfGenerated)",
      summary: "windows that the model writes after parts of the text, for those steps to learn from as well"),
    MethodOption(name: "seed", defaultValue: "\(standard.seed)", summary: "seed of the order of windows"),
  ]

  /// Reads options given as text.
  /// - Throws: ``QuantizationError/invalidOption(method:option:reason:)``.
  public init(options values: [String: String]) throws(QuantizationError) {
    for key in values.keys.sorted() where !Self.options.contains(where: { $0.name == key }) {
      throw .invalidOption(
        method: Self.name, option: key,
        reason: "no such option; it has \(Self.options.map(\.name).joined(separator: ", "))")
    }
    let reader = OptionReader(method: Self.name, values: values)
    self.init(
      iterations: try reader.integer("iterations", default: Self.standard.iterations, in: 1...1_000_000),
      batch: try reader.integer("batch", default: Self.standard.batch, in: 1...65_536),
      windows: values["windows"] == "all" || values["windows"] == nil
        ? nil : try reader.integer("windows", default: 1, in: 1...Int.max),
      reach: values["reach"] == "auto" || values["reach"] == nil
        ? nil : try reader.number("reach", default: 0, in: 0...16),
      scaleReach: try reader.number("scale-reach", default: Self.standard.scaleReach, in: 0...1),
      seed: UInt64(try reader.integer("seed", default: Int(Self.standard.seed), in: 0...Int.max)),
      modelIterations: try reader.integer(
        "model-iterations", default: Self.standard.modelIterations, in: 0...1_000_000),
      modelReach: try reader.number("model-reach", default: Self.standard.modelReach, in: 0...16),
      modelScaleReach: try reader.number(
        "model-scale-reach", default: Self.standard.modelScaleReach, in: 0...1),
      modelStateWeight: try reader.number(
        "model-state-weight", default: Self.standard.modelStateWeight, in: 0...1_000),
      modelSelfGenerated: try reader.integer(
        "model-self-generated", default: Self.standard.modelSelfGenerated, in: 0...1_000_000))
    guard modelSelfGenerated == 0 || modelIterations > 0 else {
      throw .invalidOption(
        method: Self.name, option: "model-self-generated",
        reason: "its windows are for the steps of the whole model: give model-iterations")
    }
    switch values["inputs"] {
    case nil, "quantized": break
    case "float": usesQuantizedInputs = false
    case let text?:
      throw .invalidOption(
        method: Self.name, option: "inputs", reason: "'\(text)' is neither quantized nor float")
    }
  }
}

/// How learning went for one block.
public struct BlockReport: Sendable, Equatable {
  /// Scope of the block, such as `layers.3`.
  public var block: String
  /// Squared error of the outputs before, relative to what they should be: mean over the tokens of at most 32 windows. Of the
  /// whole model, the mean divergence of its predictions.
  public var lossBefore: Double
  /// The same after; that of the start when nothing better was found.
  public var lossAfter: Double
  /// Steps taken.
  public var iterations: Int
  /// Whether the result was no better than the start, which was kept.
  public var keptStart: Bool
  /// Codes that differ from the start.
  public var changedCodes: Int
  /// Weights whose codes could be learned.
  public var layers: [String]

  /// Creates a report.
  public init(
    block: String, lossBefore: Double, lossAfter: Double, iterations: Int, keptStart: Bool, changedCodes: Int,
    layers: [String]
  ) {
    self.block = block
    self.lossBefore = lossBefore
    self.lossAfter = lossAfter
    self.iterations = iterations
    self.keptStart = keptStart
    self.changedCodes = changedCodes
    self.layers = layers
  }
}
