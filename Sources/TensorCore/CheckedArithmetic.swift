/// Integer arithmetic for numbers that come from files: overflow is an error, never a trap.
public enum Checked {
  /// The product of non-negative factors.
  /// - Throws: ``TensorCoreError/overflow(_:)`` when a factor is negative or the product does not fit `Int`.
  public static func product(_ factors: some Sequence<Int>) throws(TensorCoreError) -> Int {
    var result = 1
    var isZero = false
    for factor in factors {
      guard factor >= 0 else { throw .negative(factor) }
      if factor == 0 { isZero = true }
      let (value, overflow) = result.multipliedReportingOverflow(by: max(factor, 1))
      guard !overflow else { throw .overflow("product of \(Array(factors))") }
      result = value
    }
    return isZero ? 0 : result
  }

  /// The product of two non-negative factors.
  public static func product(_ a: Int, _ b: Int) throws(TensorCoreError) -> Int {
    guard a >= 0 else { throw .negative(a) }
    guard b >= 0 else { throw .negative(b) }
    let (value, overflow) = a.multipliedReportingOverflow(by: b)
    guard !overflow else { throw .overflow("\(a) * \(b)") }
    return value
  }

  /// The sum of two non-negative terms.
  public static func sum(_ a: Int, _ b: Int) throws(TensorCoreError) -> Int {
    guard a >= 0 else { throw .negative(a) }
    guard b >= 0 else { throw .negative(b) }
    let (value, overflow) = a.addingReportingOverflow(b)
    guard !overflow else { throw .overflow("\(a) + \(b)") }
    return value
  }

  /// `Int` from a file's unsigned integer.
  public static func int(_ value: UInt64) throws(TensorCoreError) -> Int {
    guard let result = Int(exactly: value) else { throw .overflow("\(value) as Int") }
    return result
  }

  /// The quotient rounded up; `divisor` must be positive.
  public static func ceilingQuotient(_ dividend: Int, _ divisor: Int) -> Int {
    dividend / divisor + (dividend % divisor == 0 ? 0 : 1)
  }
}

/// What can go wrong with shapes, types and their arithmetic.
public enum TensorCoreError: DiagnosableError, Equatable {
  /// Arithmetic on sizes left the range of `Int`.
  case overflow(String)
  /// A size or dimension was negative.
  case negative(Int)
  /// The bytes at hand are not what shape and type need.
  case byteCountMismatch(expected: Int, found: Int)
  /// The element type cannot be used for this.
  case unsupportedElementType(ElementType, purpose: String)
  /// The shape cannot be used for this.
  case shapeMismatch(expected: String, found: String)

  /// The presentation.
  public var diagnostic: Diagnostic {
    switch self {
    case .overflow(let what):
      Diagnostic(code: "tensor.overflow", message: "a size overflows: \(what)")
    case .negative(let value):
      Diagnostic(code: "tensor.negative-size", message: "a size is negative", found: "\(value)")
    case .byteCountMismatch(let expected, let found):
      Diagnostic(
        code: "tensor.byte-count", message: "byte count does not match shape and type",
        expected: "\(expected)", found: "\(found)")
    case .unsupportedElementType(let type, let purpose):
      Diagnostic(
        code: "tensor.element-type", message: "element type \(type.name) cannot be used for \(purpose)")
    case .shapeMismatch(let expected, let found):
      Diagnostic(code: "tensor.shape", message: "shape mismatch", expected: expected, found: found)
    }
  }
}
