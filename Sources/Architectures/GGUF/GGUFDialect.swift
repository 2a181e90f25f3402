import SafeIO

/// How GGUF files spell the models of a family: metadata keys, tensor names, and what is done to tensors on the way.
///
/// Most of it follows from the ``Decoder``; a dialect says what does not: the name of the architecture, keys of
/// configurations, further metadata, and what absent metadata mean. The code that reads and writes by it is the same for
/// every family and knows no file. Names, rows and defaults follow the converters and the loader of llama.cpp, which
/// decide what a GGUF file means.
public struct GGUFDialect: Sendable {
  /// A metadata value with the type that files give it.
  public enum Field: Sendable, Equatable {
    /// A count or an id.
    case uint32(UInt32)
    /// A real number.
    case float32(Float)
    /// A truth value.
    case bool(Bool)
    /// A text.
    case string(String)
    /// Truth values, one a layer.
    case bools([Bool])
  }

  /// The value of `general.architecture`, which is the prefix of the family's keys.
  public let architecture: String
  /// Entries of the configuration that every file of this architecture stands for.
  var configuration: JSONObject
  /// Whether a file of the architecture with these keys, without the prefix, is of this family; several families share
  /// an architecture.
  var isMeant: @Sendable (JSONObject) -> Bool = { _ in true }
  /// What configurations call the sizes.
  var sizes = SizeKeys()
  /// What configurations call the width of feed-forwards when ``sizes`` does not say; nil for four times the stream.
  var innerKey: String?
  var epsilon = Epsilon.rootMeanSquare("rms_norm_eps")
  /// Nil for families without rotary positions.
  var rotary: Rotary? = Rotary()
  /// Nil for families without windows.
  var windows: Windows?
  /// Nil for families without experts.
  var experts: ExpertKeys?
  /// Nil for families whose experts do not begin behind some layers without.
  var lateExperts: LateExperts?
  /// Whether keys and values come from a narrow vector.
  var isLatent = false
  /// Further keys, in the order in which they are written.
  var entries: [Entry] = []
  /// Configuration keys that say whether a model has certain tensors, with the name of one.
  var flags: [(key: String, tensor: String)] = []
  /// Names of tensors in a block that differ from the usual ones, by those.
  var renamed: @Sendable (Decoder) -> [String: String] = { _ in [:] }
  /// Completes a configuration by what only this family looks at.
  var complete:
    @Sendable (inout JSONObject, Contents, inout ConfigurationReader) throws(ArchitectureError) -> Void = {
      (_, _, _) throws(ArchitectureError) in
    }

  // What llama.cpp's loader is like, for models that it would not compute as they are meant.

  /// Whether it wants a head even where the embedding is the head.
  var needsHead = false
  /// Whether it takes heads to be as wide as the stream together.
  var assumesFullHeads = false
  /// Tensors and settings of a model that its loader does not know for this architecture, so that it does not load it.
  var refusedByLoader: @Sendable (Decoder) -> [String] = { _ in [] }
  /// What it does otherwise than a model means it.
  var computedOtherwise: @Sendable (Decoder) -> [String] = { _ in [] }

  /// A dialect for models of this type and class, with further entries of the configuration.
  init(
    _ architecture: String, model: String, class name: String, _ fixed: JSONObject = ["hidden_act": "silu"]
  ) {
    self.architecture = architecture
    configuration = ["architectures": [.string(name)], "model_type": .string(model)]
    for (key, value) in fixed { configuration[key] = value }
  }

  /// The epsilon of normalizations and what configurations call it.
  enum Epsilon: Sendable {
    case rootMeanSquare(String)
    case layer(String)
    /// Layer norms with an epsilon that configurations do not know.
    case fixedLayer(Double)
  }

  /// Rotary positions.
  struct Rotary: Sendable {
    /// Which columns of a head are a pair for this architecture.
    enum Order { case halves, neighbours }
    /// Tensors of rotary factors that the architecture has.
    enum Tables { case none, long, all }
    var order = Order.halves
    var tables = Tables.none
    var thetaKey = "rope_theta"
    /// The base of layers with a window, where it is another one.
    var localThetaKey: String?
    /// The base of such layers in files that do not say; nil for that of the others.
    var localTheta: Double? = 10_000
    /// Whether the weight of yarn's magnitude that scores are multiplied by has a key.
    var hasScoreWeight = false
    /// Whether the ends of yarn's ramp are rounded to whole dimensions.
    var truncatesYarn = true
    /// The rotated share of heads; nil when all of it is.
    var fractionKey: String?
  }

