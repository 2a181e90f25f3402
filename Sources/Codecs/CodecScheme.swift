/// A codec under the name that people type for it in other tools.
public struct CodecScheme: Sendable {
  /// The name, such as `W4A16`.
  public let name: String
  /// One line for people.
  public let summary: String
  /// The codec.
  let bits: Int
  let groupSize: Int?
  let isSymmetric: Bool

  /// Every scheme; adding one is adding a row.
  public static let all = [
    CodecScheme(
      name: "W4A16", summary: "int4, group 128, symmetric", bits: 4, groupSize: 128, isSymmetric: true),
    CodecScheme(
      name: "W4A16_ASYM", summary: "int4, group 128, asymmetric", bits: 4, groupSize: 128, isSymmetric: false),
    CodecScheme(
      name: "W8A16", summary: "int8, one scale a row, symmetric", bits: 8, groupSize: nil, isSymmetric: true),
  ]

  /// The codec of the scheme called `name`, whatever its case.
  /// - Throws: ``CodecError/unknownCodec(_:known:)``.
  public static func codec(named name: String) throws(CodecError) -> any Codec {
    guard let scheme = all.first(where: { $0.name == name.uppercased() }) else {
      throw .unknownCodec(name, known: all.map(\.name))
    }
    return try IntegerGroupCodec(
      bits: scheme.bits, groupSize: scheme.groupSize, isSymmetric: scheme.isSymmetric)
  }
}
