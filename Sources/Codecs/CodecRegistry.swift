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

  /// Whether nothing was asked for.
  public var isEmpty: Bool { self == CodecParameters() }
}

/// One family of codecs that the command line knows by name.
public struct CodecEntry: Sendable {
  /// The short name, such as `int4`: what stands before the first `-` of the canonical names.
  public let name: String
  /// One line for people.
  public let summary: String
  /// Makes the codec.
  public let make: @Sendable (CodecParameters) throws(CodecError) -> any Codec
  /// Makes the codec of a canonical name from the parts, between `-`, that follow the short name.
  public let parse: @Sendable (_ parts: [String]) throws(CodecError) -> any Codec

  /// Describes a family.
  public init(
    name: String, summary: String,
    make: @escaping @Sendable (CodecParameters) throws(CodecError) -> any Codec,
    parse: @escaping @Sendable (_ parts: [String]) throws(CodecError) -> any Codec
  ) {
    self.name = name
    self.summary = summary
    self.make = make
    self.parse = parse
  }

  /// Describes a codec that has no parameters.
  public init(_ codec: any Codec, summary: String) {
    let name = codec.canonicalName
    self.init(name: name, summary: summary) { parameters throws(CodecError) in
      guard parameters.isEmpty else {
        throw .invalidParameters(codec: name, reason: "this codec has no group size, symmetry or scale type")
      }
      return codec
    } parse: { parts throws(CodecError) in
      if let part = parts.first { throw CodecEntry.unknownPart(part, codec: name) }
      return codec
    }
  }

  /// The error for a part of a canonical name that means nothing.
  public static func unknownPart(_ part: String, codec: String) -> CodecError {
    .invalidParameters(codec: codec, reason: "'\(part)' is no parameter of a codec")
  }
}

/// Every codec; adding one is adding a row.
public enum CodecRegistry {
  /// The rows, in the order that help texts show.
  public static let entries: [CodecEntry] =
    integerEntries + GGMLCodec.entries + codebookEntries + floatingEntries

  private static let integerEntries = (2...8).map { bits in
    CodecEntry(
      name: "int\(bits)",
      summary: "\(bits)-bit integers with a scale per group (--group-size, default 128; --sym or --asym)"
    ) { parameters throws(CodecError) in
      let size = parameters.groupSize ?? 128
      return try IntegerGroupCodec(
        bits: bits, groupSize: size == -1 ? nil : size, isSymmetric: parameters.isSymmetric ?? true,
        scaleType: parameters.scaleType ?? .f16)
    } parse: { parts throws(CodecError) in
      try IntegerGroupCodec(bits: bits, canonicalParts: parts)
    }
  }

  /// Makes the codec called `name`.
  /// - Throws: ``CodecError/unknownCodec(_:known:)`` or ``CodecError/invalidParameters(codec:reason:)``.
  public static func codec(named name: String, _ parameters: CodecParameters = .init()) throws(CodecError)
    -> any Codec
  {
    try entry(named: name).make(parameters)
  }

  /// Reads a canonical name such as `int4-g128-sym` or `int8-gall-asym-bf16`.
  /// - Throws: ``CodecError/unknownCodec(_:known:)`` or ``CodecError/invalidParameters(codec:reason:)``.
  public static func codec(canonicalName: String) throws(CodecError) -> any Codec {
    let parts = canonicalName.split(separator: "-", omittingEmptySubsequences: false).map(String.init)
    let codec = try entry(named: parts.first ?? "").parse(Array(parts.dropFirst()))
    guard codec.canonicalName == canonicalName else {
      throw .invalidParameters(
        codec: canonicalName, reason: "the canonical spelling is \(codec.canonicalName)")
    }
    return codec
  }

  private static func entry(named name: String) throws(CodecError) -> CodecEntry {
    guard let entry = entries.first(where: { $0.name == name }) else {
      throw .unknownCodec(name, known: entries.map(\.name))
    }
    return entry
  }
}
