import TensorCore

/// Separates the high and low bytes of 16-bit values, and joins them again.
enum BytePlanes {
  /// High bytes of all values, then low bytes; the count must be even.
  static func split(_ bytes: [UInt8]) -> [UInt8] {
    let count = bytes.count / 2
    var result = [UInt8](repeating: 0, count: bytes.count)
    for index in 0..<count {
      result[index] = bytes[2 * index + 1]
      result[count + index] = bytes[2 * index]
    }
    return result
  }

  /// The inverse of ``split(_:)``.
  static func joined(_ planes: MemoryRegion) -> MemoryRegion {
    let count = planes.byteCount / 2
    return unsafe MemoryRegion(byteCount: planes.byteCount) { target in
      unsafe planes.withBytes { source in
        for index in 0..<count {
          unsafe target[2 * index + 1] = source[index]
          unsafe target[2 * index] = source[count + index]
        }
      }
    }
  }
}
