import ArgumentParser
import Kernels

/// Options that say how keys and values are cached.
struct CacheArguments: ParsableArguments {
  @Option(
    name: [.customLong("kv-cache"), .customLong("kv")],
    help: ArgumentHelp(
      "Type of cached keys and values: f32, f16, int8, int4 or fp8; two separated by a comma: keys, then values.",
      valueName: "type"))
  var types: CacheTypes?

  @Option(
    name: .customLong("kv-rotation"),
    help: """
      What is multiplied with a Hadamard matrix before it is quantized: none, keys or both. (default: keys for int4, \
      else none)
      """)
  var rotation: KVFormat.Rotation?

  @Option(
    name: .customLong("kv-key-scales"),
    help: "What a scale of quantized keys is for: token, or channel (of 64 keys). (default: token)")
  var keyScales: KVFormat.KeyScales?

  @Option(
    name: .customLong("kv-recent"),
    help: ArgumentHelp(
      "Tokens before each token that stay f16 beside a quantized cache.", valueName: "tokens"))
  var recent: Int?

  func validate() throws {
    if let recent {
      guard (0...1 << 20).contains(recent) else { throw ValidationError("--kv-recent is 0 to 1048576.") }
    }
    let isQuantized = types.map { $0.keys.hasScales || $0.values.hasScales } ?? false
    guard isQuantized || (recent ?? 0 == 0 && rotation == nil && keyScales == nil) else {
      throw ValidationError(
        "--kv-recent, --kv-rotation and --kv-key-scales are for a quantized cache: --kv-cache.")
    }
  }

  /// The options as they were given, for a child process.
  var arguments: [String] {
    var list: [String] = []
    if let types { list += ["--kv-cache", "\(types.keys.rawValue),\(types.values.rawValue)"] }
    if let rotation { list += ["--kv-rotation", rotation.rawValue] }
    if let keyScales { list += ["--kv-key-scales", keyScales.rawValue] }
    if let recent { list += ["--kv-recent", "\(recent)"] }
    return list
  }

  /// The format that was asked for.
  func format(default element: KVElement) -> KVFormat {
    let types = types ?? CacheTypes(keys: element, values: element)
    let needsRotation = types.keys == .int4 || types.values == .int4
    return KVFormat(
      keys: types.keys, values: types.values, rotation: rotation ?? (needsRotation ? .keys : .none),
      keyScales: keyScales ?? .token, recent: recent ?? 0)
  }
}

/// A type for keys and values, or one for each.
struct CacheTypes: ExpressibleByArgument {
  let keys: KVElement
  let values: KVElement

  init(keys: KVElement, values: KVElement) {
    self.keys = keys
    self.values = values
  }

  init?(argument: String) {
    let parts = argument.split(separator: ",", omittingEmptySubsequences: false)
    let elements = parts.compactMap { KVElement(rawValue: String($0)) }
    guard elements.count == parts.count, let keys = elements.first, elements.count <= 2 else { return nil }
    self.init(keys: keys, values: elements.last ?? keys)
  }
}

extension KVFormat.Rotation: ExpressibleByArgument {}
extension KVFormat.KeyScales: ExpressibleByArgument {}
