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
      self = .bfloat16(
        unsafe Array(unsafeUninitializedCapacity: values.count) { bits, count in
          for index in 0..<values.count {
            unsafe bits.initializeElement(at: index, to: SmallFloat.bfloat16(values[index]))
          }
          count = values.count
        })
    } else {
      self = .float32(unsafe Array(values))
    }
  }

  /// The values as float32.
  var floats: [Float] {
    switch self {
    case .float32(let values): return values
    case .bfloat16(let bits):
      return unsafe Array(unsafeUninitializedCapacity: bits.count) { values, count in
        for index in bits.indices {
          unsafe values.initializeElement(at: index, to: SmallFloat.float(bfloat16: bits[index]))
        }
        count = bits.count
      }
    }
  }
}
