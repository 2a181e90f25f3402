import Kernels
import TensorCore

/// Values that cross from one stage to the next, for one window of the corpus.
///
/// The residual stream stays float32. Inputs of linear layers, which can be several times as wide, are kept as bfloat16: half the
/// memory, and far finer than the quantization that is measured on them. They lie in pages of their own: of one size at one stage and
/// of another at the next, they would leave gaps in memory that is kept.
package enum StoredActivation {
  case float32([Float])
  case bfloat16(MemoryRegion)

  /// Bytes from which on values have pages of their own: what is lost of the last one is little then.
  private static let leastPages = 1 << 17

  package init(_ values: UnsafeBufferPointer<Float>, compact: Bool) {
    guard compact else {
      self = .float32(unsafe Array(values))
      return
    }
    let byteCount = values.count * MemoryLayout<UInt16>.stride
    self = .bfloat16(
      unsafe LargeMemory.region(byteCount: byteCount, pagesFrom: Self.leastPages) { target in
        let bits = unsafe target.bindMemory(to: UInt16.self)
        for index in 0..<values.count { unsafe bits[index] = SmallFloat.bfloat16(values[index]) }
      })
  }

  /// The values as float32.
  package var floats: [Float] {
    switch self {
    case .float32(let values): return values
    case .bfloat16(let region):
      return unsafe region.withBytes { bytes in
        let bits = unsafe bytes.bindMemory(to: UInt16.self)
        return unsafe Array(unsafeUninitializedCapacity: bits.count) { values, count in
          for index in 0..<bits.count {
            unsafe values.initializeElement(at: index, to: SmallFloat.float(bfloat16: bits[index]))
          }
          count = bits.count
        }
      }
    }
  }
}
