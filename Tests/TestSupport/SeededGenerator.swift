import TensorCore

/// The generator of property tests; print the seed with every failure.
public struct SeededGenerator: RandomNumberGenerator {
  private var bits: SplitMix64

  /// Starts the sequence of `seed`.
  public init(seed: UInt64) { bits = SplitMix64(seed: seed) }

  /// The next 64 bits.
  public mutating func next() -> UInt64 { bits.next() }

  /// A standard normal number (Box and Muller would need libm; the sum of twelve uniforms is close enough for tests).
  public mutating func normal() -> Float {
    var sum: Float = -6
    for _ in 0..<12 { sum += Float.random(in: 0..<1, using: &self) }
    return sum
  }

  /// `count` standard normal numbers.
  public mutating func normals(_ count: Int) -> [Float] { (0..<count).map { _ in normal() } }
}
