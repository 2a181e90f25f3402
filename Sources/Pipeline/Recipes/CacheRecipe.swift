import Calibration
import Codecs
import SafeIO

/// How a recipe has keys and values cached.
public struct CacheRecipe: Sendable, Equatable {
  /// The format.
  public var format: KVFormat
  /// How static scales are chosen.
  public var observer: ScaleObserver

  /// Creates a recipe.
  public init(_ format: KVFormat, observer: ScaleObserver = .minmax) {
    self.format = format
    self.observer = observer
  }

  /// The format of a name, with what overrules parts of it.
  /// - Throws: ``PipelineError/usage(_:hint:)`` for unknown names, and for what cannot go together.
  public init(
    named name: String, rotation: String? = nil, keyScales: String? = nil, recent: Int? = nil,
    observer: ScaleObserver = .minmax
  ) throws(PipelineError) {
    guard var format = KVFormat(name: name) else {
      let known = KVElement.allCases.map(\.rawValue) + CacheScheme.all.map(\.name)
      throw .usage(
        "no type of caches is called '\(name)'", hint: NearestName.hint(name, among: known, what: "types"))
    }
    if let rotation {
      guard let value = KVFormat.Rotation(rawValue: rotation) else {
        throw .usage("kv_cache: rotation is none, keys or both, not '\(rotation)'", hint: nil)
      }
      format.rotation = value
    }
    if let keyScales {
      guard let value = KVFormat.KeyScales(rawValue: keyScales) else {
        throw .usage("kv_cache: key_scales is token, channel or tensor, not '\(keyScales)'", hint: nil)
      }
      format.keyScales = value
    }
    if let recent { format.recent = recent }
    if let problem = format.problem { throw .usage("no cache can be \(format): \(problem)", hint: nil) }
    self.init(format, observer: observer)
  }

  /// As it goes into reports and packed files.
  var json: JSONValue {
    var object = format.json
    if format.isStatic { object["observer"] = .string(observer.description) }
    return .object(object)
  }
}
