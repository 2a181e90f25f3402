import Codecs

/// What can be wrong with weights in the FP8 layout, or keep weights out of it.
public typealias FP8Error = LayoutError<FP8Layout>

extension FP8Layout: WritableLayout {
  /// As errors say it.
  public static var layoutName: String { "FP8" }
}
