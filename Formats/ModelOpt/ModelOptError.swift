import Codecs

/// What can be wrong with weights in the ModelOpt layout, or keep weights out of it.
public typealias ModelOptError = LayoutError<ModelOptLayout>

extension ModelOptLayout: WritableLayout {
  /// As errors say it.
  public static var layoutName: String { "ModelOpt" }
  /// Where the configuration lies.
  public static var configurationPlace: String { "hf_quant_config.json" }
}
