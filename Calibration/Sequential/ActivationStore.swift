import TensorCore

/// Values that cross from one stage to the next, for one window of the corpus.
///
/// The residual stream stays float32. Inputs of linear layers, which can be several times as wide, are kept as bfloat16: half the
/// memory, and far finer than the quantization that is measured on them.
enum StoredActivation {
  case float32([Float])
  case bfloat16([UInt16])

  init(_ values: UnsafeBufferPointer<Float>, compact: Bool) {
    if compact {
      var bits = [UInt16](repeating: 0, count: values.count)
      for index in bits.indices { bits[index] = SmallFloat.bfloat16(unsafe values[index]) }
      self = .bfloat16(bits)
    } else {
      self = .float32(unsafe Array(values))
    }
  }

  /// The values as float32.
  var floats: [Float] {
    switch self {
    case .float32(let values): return values
    case .bfloat16(let bits):
      var values = [Float](repeating: 0, count: bits.count)
      for index in values.indices { values[index] = SmallFloat.float(bfloat16: bits[index]) }
      return values
    }
  }
}
