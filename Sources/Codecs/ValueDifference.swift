/// How far values are from those that they stand for.
public struct ValueDifference: Sendable, Equatable {
  /// Largest difference; NaN when a value is NaN on one side only.
  public var maximum: Float = 0
  /// Largest magnitude of the original values.
  public var magnitude: Float = 0
  /// Sum of squared differences.
  public var squares = 0.0
  /// Sum of squared original values.
  public var energy = 0.0

  /// No values.
  public init() {}

  package init(maximum: Float, magnitude: Float, squares: Double, energy: Double) {
    self.maximum = maximum
    self.magnitude = magnitude
    self.squares = squares
    self.energy = energy
  }

  /// Compares two lists of the same length. Equal infinities, and NaN of the same bits, are no difference; the sums are
  /// taken in float32, so lists are some ten thousand values long at most.
  public init(_ original: UnsafeBufferPointer<Float>, _ other: UnsafeBufferPointer<Float>) {
    self = unsafe ValueDifference(original, other, kernels: .best)
  }

  package init(
    _ original: UnsafeBufferPointer<Float>, _ other: UnsafeBufferPointer<Float>, kernels: BlockKernels
  ) {
    precondition(original.count == other.count, "values are compared one by one")
    guard let first = original.baseAddress, let second = other.baseAddress else {
      self.init()
      return
    }
    self = unsafe kernels.difference(first, second, count: original.count)
  }

  /// Takes in the difference of more values.
  public mutating func add(_ other: ValueDifference) {
    maximum = other.maximum > maximum || other.maximum.isNaN ? other.maximum : maximum
    magnitude = max(magnitude, other.magnitude)
    squares += other.squares
    energy += other.energy
  }

  /// Root of the mean squared difference, relative to that of the values.
  public var relativeError: Double { energy > 0 ? (squares / energy).squareRoot() : 0 }
}
