/// Names one value of a graph; equal numbers in two graphs have nothing to do with each other.
public struct ValueID: Hashable, Comparable, Sendable {
  /// The slot of the value in its graph.
  public let raw: Int

  init(_ raw: Int) { self.raw = raw }

  /// Order of creation.
  public static func < (a: ValueID, b: ValueID) -> Bool { a.raw < b.raw }
}

/// One dimension of a value: known, or a symbol such as `T` (tokens) that a run binds.
public enum Dimension: Hashable, Sendable, CustomStringConvertible {
  /// A known extent.
  case fixed(Int)
  /// An extent that is known at run time, equal wherever the symbol stands.
  case symbol(String)

  /// The number of tokens of a run.
  public static let tokens = Dimension.symbol("T")

  /// `64` or `T`.
  public var description: String {
    switch self {
    case .fixed(let extent): String(extent)
    case .symbol(let name): name
    }
  }

  /// The extent when it is known.
  public var extent: Int? {
    if case .fixed(let extent) = self { extent } else { nil }
  }
}

/// What values are made of.
public enum ValueElement: String, Hashable, Sendable, CaseIterable {
  /// IEEE 754 single precision: activations and logits.
  case f32
  /// 32-bit integers: tokens and positions.
  case i32
}

/// Element type and dimensions of a value.
public struct ValueType: Hashable, Sendable, CustomStringConvertible {
  /// What the value is made of.
  public var element: ValueElement
  /// Extents, outermost first.
  public var dimensions: [Dimension]

  /// Creates a type.
  public init(_ element: ValueElement, _ dimensions: [Dimension]) {
    self.element = element
    self.dimensions = dimensions
  }

  /// Activations: `f32[T, columns]`.
  public static func activations(_ columns: Int) -> ValueType {
    ValueType(.f32, [.tokens, .fixed(columns)])
  }

  /// One integer a token: `i32[T]`.
  public static let tokens = ValueType(.i32, [.tokens])

  /// The innermost extent when it is known; nil for scalars and symbols.
  public var columns: Int? { dimensions.last?.extent }

  /// As the textual form writes it: `f32[T, 64]`.
  public var description: String {
    element.rawValue + "[" + dimensions.map(\.description).joined(separator: ", ") + "]"
  }
}

/// How a constant is stored and what shape it has.
public struct ConstantType: Hashable, Sendable, CustomStringConvertible {
  /// An element type's name (`bf16`, `f32`) or a codec's (`int4-g128-sym`).
  public var encoding: String
  /// Extents of the decoded constant, outermost first; `[out, in]` for matrices.
  public var dimensions: [Int]

  /// Creates a type.
  public init(_ encoding: String, _ dimensions: [Int]) {
    self.encoding = encoding
    self.dimensions = dimensions
  }

  /// As the textual form writes it: `bf16[320, 64]`.
  public var description: String {
    TextForm.word(encoding) + "[" + dimensions.map(String.init).joined(separator: ", ") + "]"
  }
}
