import Codecs
import OrderedCollections

/// What people call a way of storing weights, such as `W4A16` or `Q4_K_M`: a codec for each weight.
public struct QuantizationPreset: Sendable {
  /// What it stands for.
  public enum Content: Sendable {
    /// One codec for the linear weights of the blocks.
    case scheme(CodecScheme)
    /// llama.cpp's choice of types for all matrices, embedding and head included.
    case mix(GGUFMix)
    /// A cache, and weights as they are.
    case cache
  }

  /// The name that people type.
  public let name: String
  /// One line for people.
  public let summary: String
  /// What it stands for.
  public let content: Content
  /// How keys and values are cached; nil: as in the source.
  public var cache: KVFormat?

  /// Every preset but those that join one of weights and one of the cache; schemes first.
  public static let all: [QuantizationPreset] =
    CodecScheme.all.map { QuantizationPreset(name: $0.name, summary: $0.summary, content: .scheme($0)) }
    + GGUFMix.all.map {
      QuantizationPreset(
        name: $0.name, summary: "llama.cpp's choice of types, \($0.base) for most", content: .mix($0))
    }
    + CacheScheme.all.map {
      QuantizationPreset(
        name: $0.name, summary: $0.summary + "; alone, or at the end of another: W4A8\($0.name)",
        content: .cache, cache: $0.format)
    }

  /// The preset called `name`, whatever its case; one of weights and one of the cache may be joined, as in `W4A8KV4`.
  /// - Throws: ``PipelineError/usage(_:hint:)`` with the nearest name.
  public static func named(_ name: String) throws(PipelineError) -> QuantizationPreset {
    if let preset = all.first(where: { $0.name == name.uppercased() }) { return preset }
    guard let (rest, scheme) = CacheScheme.split(name),
      let weights = all.first(where: { $0.name == rest && $0.cache == nil })
    else {
      throw .usage(
        "no preset is called '\(name)'",
        hint: NearestName.hint(name.uppercased(), among: all.map(\.name), what: "presets"))
    }
    return QuantizationPreset(
      name: weights.name + scheme.name, summary: weights.summary + "; " + scheme.summary,
      content: weights.content, cache: scheme.format)
  }
}

/// The name that was probably meant.
public enum NearestName {
  /// The nearest of the known names by edits (insert, remove, replace), if it is near.
  public static func find(_ name: String, among known: [String]) -> String? {
    let scored = known.map { ($0, distance(Array(name), Array($0))) }
    guard let best = scored.min(by: { $0.1 < $1.1 }), best.1 <= max(2, name.count / 3) else { return nil }
    return best.0
  }

  /// A hint that names the nearest, or all of them.
  static func hint(_ name: String, among known: [String], what: String) -> String {
    find(name, among: known).map { "did you mean '\($0)'?" } ?? "\(what): \(known.joined(separator: ", "))"
  }

  private static func distance(_ a: [Character], _ b: [Character]) -> Int {
    var row = Array(0...b.count)
    for (i, left) in a.enumerated() {
      var diagonal = row[0]
      row[0] = i + 1
      for (j, right) in b.enumerated() {
        let replaced = diagonal + (left == right ? 0 : 1)
        diagonal = row[j + 1]
        row[j + 1] = min(replaced, row[j] + 1, row[j + 1] + 1)
      }
    }
    return row[b.count]
  }
}
