import Codecs

/// What can be wrong with weights in the MXFP4 layout, or keep weights out of it.
public typealias MXFP4Error = LayoutError<MXFP4Layout>

extension MXFP4Layout: WritableLayout {
  /// As errors say it.
  public static var layoutName: String { "MXFP4" }
}
