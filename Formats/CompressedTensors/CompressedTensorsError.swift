import Codecs

/// What can be wrong with weights in the compressed-tensors layout, or keep weights out of it.
public typealias CompressedTensorsError = LayoutError<CompressedTensorsLayout>

extension CompressedTensorsLayout: WritableLayout {
  /// As errors say it.
  public static var layoutName: String { "compressed-tensors" }
}
