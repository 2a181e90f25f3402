/// A way of caching keys and values under the name that people type for it.
public struct CacheScheme: Sendable {
  /// The name, such as `KV8`.
  public let name: String
  /// One line for people.
  public let summary: String
  /// What it stands for.
  public let format: KVFormat

  /// Every scheme; adding one is adding a row.
  public static let all = [
    CacheScheme(
      name: "KV8", summary: "keys and values int8, a scale for each token and head (64 elements of it)",
      format: KVFormat(keys: .int8)),
    CacheScheme(
      name: "KV4",
      summary: "keys and values int4 and rotated, keys with a scale a channel, the last 64 tokens f16",
      format: KVFormat(keys: .int4, rotation: .both, keyScales: .channel, recent: 64)),
    CacheScheme(
      name: "KVFP8", summary: "keys and values FP8 E4M3, a static scale each in a layer, which is calibrated",
      format: KVFormat(keys: .fp8, keyScales: .tensor)),
  ]

  /// Takes the scheme off the end of a name such as `W4A8KV4` or `FP8-KVFP8`; nil when it ends with none.
  /// - Returns: what stands before, empty for nothing, and the scheme.
  public static func split(_ name: String) -> (rest: String, scheme: CacheScheme)? {
    let name = name.uppercased()
    // The longest name that fits: every other one may be the end of it.
    let fitting = all.filter { name.hasSuffix($0.name) }.max { $0.name.count < $1.name.count }
    guard let fitting else { return nil }
    var rest = name.dropLast(fitting.name.count)
    if rest.hasSuffix("-") || rest.hasSuffix("_") {
      rest = rest.dropLast()
      guard !rest.isEmpty else { return nil }
    }
    return (String(rest), fitting)
  }
}
