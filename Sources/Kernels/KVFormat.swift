import CKernels

/// How the elements of cached keys or values are stored.
///
/// int8 and fp8 (E4M3) have a scale for every 64 elements of a token, int4 a scale and a minimum for every 32, all as halves.
public enum KVElement: String, Sendable, CaseIterable {
  case f32, f16, int8, int4, fp8

  /// Whether elements are codes that have scales.
  public var hasScales: Bool { self != .f32 && self != .f16 }

  var code: Int32 {
    switch self {
    case .f32: Int32(CK_KV_F32)
    case .f16: Int32(CK_KV_F16)
    case .int8: Int32(CK_KV_INT8)
    case .int4: Int32(CK_KV_INT4)
    case .fp8: Int32(CK_KV_FP8)
    }
  }

  /// Elements of a token that share a scale.
  var groupLength: Int { self == .int4 ? 32 : 64 }

  /// Halves that belong to a group.
  var halvesPerGroup: Int { hasScales ? self == .int4 ? 2 : 1 : 0 }

  /// Bytes of `columns` columns of a panel of 16 lanes.
  func byteCount(columns: Int) -> Int {
    switch self {
    case .f32: columns * 64
    case .f16: columns * 32
    case .int8, .fp8: columns * 16
    case .int4: (columns + 1) / 2 * 16
    }
  }
}

/// How a cache of keys and values is stored.
public struct KVFormat: Sendable, Equatable, CustomStringConvertible {
  /// Which vectors are multiplied with a Hadamard matrix before they are stored, so that no channel stands out. Queries are
  /// multiplied too, results back: without quantization nothing changes but rounding.
  public enum Rotation: String, Sendable, CaseIterable { case none, keys, both }

  /// What a scale of quantized keys is for.
  public enum KeyScales: String, Sendable, CaseIterable {
    /// A group of elements of one key.
    case token
    /// A channel of a tile of 64 keys; keys that do not fill a tile yet are kept as halves.
    case channel
  }

  /// How keys are stored.
  public var keys: KVElement
  /// How values are stored.
  public var values: KVElement
  /// What is rotated.
  public var rotation: Rotation
  /// What scales of keys are for.
  public var keyScales: KeyScales
  /// Tokens before the one that asks, itself included, that are read as halves: at least so many, up to a whole tile of 64.
  public var recent: Int

  /// Creates a format; halves unless told otherwise.
  public init(
    keys: KVElement = .f16, values: KVElement? = nil, rotation: Rotation = .none,
    keyScales: KeyScales = .token,
    recent: Int = 0
  ) {
    self.keys = keys
    self.values = values ?? keys
    self.rotation = rotation
    self.keyScales = keyScales
    self.recent = max(recent, 0)
  }

  /// Float32.
  public static let f32 = KVFormat(keys: .f32)
  /// Halves.
  public static let f16 = KVFormat(keys: .f16)

  /// Such as `f16`, `int8/int4` or `int4, rotated both, recent 64`.
  public var description: String {
    var parts = [keys == values ? keys.rawValue : "\(keys.rawValue)/\(values.rawValue)"]
    if rotation != .none { parts.append("rotated \(rotation.rawValue)") }
    if keys.hasScales, keyScales == .channel { parts.append("keys per channel") }
    if recent > 0 { parts.append("recent \(recent)") }
    return parts.joined(separator: ", ")
  }

  /// Whether the last tokens are kept as halves beside what is quantized.
  var keepsRecent: Bool {
    (keys.hasScales || values.hasScales) && (recent > 0 || (keys.hasScales && keyScales == .channel))
  }

  /// The largest power of two, at most 256, that divides a head; 0 when nothing is to rotate.
  static func rotationBlock(_ dimension: Int) -> Int {
    let block = min(dimension & -dimension, 256)
    return block > 1 ? block : 0
  }
}
