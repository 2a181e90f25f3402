/// Small floating-point formats: values of their codes, and rounding to them.
public enum SmallFloat {
  /// Values of the 256 codes of F8_E4M3 (FN): bias 7, no infinity, 0x7F and 0xFF are NaN.
  public static let e4m3Values: [Float] = (0..<256).map { code in
    let exponent = (code >> 3) & 15
    let mantissa = Float(code & 7)
    if code & 0x7F == 0x7F { return .nan }
    let magnitude =
      exponent == 0
      ? Float(sign: .plus, exponent: -9, significand: mantissa)
      : Float(sign: .plus, exponent: exponent - 7, significand: 1 + mantissa / 8)
    return code & 0x80 == 0 ? magnitude : -magnitude
  }

  /// Values of the 256 codes of F8_E5M2: bias 15, infinities and NaN as in IEEE 754.
  public static let e5m2Values: [Float] = (0..<256).map { code in
    Float(Float16(bitPattern: UInt16(code) << 8))
  }

  /// Values of the 256 codes of F8_E8M0: 2^(code - 127), 0xFF is NaN.
  public static let e8m0Values: [Float] = (0..<256).map { code in
    code == 255 ? .nan : Float(sign: .plus, exponent: code - 127, significand: 1)
  }

  /// The bfloat16 nearest to `value`, ties to even; NaN stays a quiet NaN.
  @inlinable
  public static func bfloat16(_ value: Float) -> UInt16 {
    let bits = value.bitPattern
    let quiet = bits >> 16 | 0x40
    let nearest = (bits &+ 0x7FFF &+ ((bits >> 16) & 1)) >> 16
    return UInt16(truncatingIfNeeded: value.isNaN ? quiet : nearest)
  }

  /// The value nearest to `value` that an IEEE half can hold, ties to even.
  ///
  /// For searches that round many scales: processors without half precision convert by calls.
  public static func halfRounded(_ value: Float) -> Float {
    let bits = value.bitPattern
    let exponent = (bits >> 23) & 0xFF
    // Normal halves whose rounding cannot reach infinity.
    guard (113..<142).contains(exponent) else { return Float(Float16(value)) }
    return Float(bitPattern: (bits &+ 0xFFF &+ ((bits >> 13) & 1)) & ~0x1FFF)
  }

  /// The value of a bfloat16.
  @inlinable
  public static func float(bfloat16 bits: UInt16) -> Float { Float(bitPattern: UInt32(bits) << 16) }
}
