import Codecs

/// What can be wrong with weights in the AWQ layout, or keep weights out of it.
public typealias AWQError = LayoutError<AWQLayout>

extension AWQLayout: WritableLayout {
  /// As errors say it.
  public static var layoutName: String { "AWQ" }
  /// A way out.
  public static var unsupportedHint: String? { "the tool that wrote it can write version 'gemm'" }
}
