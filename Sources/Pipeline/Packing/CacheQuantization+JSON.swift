import Codecs
import SafeIO

extension KVFormat {
  /// As packed files, recipes and reports have it.
  package var json: JSONObject {
    [
      "keys": .string(keys.rawValue), "values": .string(values.rawValue),
      "rotation": .string(rotation.rawValue), "key_scales": .string(keyScales.rawValue),
      "recent": JSONValue(recent),
    ]
  }

  /// Reads ``json``; nil when it is not that.
  package init?(json: JSONValue) {
    func name(_ key: String) -> String { json[key]?.stringValue ?? "" }
    guard let keys = KVElement(rawValue: name("keys")), let values = KVElement(rawValue: name("values")),
      let rotation = Rotation(rawValue: name("rotation")),
      let keyScales = KeyScales(rawValue: name("key_scales")), let recent = json["recent"]?.intValue,
      (0...Self.maximumRecent).contains(recent)
    else { return nil }
    self.init(keys: keys, values: values, rotation: rotation, keyScales: keyScales, recent: recent)
  }
}

extension CacheQuantization {
  /// The format's keys, and `scales` by layer where there are some.
  package var json: JSONObject {
    var object = format.json
    guard !scales.isEmpty else { return object }
    object["scales"] = .array(
      scales.sorted { $0.key < $1.key }.map { layer, scales in
        func numbers(_ values: [Float]) -> JSONValue { .array(values.map { .number(Double($0)) }) }
        return [
          "layer": JSONValue(layer), "keys": numbers(scales.keys), "values": numbers(scales.values),
        ]
      })
    return object
  }

  /// Reads ``json``; nil when it is not that. Whether the scales are of use to a model is told by ``problem(heads:)``.
  package init?(json: JSONValue) {
    guard let format = KVFormat(json: json) else { return nil }
    self.init(format)
    guard let list = json["scales"] else { return }
    guard let entries = list.arrayValue else { return nil }
    func numbers(_ value: JSONValue?) -> [Float]? {
      guard let values = value?.arrayValue?.map(\.doubleValue), !values.contains(nil) else { return nil }
      return values.compactMap { $0.map { Float($0) } }
    }
    for entry in entries {
      guard let layer = entry["layer"]?.intValue, let keys = numbers(entry["keys"]),
        let values = numbers(entry["values"]),
        scales.updateValue(KVScales(keys: keys, values: values), forKey: layer) == nil
      else { return nil }
    }
  }
}
