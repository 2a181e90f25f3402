import TensorCore

/// Unsigned codes of 2 to 8 bits with a scale, and a zero point when asymmetric, per group of columns of a row.
///
/// `value = scale * (code - zero)`. Symmetric: `zero` is `2^(bits-1)` and not stored; the range is
/// `absmax / (2^bits - 1) * 2` wide per step, as compressed-tensors does, so that neither end wastes more than half a step.
///
/// Planes: `codes` u8 `[rows, ceil(columns * bits / 8)]`, packed LSB first; `scales` `[rows, groups]` of `scaleType`;
/// asymmetric: `zeros` u8 `[rows, groups]`; with a group index: `group_index` i32 `[columns]`, the group of each
/// column, as checkpoints have it whose columns were quantized in order of importance. Without one, column `c` is of
/// group `c / groupSize`.
public struct IntegerGroupCodec: IntegerGroupConvertible, Hashable {
  /// Bits per code, 2...8.
  public let bits: Int
  /// Columns that share a scale; nil: the whole row.
  public let groupSize: Int?
  /// Whether the zero point is fixed in the middle.
  public let isSymmetric: Bool
  /// Storage type of scales: f16, bf16 or f32.
  public let scaleType: ElementType
  /// Whether a plane says which group a column belongs to.
  public let hasGroupIndex: Bool

  /// Creates the codec.
  /// - Throws: ``CodecError/invalidParameters(codec:reason:)``.
  public init(
    bits: Int, groupSize: Int?, isSymmetric: Bool = true, scaleType: ElementType = .f16,
    hasGroupIndex: Bool = false
  ) throws(CodecError) {
    let name = "int\(bits)"
    guard (2...8).contains(bits) else {
      throw .invalidParameters(codec: name, reason: "integer codecs have 2 to 8 bits")
    }
    if let groupSize, !(2...1 << 24).contains(groupSize) {
      throw .invalidParameters(
        codec: name,
        reason: "group size \(groupSize) is out of range; use 2 to 16777216, or -1 for whole rows")
    }
    guard [.f16, .bf16, .f32].contains(scaleType) else {
      throw .invalidParameters(codec: name, reason: "scales are f16, bf16 or f32, not \(scaleType.name)")
    }
    self.bits = bits
    self.groupSize = groupSize
    self.isSymmetric = isSymmetric
    self.scaleType = scaleType
    self.hasGroupIndex = hasGroupIndex
  }

  /// Reads what follows `int4` in a canonical name; other spellings of the same give the same codec.
  init(bits: Int, canonicalParts parts: [String]) throws(CodecError) {
    var groupSize: Int? = 128
    var isSymmetric = true
    var scaleType = ElementType.f16
    var hasGroupIndex = false
    for part in parts {
      switch part {
      case "sym": isSymmetric = true
      case "asym": isSymmetric = false
      case "gall": groupSize = nil
      case "gidx": hasGroupIndex = true
      case "bf16": scaleType = .bf16
      case "f32": scaleType = .f32
      default:
        guard part.first == "g", let size = Int(part.dropFirst()) else {
          throw CodecEntry.unknownPart(part, codec: "int\(bits)")
        }
        groupSize = size
      }
    }
    try self.init(
      bits: bits, groupSize: groupSize, isSymmetric: isSymmetric, scaleType: scaleType,
      hasGroupIndex: hasGroupIndex)
  }

  /// `int4-g128-sym`; `-gall` for whole rows; `-gidx` with a group index; the scale type follows unless it is f16.
  public var canonicalName: String {
    "int\(bits)-g\(groupSize.map(String.init) ?? "all")-\(isSymmetric ? "sym" : "asym")"
      + (hasGroupIndex ? "-gidx" : "") + (scaleType == .f16 ? "" : "-\(scaleType.name)")
  }

  /// Largest code.
  public var maximumCode: Int { 1 << bits - 1 }

  /// The zero point of symmetric codes.
  public var middleCode: Int { 1 << (bits - 1) }

  /// Columns that share a scale.
  public func groupLength(columns: Int) -> Int { max(1, min(groupSize ?? columns, columns)) }

  /// Groups of a row.
  public func groupCount(columns: Int) -> Int {
    Checked.ceilingQuotient(columns, groupLength(columns: columns))
  }

  /// The group index belongs to all rows.
  public var sharedPlanes: Set<String> { hasGroupIndex ? ["group_index"] : [] }

  /// Exact storage in bits per weight of a row; a group index, which all rows share, is not counted.
  public func bitsPerWeight(columns: Int) -> Double {
    let groups = groupCount(columns: columns)
    let bytes =
      BitPacking.bytesPerRow(count: columns, bits: bits) + groups
      * (scaleType.bitWidth / 8 + (isSymmetric ? 0 : 1))
    return Double(bytes) * 8 / Double(max(columns, 1))
  }

  /// The matrix itself.
  public func integerGroups(of matrix: EncodedMatrix) -> EncodedMatrix? { matrix }
}
