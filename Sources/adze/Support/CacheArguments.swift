import ArgumentParser
import Calibration
import Codecs
import Pipeline

/// Options that say how keys and values are cached.
struct CacheArguments: ParsableArguments {
  @Option(
    name: [.customLong("kv-cache"), .customLong("kv")],
    help: ArgumentHelp(
      """
      Type of cached keys and values: f32, f16, int8, int4 or fp8; two separated by a comma: keys, then values; or one of \
      \(CacheScheme.all.map(\.name).joined(separator: ", ")). (default: what the model says)
      """, valueName: "type"))
  var type: CacheType?

  @Option(
    name: .customLong("kv-rotation"),
    help: """
      What is multiplied with a Hadamard matrix before it is quantized: none, keys or both. (default: keys for int4, \
      else none)
      """)
  var rotation: KVFormat.Rotation?

  @Option(
    name: .customLong("kv-key-scales"),
    help: """
      What a scale of quantized keys is for: token, channel (of 64 keys), or tensor (the model's own static scales, for \
      values too). (default: token)
      """)
  var keyScales: KVFormat.KeyScales?

  @Option(
    name: .customLong("kv-recent"),
    help: ArgumentHelp(
      "Tokens before each token that stay f16 beside a quantized cache.", valueName: "tokens"))
  var recent: Int?

  func validate() throws {
    if let recent {
      guard (0...KVFormat.maximumRecent).contains(recent) else {
        throw ValidationError("--kv-recent is 0 to \(KVFormat.maximumRecent).")
      }
    }
    guard type?.format.isQuantized ?? false || (recent ?? 0 == 0 && rotation == nil && keyScales == nil)
    else {
      throw ValidationError(
        "--kv-recent, --kv-rotation and --kv-key-scales are for a quantized cache: --kv-cache.")
    }
    if let format, let problem = format.problem { throw ValidationError("--kv-cache: \(problem).") }
  }

  /// The options as they were given, for a child process.
  var arguments: [String] {
    var list: [String] = []
    if let type { list += ["--kv-cache", type.name] }
    if let rotation { list += ["--kv-rotation", rotation.rawValue] }
    if let keyScales { list += ["--kv-key-scales", keyScales.rawValue] }
    if let recent { list += ["--kv-recent", "\(recent)"] }
    return list
  }

  /// The format that was asked for; nil for what the model says.
  var format: KVFormat? {
    guard var format = type?.format else { return nil }
    if let rotation { format.rotation = rotation }
    if let keyScales { format.keyScales = keyScales }
    if let recent { format.recent = recent }
    return format
  }
}

/// How static scales of a cache are chosen.
struct CacheObserverArguments: ParsableArguments {
  @Option(
    name: .customLong("kv-observer"),
    help: ArgumentHelp(
      "How static scales of the cache are chosen: \(ObserverOption.choices)",
      valueName: "observer"))
  var name: String?

  func validate() throws {
    try ObserverOption.validate(name, option: "--kv-observer")
  }

  /// Puts the cache that was asked for into a recipe.
  func apply(_ cache: CacheArguments, to recipe: inout QuantizationRecipe) throws {
    if let format = cache.format { recipe.cache = CacheRecipe(format) }
    let observer = try ObserverOption.observer(
      name, option: "--kv-observer", isUsed: recipe.hasStaticCache,
      hint: "--scheme KVFP8, or --kv-cache with --kv-key-scales tensor")
    if let observer { recipe.cache?.observer = observer }
  }
}

/// A type for keys and values, or one for each, as it was written.
struct CacheType: ExpressibleByArgument {
  let name: String
  let format: KVFormat

  init?(argument: String) {
    guard let format = KVFormat(name: argument) else { return nil }
    (name, self.format) = (argument, format)
  }
}

extension KVFormat.Rotation: ExpressibleByArgument {}
extension KVFormat.KeyScales: ExpressibleByArgument {}
