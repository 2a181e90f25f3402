import Codecs
import OrderedCollections
import TensorCore

/// Whether the scales of a matrix can be f16.
enum ScaleFit {
  case exact, rounded, outOfRange

  init(_ matrix: EncodedMatrix) {
    guard let plane = matrix.planes["scales"], plane.elementType != .f16 else {
      self = .exact
      return
    }
    var result = ScaleFit.exact
    for scale in (try? plane.floats()) ?? [] {
      let half = Float16(scale)
      if Float(half) == scale { continue }
      guard half.isFinite, half.magnitude >= Float16.leastNormalMagnitude else {
        self = .outOfRange
        return
      }
      result = .rounded
    }
    self = result
  }
}
