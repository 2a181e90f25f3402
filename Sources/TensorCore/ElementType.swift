/// The type of a stored element, named as the safetensors format names it.
public enum ElementType: String, Sendable, CaseIterable, Hashable {
  case bool = "BOOL"
  case u8 = "U8"
  case i8 = "I8"
  case f8e4m3 = "F8_E4M3"
  case f8e5m2 = "F8_E5M2"
  case f8e8m0 = "F8_E8M0"
  case f4 = "F4"
  case f6e2m3 = "F6_E2M3"
  case f6e3m2 = "F6_E3M2"
  case i16 = "I16"
  case u16 = "U16"
  case f16 = "F16"
  case bf16 = "BF16"
  case i32 = "I32"
  case u32 = "U32"
  case f32 = "F32"
  case c64 = "C64"
  case f64 = "F64"
  case i64 = "I64"
  case u64 = "U64"

  /// The lower-case name that Adze prints, such as `bf16`.
  public var name: String { rawValue.lowercased() }

  /// Bits of one element.
  public var bitWidth: Int {
    switch self {
    case .f4: 4
    case .f6e2m3, .f6e3m2: 6
    case .bool, .u8, .i8, .f8e4m3, .f8e5m2, .f8e8m0: 8
    case .i16, .u16, .f16, .bf16: 16
    case .i32, .u32, .f32: 32
    case .i64, .u64, .f64, .c64: 64
    }
  }

  /// Whether values are real floating-point numbers.
  public var isFloatingPoint: Bool {
    switch self {
    case .f16, .bf16, .f32, .f64, .f8e4m3, .f8e5m2, .f8e8m0, .f4, .f6e2m3, .f6e3m2: true
    default: false
    }
  }

  /// Bytes of `count` elements.
  /// - Throws: ``TensorCoreError/overflow(_:)``, or `.shapeMismatch` when sub-byte elements do not fill whole bytes.
  public func byteCount(elements count: Int) throws(TensorCoreError) -> Int {
    let bits = try Checked.product(count, bitWidth)
    guard bits % 8 == 0 else {
      throw .shapeMismatch(expected: "a whole number of bytes", found: "\(bits) bits")
    }
    return bits / 8
  }
}
