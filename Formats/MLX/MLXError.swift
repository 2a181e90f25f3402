import Codecs

/// What can be wrong with weights in the MLX layout, or keep weights out of it.
public typealias MLXError = LayoutError<MLXLayout>

extension MLXLayout: WritableLayout {
  /// As errors say it.
  public static var layoutName: String { "MLX" }
  /// Where the configuration lies.
  public static var configurationPlace: String { "quantization" }
}