  /// Windows on layers.
  struct Windows: Sendable {
    /// Window of files that do not say.
    var fallback: Int?
    /// The last of every so many layers has no window; nil when all have one unless the file says otherwise.
    var period: Int?
    /// Whether `use_sliding_window` switches them on.
    var hasSwitch = false
    /// Whether llama.cpp computes them for this architecture.
    var isComputedByPeer = false
  }

  /// Experts.
  struct ExpertKeys: Sendable {
    var count = "num_experts"
    /// Nil when experts are as wide as feed-forwards.
    var inner: String?
    /// Width of the expert that every token goes to.
    var sharedInner: String?
    /// Whether weights add up to one unless the file says otherwise, which llama.cpp does not look at.
    var isNormalized = true
    var normalizationKey: String?
    /// Layers that have none.
    var denseLayersKey: String?
  }

  /// Experts behind some layers that have none, under the keys that the configurations of DeepSeek and GLM share.
  struct LateExperts: Sendable {
    /// Whether scores are sigmoids, with corrections for choosing, and groups are chosen by their two best; otherwise softmax,
    /// and by their best.
    var isSigmoid: Bool
  }

  /// A number or truth value of the metadata.
  struct Entry: Sendable {
    /// What it is; the closures give the configuration's value from that of the file, nil when absent, and the
    /// configuration so far.
    enum Kind: Sendable {
      case number(@Sendable (Double?, JSONObject) -> JSONValue?)
      case flag(@Sendable (Bool?) -> Bool?)
    }
    let name: String
    let key: String
    let kind: Kind
    var isRequired = false
    /// Whether llama.cpp looks at it for this architecture.
    var isComputedByPeer = true
    let write: @Sendable (Decoder) -> Field?

    /// A number; `write` gives what files hold, `read` what configurations hold.
    static func number(
      _ name: String, _ key: String, write: @escaping @Sendable (Decoder) -> Double?,
      read: @escaping @Sendable (Double?, JSONObject) -> JSONValue? = { value, _ in value.map { .number($0) }
      }
    ) -> Entry {
      Entry(name: name, key: key, kind: .number(read)) { decoder in
        write(decoder).map { .float32(Float($0)) }
      }
    }
  }
}

extension GGUFDialect {
  /// The names of the tensors whose values divide the rotary frequencies: for all texts, for short and for long ones.
  public static let rotaryTableNames = [
    rotaryFactorsName, "rope_factors_short.weight", "rope_factors_long.weight",
  ]
  static let rotaryFactorsName = "rope_freqs.weight"

  /// The dialect of a file.
  /// - Parameter metadata: all entries but the vocabulary, under their full keys.
  /// - Throws: ``ArchitectureError/unsupported(key:found:reason:)`` naming the architecture.
  public static func dialect(
    architecture: String, metadata: JSONObject
  ) throws(ArchitectureError) -> GGUFDialect {
    let dialects = ModelFamily.all.compactMap(\.gguf)
    let own = entries(of: metadata, below: architecture + ".")
    if let dialect = dialects.first(where: { $0.architecture == architecture && $0.isMeant(own) }) {
      return dialect
    }
    var known: [String] = []
    for dialect in dialects where !known.contains(dialect.architecture) { known.append(dialect.architecture) }
    throw .unsupported(
      key: "general.architecture", found: architecture,
      reason: "GGUF models of this architecture are not read; these are: \(known.joined(separator: ", "))")
  }

  static func entries(of metadata: JSONObject, below prefix: String) -> JSONObject {
    JSONObject(
      metadata.filter { $0.key.hasPrefix(prefix) }.map { (String($0.key.dropFirst(prefix.count)), $0.value) })
  }
}

extension ModelFamily {
  /// What a configuration of the family says, and its spelling in GGUF files.
  /// - Throws: ``ArchitectureError``, also when the family is not written as GGUF.
  static func dialect(
    of configuration: JSONValue
  ) throws(ArchitectureError) -> (dialect: GGUFDialect, decoder: Decoder) {
    let family = try family(of: configuration)
    guard let dialect = family.gguf, let read = family.read else {
      throw .unsupported(
        key: "model_type", found: family.name, reason: "models of this family are not written as GGUF")
    }
    guard let object = configuration.objectValue else {
      throw .configuration(key: "config.json", expected: "an object", found: configuration.kindName)
    }
    var reader = ConfigurationReader(object)
    return (dialect, try read(&reader))
  }
}
