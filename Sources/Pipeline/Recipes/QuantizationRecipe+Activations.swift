import Codecs
import OrderedCollections

extension QuantizationRecipe {
  /// Quantizes the inputs of all layers in this way, or of none, whatever a preset says.
  public mutating func setActivations(_ scheme: ActivationScheme?) {
    choice.activations = scheme
    for name in choices.keys { choices[name]?.activations = scheme }
  }

  /// Whether inputs of any weights are rounded to integers.
  var roundsInputs: Bool { allChoices.contains { $0.activations?.kind == .int8 } }

  /// Whether any layer's input is quantized.
  public var quantizesActivations: Bool { allChoices.contains { $0.activations != nil } }

  /// Whether any layer's input has a static scale, which needs calibration.
  public var hasStaticActivations: Bool { allChoices.contains { $0.activations?.isStatic == true } }

  /// Every choice that a weight can get.
  var allChoices: [Choice] {
    guard quantizesWeights else { return [] }
    return (choices.isEmpty ? [choice] : Array(choices.values)) + rules.map(\.choice)
  }

  /// Whether the cache has static scales, which need windows to look at.
  public var hasStaticCache: Bool { cache?.format.isStatic == true }
}

extension ActivationScheme? {
  /// The scheme of a name in a recipe or on the command line; `none` and `float32` leave inputs as they are.
  /// - Throws: ``PipelineError/usage(_:hint:)`` with the nearest name.
  public static func activations(named name: String) throws(PipelineError) -> ActivationScheme? {
    if name == "none" || name == "float32" { return nil }
    guard let scheme = ActivationScheme(name: name) else {
      let known = ["none"] + ActivationScheme.names
      throw .usage(
        "no activation scheme is called '\(name)'",
        hint: NearestName.hint(name, among: known, what: "schemes"))
    }
    return scheme
  }
}
