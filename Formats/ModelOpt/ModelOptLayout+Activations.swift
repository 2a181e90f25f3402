import Codecs
import OrderedCollections

extension ModelOptLayout {
  /// Why the layout cannot say that inputs of weights of a codec are quantized by a scheme; nil when it can.
  public static func refusal(_ scheme: ActivationScheme, with codec: any Codec) -> String? {
    guard let codec = codec as? Float8Codec else { return "it says so of FP8 weights only" }
    let known: ActivationScheme = codec.granularity == .tensor ? .fp8Tensor : .fp8Token
    if known == scheme { return nil }
    return "its engines quantize inputs of \(codec.canonicalName) weights as \(known)"
  }

  /// Takes note of what the algorithms say of inputs: FP8 is static, FP8_PER_CHANNEL_PER_TOKEN and W8A8_SQ_PER_CHANNEL have a
  /// scale for each token (int8 a static one where it is stored). Those of NVFP4 are not executed.
  static func noteActivations(_ configuration: ModelOptConfiguration, in reading: inout LayoutReading) {
    var (missing, fourBit) = (0, 0)
    for (name, weight) in reading.weights {
      guard case .encoded(let matrix) = weight else { continue }
      let module = ParameterName(name).module
      switch matrix.codec {
      case let codec as Float8Codec:
        guard let scheme = configuration.scheme(of: module, codec) else { continue }
        if !reading.note(scheme, of: name) { missing += 1 }
      case let codec as IntegerGroupCodec where codec.bits == 8:
        guard configuration.algorithm(of: module) == "W8A8_SQ_PER_CHANNEL" else { continue }
        if !reading.note(.int8Tensor, of: name) { reading.note(.int8Token, of: name) }
      case is NVFP4Codec where configuration.algorithm(of: module) != nil: fourBit += 1
      default: continue
      }
    }
    reading.warnOfMissingScales(missing)
    if fourBit > 0 {
      reading.warnings.append(
        "engines are asked to quantize the inputs of \(fourBit) weights to NVFP4; here they stay as they are")
    }
  }
}

extension ModelOptConfiguration {
  /// The algorithm of a module.
  func algorithm(of module: String) -> String? { layerAlgorithms[module] ?? commonAlgorithm }

  fileprivate func scheme(of module: String, _ codec: Float8Codec) -> ActivationScheme? {
    switch algorithm(of: module) {
    case "FP8_PB_WO": nil
    case "FP8_PER_CHANNEL_PER_TOKEN": .fp8Token
    case "FP8": .fp8Tensor
    default: codec.granularity == .tensor ? .fp8Tensor : codec.granularity == .channel ? .fp8Token : nil
    }
  }
}
