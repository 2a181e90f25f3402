import OrderedCollections
import TensorCore

extension LayoutReading {
  /// Takes note of how the input of a weight is quantized; a static scheme needs one positive scale among the companions.
  /// - Parameter scaleParts: what the scale may be called behind the module's name.
  /// - Returns: whether it is noted; false when the scale is missing or cannot be used.
  @discardableResult
  public mutating func note(
    _ scheme: ActivationScheme, of weight: String, scaleParts: [String] = ["input_scale"]
  ) -> Bool {
    guard scheme.isStatic else {
      activations[weight] = InputQuantization(scheme)
      return true
    }
    let module = ParameterName(weight).module
    guard let name = scaleParts.map({ module + "." + $0 }).first(where: { companions[$0] != nil }),
      let tensor = companions[name], tensor.shape.elementCount == 1, let scale = (try? tensor.floats())?.first
    else {
      return false
    }
    let input = InputQuantization(scheme, scale: scale)
    guard input.problem(columns: 0) == nil else { return false }
    activations[weight] = input
    return true
  }

  /// Says how many weights ask for static scales of their inputs and have none that can be used.
  public mutating func warnOfMissingScales(_ count: Int) {
    guard count > 0 else { return }
    warnings.append(
      "\(count) weights are for inputs with a static scale and have none; their inputs count as not quantized"
    )
  }
}
