import Codecs
import SafeIO

/// `kv_cache_scheme`: how engines cache keys and values.
enum CacheArguments {
  /// The format that arguments stand for; nil when Adze executes none like it. Dynamic scales are for tokens and heads, which is
  /// never coarser than what is asked for.
  static func format(_ value: JSONValue) -> KVFormat? {
    guard value["num_bits"]?.intValue ?? 8 == 8, value["symmetric"]?.boolValue ?? true,
      value["dynamic"]?.stringValue == nil
    else { return nil }
    let element: KVElement
    switch value["type"]?.stringValue?.lowercased() ?? "int" {
    case "int": element = .int8
    case "float": element = .fp8
    default: return nil
    }
    let isDynamic = value["dynamic"]?.boolValue ?? false
    switch (value["strategy"]?.stringValue ?? (isDynamic ? "token" : "tensor"), isDynamic) {
    case ("tensor", false), ("attn_head", false): return KVFormat(keys: element, keyScales: .tensor)
    case ("token", true), ("tensor", true), ("attn_head", true): return KVFormat(keys: element)
    default: return nil
    }
  }

  /// The arguments of a format that the layout can say.
  static func arguments(_ format: KVFormat) -> JSONValue {
    let type = format.keys == .fp8 ? "float" : "int"
    return .object(
      CompressedTensorsForm.arguments(
        bits: 8, type: type, strategy: format.isStatic ? "tensor" : "token", isDynamic: !format.isStatic))
  }
}

extension CompressedTensorsLayout {
  /// Why the layout cannot say that keys and values are cached in a format; nil when it can.
  public static func refusal(_ cache: KVFormat) -> String? {
    guard cache.keys == cache.values else { return "keys and values have one type in it" }
    guard cache.keys == .int8 || cache.keys == .fp8 else { return "its caches are int8 or fp8" }
    if cache.rotation != .none { return "it cannot say that keys are rotated" }
    if cache.keyScales == .channel { return "its scales are for tokens or the whole cache" }
    return cache.recent > 0 ? "it cannot keep recent tokens apart" : nil
  }

  /// Takes note of how keys and values are cached, and warns of what is not executed.
  static func noteCache(_ configuration: JSONValue, in reading: inout LayoutReading) {
    guard let scheme = configuration["kv_cache_scheme"], !scheme.isNull else { return }
    guard let format = CacheArguments.format(scheme) else {
      reading.warnings.append(
        "engines are asked to quantize the KV cache (\(ActivationArguments.text(scheme))); here it stays as it is"
      )
      return
    }
    reading.cacheFormat = format
  }
}
