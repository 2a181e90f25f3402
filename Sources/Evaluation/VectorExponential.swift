/// Exponentials of eight numbers at once, in Double, without a call into the C library.
enum VectorExponential {
  /// Arguments below this count as this: the result is about 1e-304, which adds nothing to a sum that holds
  /// a one.
  static let smallestArgument = -700.0

  /// `exp(x)` with a relative error below 1e-12 for x in -700 ... 700; NaN stays NaN.
  ///
  /// The argument is split into a multiple n of ln 2 and a rest of at most half of it; the Taylor
  /// polynomial of degree ten gives the exponential of the rest (first omitted term: 2e-13), and n goes
  /// into the exponent bits.
  @inline(__always)
  static func of(_ x: SIMD8<Double>) -> SIMD8<Double> {
    let lowest = SIMD8<Double>(repeating: smallestArgument)
    let argument = x.replacing(with: lowest, where: x .< lowest)
    // Adding and subtracting 1.5 * 2^52 rounds to the nearest whole number, which then lies in the low bits.
    let rounder = SIMD8<Double>(repeating: 0x1.8p52)
    let shifted = argument * 1.442695040888963407 + rounder
    let multiple = shifted - rounder
    let rest = (argument - multiple * 0x1.62e42feep-1) - multiple * 0x1.a39ef35793c76p-33
    var power = rest * (1 / 3_628_800) + SIMD8(repeating: 1 / 362_880)
    power = power * rest + SIMD8(repeating: 1 / 40_320)
    power = power * rest + SIMD8(repeating: 1 / 5_040)
    power = power * rest + SIMD8(repeating: 1 / 720)
    power = power * rest + SIMD8(repeating: 1 / 120)
    power = power * rest + SIMD8(repeating: 1 / 24)
    power = power * rest + SIMD8(repeating: 1 / 6)
    power = power * rest + SIMD8(repeating: 0.5)
    power = power * rest + SIMD8(repeating: 1)
    power = power * rest + SIMD8(repeating: 1)
    let exponent = unsafe unsafeBitCast(shifted, to: SIMD8<Int64>.self) &<< 52
    let bits = unsafe unsafeBitCast(power, to: SIMD8<Int64>.self) &+ exponent
    return unsafe unsafeBitCast(bits, to: SIMD8<Double>.self)
  }
}
