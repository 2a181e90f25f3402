/// How the input of a linear layer is quantized before it is multiplied.
///
/// Integers are `scale * code` with codes from -127 to 127 (from -7 to 7 for 4 bits, in bytes of their own), FP8 is E4M3 times a scale; both round to nearest, ties to even. A
/// dynamic scale maps the largest magnitude of what shares it to the largest code; a static one is part of the model.
public struct ActivationScheme: Sendable, Hashable, CustomStringConvertible {
  /// What numbers become.
  public enum Kind: String, Sendable, CaseIterable {
    /// They stay as they are.
    case float32
    /// Integers, multiplied as such where the weights are codes.
    case int8
    /// FP8 E4M3, multiplied and summed in float32.
    case fp8
  }

  /// What shares a scale.
  public enum Granularity: Sendable, Hashable {
    /// Those columns of a token that share a scale in the weights, or 128.
    case block
    /// So many columns of a token.
    case group(Int)
    /// A token.
    case token
    /// All tokens: the scale is static.
    case tensor
  }

  /// What numbers become.
  public let kind: Kind
  /// What shares a scale.
  public let granularity: Granularity
  /// Magnitude from which on a number is an outlier that stays a float; 0: none does.
  /// Source: Dettmers et al. 2022, "LLM.int8()" (arXiv 2208.07339), section 3.2.
  public let outlierThreshold: Float

  /// Bits of a code; 32 for numbers as they are.
  public let bits: Int

  private init(_ kind: Kind, _ granularity: Granularity, outlierThreshold: Float = 0, bits: Int = 8) {
    (self.kind, self.granularity, self.outlierThreshold) = (kind, granularity, outlierThreshold)
    self.bits = kind == .float32 ? 32 : bits
  }

  /// Inputs as they are.
  public static let float32 = ActivationScheme(.float32, .token)
  /// Integers with a scale for each token and block of columns that share one in the weights.
  public static let int8Block = ActivationScheme(.int8, .block)
  /// Integers with a scale for each token and 128 columns.
  public static let int8Group = ActivationScheme(.int8, .group(128))
  /// Integers with a scale for each token: what W8A8 means.
  public static let int8Token = ActivationScheme(.int8, .token)
  /// Integers with one static scale.
  public static let int8Tensor = ActivationScheme(.int8, .tensor)
  /// Integers with a scale for each token, numbers of 6 and more left out and multiplied as floats.
  public static let int8Outliers = outliers(from: 6)
  /// Integers of 4 bits with a scale for each token: what W4A4 means.
  public static let int4Token = ActivationScheme(.int8, .token, bits: 4)
  /// Integers of 4 bits with a scale for each token and 128 columns.
  public static let int4Group = ActivationScheme(.int8, .group(128), bits: 4)
  /// FP8 with a scale for each token.
  public static let fp8Token = ActivationScheme(.fp8, .token)
  /// FP8 with a scale for each token and 128 columns.
  public static let fp8Group = ActivationScheme(.fp8, .group(128))
  /// FP8 with one static scale.
  public static let fp8Tensor = ActivationScheme(.fp8, .tensor)

  /// ``int8Outliers`` with another threshold, which is more than 0.
  public static func outliers(from threshold: Float) -> ActivationScheme {
    ActivationScheme(.int8, .token, outlierThreshold: threshold)
  }

  /// Every scheme with its name and a line for people; ``outliers(from:)`` with its usual threshold.
  public static let all: [(name: String, scheme: ActivationScheme, summary: String)] = [
    ("float32", .float32, "as they are"),
    (
      "int8-block", .int8Block,
      "int8, a scale for each token and block of columns that share one in the weights"
    ),
    ("int8-group", .int8Group, "int8, a scale for each token and 128 columns"),
    ("int8-token", .int8Token, "int8, a scale for each token"),
    ("int8-tensor", .int8Tensor, "int8, one static scale, which is calibrated"),
    ("int8-outliers", .int8Outliers, "int8-token, columns with numbers of 6 and more as floats (LLM.int8())"),
    ("int4-token", .int4Token, "integers of 4 bits, a scale for each token"),
    ("int4-group", .int4Group, "integers of 4 bits, a scale for each token and 128 columns"),
    ("fp8-token", .fp8Token, "FP8 E4M3, a scale for each token"),
    ("fp8-group", .fp8Group, "FP8 E4M3, a scale for each token and 128 columns"),
    ("fp8-tensor", .fp8Tensor, "FP8 E4M3, one static scale, which is calibrated"),
  ]

