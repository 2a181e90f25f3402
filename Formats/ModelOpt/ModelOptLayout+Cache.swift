import Codecs

extension ModelOptLayout {
  /// Why the layout cannot say that keys and values are cached in a format; nil when it can.
  public static func refusal(_ cache: KVFormat) -> String? {
    cache == KVFormat(keys: .fp8, keyScales: .tensor) ? nil : "its caches are fp8 with static scales"
  }

  /// Takes note of how keys and values are cached, and warns of what is not executed.
  static func noteCache(_ configuration: ModelOptConfiguration, in reading: inout LayoutReading) {
    switch configuration.cacheAlgorithm {
    case nil: break
    case "FP8": reading.cacheFormat = KVFormat(keys: .fp8, keyScales: .tensor)
    case "INT8": reading.cacheFormat = KVFormat(keys: .int8, keyScales: .tensor)
    case let algorithm?:
      reading.warnings.append(
        "engines are asked to quantize the KV cache (\(algorithm)); here it stays as it is")
    }
  }
}
