import CKernels
import Codecs

extension KVElement {
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

extension KVFormat {
  /// Whether the last tokens are kept as halves beside what is quantized.
  var keepsRecent: Bool { isQuantized && (recent > 0 || (keys.hasScales && keyScales == .channel)) }

  /// The largest power of two, at most 256, that divides a head; 0 when nothing is to rotate.
  static func rotationBlock(_ dimension: Int) -> Int {
    let block = min(dimension & -dimension, 256)
    return block > 1 ? block : 0
  }
}
