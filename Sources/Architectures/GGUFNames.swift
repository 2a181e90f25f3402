import SafeIO

/// What has to be done to a tensor between a checkpoint and a GGUF file.
public enum GGUFTransform: Sendable, Equatable {
  /// Nothing.
  case none
  /// Rows of this many heads lie in the order of rotary pairs in the file, and in halves in the checkpoint.
  case rotaryRows(headCount: Int)
  /// The file's tensor holds the experts' tensors one after the other; the checkpoint's name has `@` for their number.
  case experts
  /// The file's values are the checkpoint's plus this number.
  case shifted(Float)

  /// The checkpoint's row of each row of the file.
  ///
  /// Row `head * width + 2 j + t` of the file is row `head * width + t * width / 2 + j` of the checkpoint.
  /// - Returns: nil when rows stay where they are, or when `rows` are not such heads.
  public func checkpointRows(count rows: Int) -> [Int]? {
    guard case .rotaryRows(let heads) = self, heads > 0, rows % (2 * heads) == 0 else { return nil }
    let half = rows / heads / 2
    return (0..<rows).map { row in
      let (head, place) = (row / (2 * half), row % (2 * half))
      return head * 2 * half + place % 2 * half + place / 2
    }
  }

  /// The file's row of each row of the checkpoint; the inverse of ``checkpointRows(count:)``.
  public func storedRows(count rows: Int) -> [Int]? {
    guard case .rotaryRows(let heads) = self, heads > 0, rows % (2 * heads) == 0 else { return nil }
    let half = rows / heads / 2
    return (0..<rows).map { row in
      let (head, place) = (row / (2 * half), row % (2 * half))
      return head * 2 * half + place % half * 2 + place / half
    }
  }
}

/// A tensor's name on the other side, and what is done to it on the way.
public struct GGUFPlace: Sendable, Equatable {
  /// The name; of experts' tensors with `@` for the number of the expert.
  public let name: String
  /// What is done.
  public let transform: GGUFTransform
}

/// Tensor names of one model on both sides.
public struct GGUFNames: Sendable {
  private let rows: [GGUFDialect.TensorName]
  private let headCount: Int
  private let kvHeadCount: Int
  private let isInterleaved: Bool

  /// The names for a model of this configuration.
  public init(_ dialect: GGUFDialect, configuration: JSONValue) {
    rows = dialect.tensors
    headCount = configuration["num_attention_heads"]?.intValue ?? 0
    kvHeadCount = configuration["num_key_value_heads"]?.intValue ?? headCount
    isInterleaved = configuration["rope_interleaved"]?.boolValue ?? false
  }

  /// Where a tensor of a GGUF file belongs; nil for names that mean nothing in this family.
  public func checkpointPlace(ofStored name: String) -> GGUFPlace? {
    place(of: name, from: \.stored, to: \.checkpoint)
  }

  /// Where a tensor of a checkpoint goes; nil for names that a GGUF file has no place for.
  public func storedPlace(ofCheckpoint name: String) -> GGUFPlace? {
    place(of: name, from: \.checkpoint, to: \.stored)
  }

  private func place(
    of name: String, from source: KeyPath<GGUFDialect.TensorName, String>,
    to target: KeyPath<GGUFDialect.TensorName, String>
  ) -> GGUFPlace? {
    guard let dot = name.lastIndex(of: ".") else { return nil }
    let suffix = name[dot...]
    for row in rows {
      guard let number = Self.number(in: name[..<dot], pattern: row[keyPath: source]) else { continue }
      let stem = row[keyPath: target].replacing("#", with: number)
      return GGUFPlace(name: stem + suffix, transform: transform(row.change))
    }
    return nil
  }

  private func transform(_ change: GGUFDialect.Change) -> GGUFTransform {
    switch change {
    case .none: .none
    case .queryRows: isInterleaved ? .none : .rotaryRows(headCount: headCount)
    case .keyRows: isInterleaved ? .none : .rotaryRows(headCount: kvHeadCount)
    case .experts: .experts
    case .shifted(let value): .shifted(value)
    }
  }

  /// The digits that stand for `#`, "" when the pattern has none; nil when the name is another one. `@` matches the
  /// number of any expert.
  private static func number(in name: Substring, pattern: String) -> String? {
    var number = ""
    var rest = name
    var place = pattern[...]
    while let character = place.first {
      place.removeFirst()
      guard character == "#" || character == "@" else {
        guard rest.first == character else { return nil }
        rest.removeFirst()
        continue
      }
      let digits = rest.prefix { $0.isASCII && $0.isNumber }
      guard !digits.isEmpty, digits.first != "0" || digits.count == 1 else { return nil }
      if character == "#" { number = String(digits) }
      rest = rest.dropFirst(digits.count)
    }
    return rest.isEmpty ? number : nil
  }
}
