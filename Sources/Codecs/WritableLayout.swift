import OrderedCollections
import TensorCore

/// A layout of quantized checkpoints that weights are written in.
public protocol WritableLayout: NamedLayout {
  /// Why the layout cannot hold matrices of a codec; nil when it can.
  static func refusal(_ codec: any Codec, rows: Int, columns: Int) -> String?
}

extension WritableLayout {
  /// The module of a weight that is to be written, which must be called `<module>.weight` and be one that the layout can hold.
  /// - Throws: ``LayoutError/unrepresentable(weight:encoding:reason:)``.
  public static func module(
    of name: String, _ matrix: EncodedMatrix
  ) throws(LayoutError<Self>) -> String {
    let parameter = ParameterName(name)
    var reason = refusal(matrix.codec, rows: matrix.rows, columns: matrix.columns)
    if parameter.part != "weight" || parameter.module.isEmpty {
      reason = reason ?? "quantized weights must be named <module>.weight"
    }
    guard let reason else { return parameter.module }
    throw .unrepresentable(weight: name, encoding: matrix.codec.canonicalName, reason: reason)
  }

  /// The codec of a weight that is to be written, when the layout can hold it.
  /// - Throws: ``LayoutError/unrepresentable(weight:encoding:reason:)``.
  public static func codec<Kind: Codec>(
    of name: String, _ matrix: EncodedMatrix, as kind: Kind.Type
  ) throws(LayoutError<Self>) -> Kind {
    _ = try module(of: name, matrix)
    guard let codec = matrix.codec as? Kind else {
      throw .unrepresentable(
        weight: name, encoding: matrix.codec.canonicalName, reason: "it holds other codecs only")
    }
    return codec
  }

  /// The module of a weight that is to be written, and the planes that nearly every codec has.
  /// - Throws: ``LayoutError/unrepresentable(weight:encoding:reason:)``.
  public static func parts(
    of name: String, _ matrix: EncodedMatrix
  ) throws(LayoutError<Self>) -> (module: String, codes: Tensor, scales: Tensor) {
    let module = try module(of: name, matrix)
    guard let codes = matrix.planes["codes"], let scales = matrix.planes["scales"] else {
      throw .unrepresentable(
        weight: name, encoding: matrix.codec.canonicalName, reason: "codes or scales are missing")
    }
    return (module, codes, scales)
  }
}
