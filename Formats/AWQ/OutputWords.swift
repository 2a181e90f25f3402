import Codecs
import TensorCore

/// Words that hold the codes of eight outputs for one input, in the order that GPU kernels want.
enum OutputWords {
  /// The nibble of a word that holds the output at each place.
  static let nibble = [0, 4, 1, 5, 2, 6, 3, 7]

  /// Codes `[outputs, ceil(inputs / 2)]`, low nibble first, of words `[inputs, outputs / 8]`.
  static func codes(of words: Tensor) throws(TensorCoreError) -> Tensor {
    let (columns, wordCount) = (words.shape.dimensions[0], words.shape.dimensions[1])
    let rowBytes = (columns + 1) / 2
    let shape = try Shape([wordCount * 8, rowBytes])
    let region = unsafe MemoryRegion.deferred(byteCount: shape.elementCount) { target in
      unsafe words.withBytes { source in
        func word(_ column: Int, _ index: Int) -> UInt32 {
          guard column < columns else { return 0 }
          return unsafe source.loadUnaligned(
            fromByteOffset: 4 * (column * wordCount + index), as: UInt32.self)
        }
        // Sixteen words side by side are a line of the cache.
        for first in stride(from: 0, to: wordCount, by: 16) {
          for byte in 0..<rowBytes {
            for index in first..<min(first + 16, wordCount) {
              let (low, high) = (word(2 * byte, index), word(2 * byte + 1, index))
              for place in 0..<8 {
                let shift = UInt32(4 * nibble[place])
                unsafe target[(8 * index + place) * rowBytes + byte] = UInt8(
                  truncatingIfNeeded: (low >> shift) & 15 | ((high >> shift) & 15) << 4)
              }
            }
          }
        }
      }
    }
    return try Tensor(elementType: .u8, shape: shape, region: region)
  }

  /// Words `[columns, rows / 8]` of codes `[rows, ceil(columns / 2)]`.
  static func words(of codes: Tensor, columns: Int) throws(TensorCoreError) -> Tensor {
    let (rows, rowBytes) = (codes.shape.dimensions[0], codes.shape.dimensions[1])
    let wordCount = rows / 8
    let shape = try Shape([columns, wordCount])
    let region = unsafe MemoryRegion.deferred(byteCount: shape.elementCount * 4) { target in
      unsafe codes.withBytes { source in
        for first in stride(from: 0, to: wordCount, by: 16) {
          for byte in 0..<rowBytes {
            for index in first..<min(first + 16, wordCount) {
              var (low, high) = (UInt32(0), UInt32(0))
              for place in 0..<8 {
                let pair = UInt32(unsafe source[(8 * index + place) * rowBytes + byte])
                low |= (pair & 15) << UInt32(4 * nibble[place])
                high |= (pair >> 4) << UInt32(4 * nibble[place])
              }
              unsafe target.storeBytes(
                of: low, toByteOffset: 4 * (2 * byte * wordCount + index), as: UInt32.self)
              guard 2 * byte + 1 < columns else { continue }
              unsafe target.storeBytes(
                of: high, toByteOffset: 4 * ((2 * byte + 1) * wordCount + index), as: UInt32.self)
            }
          }
        }
      }
    }
    return try Tensor(elementType: .i32, shape: shape, region: region)
  }

  /// Numbers `[outputs, rows]`, a byte each, of words `[rows, outputs / 8]`.
  static func bytes(of words: Tensor) throws(TensorCoreError) -> Tensor {
    let (count, wordCount) = (words.shape.dimensions[0], words.shape.dimensions[1])
    let shape = try Shape([wordCount * 8, count])
    let region = unsafe MemoryRegion.deferred(byteCount: shape.elementCount) { target in
      unsafe words.withBytes { source in
        for row in 0..<count {
          for index in 0..<wordCount {
            let word = unsafe source.loadUnaligned(
              fromByteOffset: 4 * (row * wordCount + index), as: UInt32.self)
            for place in 0..<8 {
              unsafe target[(8 * index + place) * count + row] =
                UInt8(truncatingIfNeeded: word >> UInt32(4 * nibble[place])) & 15
            }
          }
        }
      }
    }
    return try Tensor(elementType: .u8, shape: shape, region: region)
  }

  /// Words `[rows, outputs / 8]` of numbers `[outputs, rows]`, a byte each.
  static func words(ofBytes bytes: Tensor) throws(TensorCoreError) -> Tensor {
    let (outputs, count) = (bytes.shape.dimensions[0], bytes.shape.dimensions[1])
    let shape = try Shape([count, outputs / 8])
    let region = unsafe MemoryRegion.deferred(byteCount: shape.elementCount * 4) { target in
      unsafe bytes.withBytes { source in
        for row in 0..<count {
          for index in 0..<outputs / 8 {
            var word: UInt32 = 0
            for place in 0..<8 {
              word |= UInt32(unsafe source[(8 * index + place) * count + row]) << UInt32(4 * nibble[place])
            }
            unsafe target.storeBytes(
              of: word, toByteOffset: 4 * (row * (outputs / 8) + index), as: UInt32.self)
          }
        }
      }
    }
    return try Tensor(elementType: .i32, shape: shape, region: region)
  }
}
