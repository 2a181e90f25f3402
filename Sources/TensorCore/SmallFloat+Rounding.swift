extension SmallFloat {
  /// Values of the 16 codes of E2M1 (FP4 of the OCP microscaling formats): bit 3 is the sign, 8 is minus zero.
  public static let e2m1Values: [Float] = [
    0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6,
  ]

  /// The F8_E4M3 (FN) code nearest to `value`, ties to the even code; what lies beyond 448 becomes 448, and only NaN
  /// becomes NaN.
  public static func e4m3(_ value: Float) -> UInt8 {
    rounded(value, mantissaBits: 3, bias: 7, largest: 0x7E, notANumber: 0x7F)
  }

  /// The F8_E5M2 code nearest to `value`, ties to the even code; what lies beyond 57344 becomes 57344, and only NaN
  /// becomes NaN.
  public static func e5m2(_ value: Float) -> UInt8 {
    rounded(value, mantissaBits: 2, bias: 15, largest: 0x7B, notANumber: 0x7F)
  }

  /// The E2M1 code nearest to `value`, ties to the even code; what lies beyond 6 becomes 6; NaN becomes 6.
  public static func e2m1(_ value: Float) -> UInt8 {
    let code = rounded(value, mantissaBits: 1, bias: 1, largest: 7, notANumber: 7)
    return code >> 4 | code & 7
  }

  /// The E8M0 code of the largest power of two that is at most `value`; 0 (2^-127) for what lies below, 254 for infinity,
  /// 0xFF for NaN.
  public static func e8m0(floorOf value: Float) -> UInt8 {
    if value.isNaN { return 0xFF }
    guard value >= 0x1p-126 else { return 0 }
    return min(UInt8(truncatingIfNeeded: value.bitPattern >> 23), 254)
  }

  /// Sign in bit 7 over exponent and mantissa. The code of a positive number grows with it, so that rounding is
  /// arithmetic on the bits of the float32; subnormal codes are whole multiples of the smallest.
  private static func rounded(
    _ value: Float, mantissaBits: UInt32, bias: Int, largest: UInt8, notANumber: UInt8
  ) -> UInt8 {
    let sign = UInt8(truncatingIfNeeded: value.bitPattern >> 24) & 0x80
    if value.isNaN { return sign | notANumber }
    let magnitude = abs(value)
    let smallestNormal = Float(sign: .plus, exponent: 1 - bias, significand: 1)
    guard magnitude >= smallestNormal else {
      let steps = magnitude * Float(sign: .plus, exponent: bias - 1 + Int(mantissaBits), significand: 1)
      return sign | UInt8(steps.rounded(.toNearestOrEven))
    }
    let dropped = 23 - mantissaBits
    let bits = magnitude.bitPattern
    let half = (UInt32(1) << (dropped - 1)) &- 1 &+ ((bits >> dropped) & 1)
    let code = Int((bits &+ half) >> dropped) - (127 - bias) << Int(mantissaBits)
    return sign | UInt8(min(code, Int(largest)))
  }
}
