import Calibration
import Codecs
import OrderedCollections
import Quantization
import SafeIO
import TensorCore

/// A model whose weights were quantized, ready for any container.
public struct QuantizedModel: Sendable {
  /// The model it was made from.
  public let source: LoadedModel
  /// All weights, quantized and untouched, in the source's order.
  public let weights: OrderedDictionary<String, Weight>
  /// What was done.
  public let recipe: QuantizationRecipe
  /// How it went, a row a layer, in graph order.
  public let reports: [LayerReport]
  /// How learned rounding went, a row a block; empty without.
  public let blockReports: [BlockReport]
  /// What it was calibrated on; nil when nothing was needed.
  public let calibration: CalibrationDescription?
  /// What the experts of each layer saw of it; empty for models without experts.
  public var experts: [ExpertCoverage] = []
  /// What was done before weights were quantized.
  public var transforms: [TransformReport] = []
  /// How the inputs of layers are quantized, by names of weights.
  public var activations: OrderedDictionary<String, InputQuantization> = [:]
  /// What was seen of those inputs; empty without windows to look at.
  public var activationReports: [ActivationReport] = []
  /// How keys and values are cached; nil when nothing is said of it.
  public var cache: CacheQuantization?
  /// What was seen of keys and values; empty without static scales.
  public var cacheReports: [CacheReport] = []
  /// How bits were allocated; nil when they were not.
  public var allocation: AllocationReport?

  /// Names of the quantized weights.
  public var quantizedNames: [String] { reports.map(\.layer) }

  /// Storage of the quantized weights in bits per weight.
  public var bitsPerWeight: Double {
    var bits = 0.0
    var count = 0
    for name in quantizedNames {
      guard let weight = weights[name] else { continue }
      bits += Double(weight.byteCount) * 8
      count += weight.shape.elementCount
    }
    return bits / Double(max(count, 1))
  }

  /// The report that `--report` writes.
  public var reportJSON: JSONValue {
    var json: JSONObject = [
      "source": .string(FileReading.fileName(source.path)),
      "recipe": recipe.json,
      "calibration": calibration?.json ?? .null,
      "bits_per_weight": .number(bitsPerWeight),
      "layers": .array(reports.map(\.json)),
      "blocks": .array(blockReports.map(\.json)),
      "layers_total": JSONValue(reports.count),
      "layers_fallen_back": JSONValue(reports.count { $0.fallback != nil }),
      "layers_uncorrected": JSONValue(reports.count { $0.uncorrected != nil }),
      "damping_retries": JSONValue(reports.reduce(0) { $0 + $1.dampingRetryCount }),
      "dead_columns": JSONValue(reports.reduce(0) { $0 + $1.deadColumnCount }),
    ]
    if !transforms.isEmpty { json["transforms"] = .array(transforms.map(\.json)) }
    if !activationReports.isEmpty { json["activations"] = .array(activationReports.map(\.json)) }
    if let cache {
      var object = cache.json
      if !cacheReports.isEmpty { object["layers"] = .array(cacheReports.map(\.json)) }
      json["kv_cache"] = .object(object)
    }
    if let allocation { json["allocation"] = allocation.json }
    if !experts.isEmpty { json["experts"] = experts.json(minimum: recipe.minimumExpertTokens) }
    return .object(json)
  }
}

/// What a model was calibrated on.
public struct CalibrationDescription: Sendable, Equatable {
  /// Windows that were read.
  public var windowCount: Int
  /// How many of them the model had written itself.
  public var selfGeneratedCount: Int
  /// Tokens that were read.
  public var tokenCount: Int
  /// Digest of the token windows (or of the statistics file).
  public var digest: String

  /// Creates a description.
  public init(windowCount: Int, selfGeneratedCount: Int = 0, tokenCount: Int, digest: String) {
    self.windowCount = windowCount
    self.selfGeneratedCount = selfGeneratedCount
    self.tokenCount = tokenCount
    self.digest = digest
  }

  /// As it goes into reports and packed files.
  public var json: JSONValue {
    var object: JSONObject = [
      "windows": JSONValue(windowCount), "tokens": JSONValue(tokenCount), "sha256": .string(digest),
    ]
    if selfGeneratedCount > 0 { object["self_generated"] = JSONValue(selfGeneratedCount) }
    return .object(object)
  }
}
