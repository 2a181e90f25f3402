import Codecs
import OrderedCollections

extension FP8Layout {
  /// Why the layout cannot say that inputs of weights of a codec are quantized by a scheme; nil when it can.
  public static func refusal(_ scheme: ActivationScheme, with codec: any Codec) -> String? {
    guard let codec = codec as? Float8Codec else { return "it holds FP8 codes only" }
    let known: [ActivationScheme] =
      switch codec.granularity {
      case .tensor: [.fp8Tensor, .fp8Token]
      case .channel: [.fp8Token]
      case .block: [.fp8Group]
      }
    if known.contains(scheme) { return nil }
    return "its engines quantize inputs of \(codec.canonicalName) weights as "
      + known.map(\.description).joined(separator: " or ")
  }

  /// Engines quantize the input of every FP8 weight: statically where the configuration says so, else with a scale for each token,
  /// or for 128 columns of it under blocks of 128.
  static func noteActivations(_ configuration: FP8Configuration, in reading: inout LayoutReading) {
    var missing = 0
    for (name, weight) in reading.weights {
      guard case .encoded(let matrix) = weight, let codec = matrix.codec as? Float8Codec else { continue }
      let scheme: ActivationScheme =
        switch codec.granularity {
        case .block(128): .fp8Group
        case _ where configuration.hasStaticInputs: .fp8Tensor
        default: .fp8Token
        }
      let isNoted = reading.note(
        scheme, of: name, scaleParts: ["input_scale", "activation_scale", "qscale_act"])
      if !isNoted { missing += 1 }
    }
    reading.warnOfMissingScales(missing)
  }
}