  /// The names of ``all``.
  public static var names: [String] { all.map(\.name) }

  /// The scheme of a name; `int8-outliers-4.5` has another threshold, and `int8` is `int8-block`. Nil when there is none.
  public init?(name: String) {
    if let entry = Self.all.first(where: { $0.name == name }) {
      self = entry.scheme
      return
    }
    if name == "int8" {
      self = .int8Block
      return
    }
    let prefix = "int8-outliers-"
    guard name.hasPrefix(prefix), let threshold = Float(name.dropFirst(prefix.count)), threshold.isFinite,
      threshold > 0
    else { return nil }
    self = .outliers(from: threshold)
  }

  /// The name that ``init(name:)`` understands.
  public var description: String {
    if let entry = Self.all.first(where: { $0.scheme == self }) { return entry.name }
    return "int8-outliers-\(outlierThreshold)"
  }

  /// Whether the scale is part of the model.
  public var isStatic: Bool { granularity == .tensor }

  /// Largest magnitude of a code.
  public var largestCode: Float { kind == .fp8 ? 448 : bits == 4 ? 7 : 127 }

  /// Columns of a token that share a scale.
  /// - Parameter block: columns that share a scale in the weights.
  public func scaleColumns(of columns: Int, block: Int) -> Int {
    switch granularity {
    case .block: block
    case .group(let size): size
    case .token, .tensor: max(columns, 1)
    }
  }
}

/// How the input of one linear layer is quantized: a scheme, and what of it is part of the model.
public struct InputQuantization: Sendable, Hashable {
  /// The scheme.
  public var scheme: ActivationScheme
  /// The static scale, which codes are multiplied by; nil for dynamic schemes.
  public var scale: Float?
  /// Columns that stay floats, ascending: where calibration met outliers.
  public var outlierColumns: [Int]

  /// Creates a quantization.
  public init(_ scheme: ActivationScheme, scale: Float? = nil, outlierColumns: [Int] = []) {
    self.scheme = scheme
    self.scale = scale
    self.outlierColumns = outlierColumns
  }

  /// Inputs as they are.
  public static let float32 = InputQuantization(.float32)

  /// What several layers that are joined to one have in common: the largest static scale, all outlier columns. Nil when their
  /// schemes differ.
  public static func joined(_ parts: [InputQuantization]) -> InputQuantization? {
    guard var result = parts.first, parts.allSatisfy({ $0.scheme == result.scheme }) else { return nil }
    for part in parts.dropFirst() where part != result {
      if let scale = part.scale { result.scale = max(result.scale ?? 0, scale) }
      result.outlierColumns = Set(result.outlierColumns).union(part.outlierColumns).sorted()
    }
    return result
  }

  /// What is wrong with it for a layer of so many columns; nil when nothing is.
  public func problem(columns: Int) -> String? {
    if scheme.isStatic {
      guard let scale else { return "\(scheme) needs a static scale, and the model has none" }
      guard scale.isNormal, scale > 0, (1 / scale).isFinite else {
        return "the static scale \(scale) is unusable"
      }
    }
    guard zip(outlierColumns, outlierColumns.dropFirst()).allSatisfy(<) else {
      return "outlier columns do not ascend"
    }
    guard outlierColumns.first ?? 0 >= 0, outlierColumns.last ?? -1 < columns else {
      return "an outlier column is not one of \(columns)"
    }
    return nil
  }
}
