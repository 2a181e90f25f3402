import Glibc

/// Powers, kept apart so that the rest needs no C library.
enum PowerFunction {
  /// `base` to the power of `exponent`; `base` is positive.
  static func power(_ base: Double, _ exponent: Double) -> Double { pow(base, exponent) }
}
