import Codecs
import TensorCore

/// Whether the values of weights, none of them dense numbers of a wider type, can be f16.
enum HalfFit {
  case exact, rounded, outOfRange

  init(_ weights: [Weight]) {
    var fit = HalfFit.exact
    for weight in weights {
      switch weight {
      case .dense(let tensor):
        guard tensor.elementType == .f16 else {
          self = .outOfRange
          return
        }
      case .encoded(let matrix):
        switch HalfFit(matrix) {
        case .exact: break
        case .rounded: fit = .rounded
        case .outOfRange:
          self = .outOfRange
          return
        }
      }
    }
    self = fit
  }

  private init(_ matrix: EncodedMatrix) {
    var largest: Float = 0
    var isExact = true
    // Some rows at a time, which stay in the cache.
    let step = max(1, 16384 / max(matrix.columns, 1))
    var values = [Float](repeating: 0, count: min(step, matrix.rows) * matrix.columns)
    for start in stride(from: 0, to: matrix.rows, by: step) {
      let rows = start..<min(start + step, matrix.rows)
      let count = rows.count * matrix.columns
      unsafe values.withUnsafeMutableBufferPointer { buffer in
        unsafe matrix.codec.decode(
          matrix, rows: rows, into: UnsafeMutableBufferPointer(rebasing: buffer[0..<count]))
        for index in 0..<count {
          let value = unsafe buffer[index]
          // Also where it is not a number.
          if !(abs(value) <= largest) { largest = value.isNaN ? .infinity : abs(value) }
          if Float(Float16(value)) != value { isExact = false }
        }
      }
    }
    if isExact {
      self = .exact
    } else {
      // Numbers below 2^-14 are rounded by up to 2^-25.
      self = largest < 65520 && largest >= 0x1p-10 ? .rounded : .outOfRange
    }
  }
}
