/// What linear layers over codes compute with.
public enum ActivationPrecision: String, Sendable, CaseIterable {
  /// Activations as they are; codes become floats first.
  case float32
  /// Activations rounded to int8 per token and block of columns; exact integer sums per block.
  case int8
  /// The same with one scale a token: what W8A8 means elsewhere.
  case int8Token = "int8-token"
  /// The same, but numbers of ``outlierThreshold`` and more are left out of codes and scale and multiplied as floats.
  /// Source: Dettmers et al. 2022, "LLM.int8()" (arXiv 2208.07339), section 3.2; there whole columns are left out, here
  /// numbers, so that a token's result does not depend on those beside it.
  case int8Outliers = "int8-outliers"
  /// Activations rounded to FP8 E4M3 with one scale a token; sums in float32.
  case fp8Token = "fp8-token"
  /// Activations rounded to FP8 E4M3 with a scale for every 128 columns; sums in float32.
  case fp8Group = "fp8-group"

  /// Magnitude from which on a number is an outlier (the paper's).
  public static let outlierThreshold: Float = 6

  /// Whether codes are multiplied as integers.
  public var isInteger: Bool {
    switch self {
    case .int8, .int8Token, .int8Outliers: true
    case .float32, .fp8Token, .fp8Group: false
    }
  }

  var hasTokenScales: Bool { self == .int8Token || self == .int8Outliers }

  var threshold: Float { self == .int8Outliers ? ActivationPrecision.outlierThreshold : 0 }

  /// Numbers that share a scale when they are rounded to FP8; nil when they are not.
  func floatGroup(columns: Int) -> Int? {
    switch self {
    case .fp8Token: max(columns, 1)
    case .fp8Group: 128
    default: nil
    }
  }
}
