import TensorCore

/// What a codec needs to be told beside its name.
public struct CodecParameters: Sendable, Hashable {
  /// Columns that share a scale; nil: the codec's own; -1: the whole row.
  public var groupSize: Int?
  /// Whether the zero point is fixed; nil: the codec's own.
  public var isSymmetric: Bool?
  /// Storage type of scales; nil: the codec's own.
  public var scaleType: ElementType?

  /// Creates parameters.
  public init(groupSize: Int? = nil, isSymmetric: Bool? = nil, scaleType: ElementType? = nil) {
    self.groupSize = groupSize
    self.isSymmetric = isSymmetric
    self.scaleType = scaleType
  }
}

/// One family of codecs that the command line knows by name.
public struct CodecEntry: Sendable {
  /// The short name, such as `int4`.
  public let name: String
  /// One line for people.
  public let summary: String
  /// Makes the codec.
  public let make: @Sendable (CodecParameters) throws(CodecError) -> any Codec
}

/// Every codec; adding one is adding a row.
public enum CodecRegistry {
  /// The rows, in the order that help texts show.
  public static let entries: [CodecEntry] = (2...8).map { bits in
    CodecEntry(
      name: "int\(bits)",
      summary: "\(bits)-bit integers with a scale per group (--group-size, default 128; --sym or --asym)"
    ) { parameters throws(CodecError) in
      let size = parameters.groupSize ?? 128
      return try IntegerGroupCodec(
        bits: bits, groupSize: size == -1 ? nil : size, isSymmetric: parameters.isSymmetric ?? true,
        scaleType: parameters.scaleType ?? .f16)
    }
  }

  /// Makes the codec called `name`.
  /// - Throws: ``CodecError/unknownCodec(_:known:)`` or ``CodecError/invalidParameters(codec:reason:)``.
  public static func codec(named name: String, _ parameters: CodecParameters = .init()) throws(CodecError)
    -> any Codec
  {
    guard let entry = entries.first(where: { $0.name == name }) else {
      throw .unknownCodec(name, known: entries.map(\.name))
    }
    return try entry.make(parameters)
  }

  /// Reads a canonical name such as `int4-g128-sym` or `int8-gall-asym-bf16`.
  /// - Throws: ``CodecError/unknownCodec(_:known:)`` or ``CodecError/invalidParameters(codec:reason:)``.
  public static func codec(canonicalName: String) throws(CodecError) -> any Codec {
    let parts = canonicalName.split(separator: "-", omittingEmptySubsequences: false).map(String.init)
    var parameters = CodecParameters()
    for part in parts.dropFirst() {
      switch part {
      case "sym": parameters.isSymmetric = true
      case "asym": parameters.isSymmetric = false
      case "gall": parameters.groupSize = -1
      case "bf16": parameters.scaleType = .bf16
      case "f32": parameters.scaleType = .f32
      default:
        guard part.first == "g", let size = Int(part.dropFirst()) else {
          throw .invalidParameters(codec: canonicalName, reason: "'\(part)' is no parameter of a codec")
        }
        parameters.groupSize = size
      }
    }
    let codec = try codec(named: parts.first ?? "", parameters)
    guard codec.canonicalName == canonicalName else {
      throw .invalidParameters(
        codec: canonicalName, reason: "the canonical spelling is \(codec.canonicalName)")
    }
    return codec
  }
}
