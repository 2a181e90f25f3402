import Architectures
import OrderedCollections
import SafeIO
import Safetensors
import TensorCore
import TestSupport
import Testing

/// Metadata that are wrong in any way give an error that names the key, or a configuration, never a trap.
@Suite struct GGUFHostileTests {
  private static let own = SharedData.projectRoot + "/Tests/ArchitecturesTests/Goldens/"

  /// Goldens of this repository, one for each kind of dialect.
  static let goldens = [
    "llama-yarn", "llama-linear", "mistral-plain", "qwen2-moe", "qwen2-window", "gemma2-plain", "gemma",
    "phi3-long", "phi", "olmo", "cohere-norms", "falcon-new", "falcon", "gpt-neox-sequential", "stablelm",
    "bloom", "starcoder2", "glm4", "glm4-moe-norms", "deepseek2-groups", "olmo3", "seed-oss", "ernie4-5",
    "nemotron-bias", "olmoe-clip", "gpt-oss",
  ]

  static let values: [JSONValue] = [
    .null, 0, -1, 1, 3, .integer(.max), .integer(.min), .number(0.5), .number(-0.0), .number(1e300),
    .number(.nan), .number(.infinity), .bool(true), .bool(false), "", "yarn", "longrope", "none", .array([]),
    [1], [1, 2], [true, false], [0, 0, 0], .array([JSONValue](repeating: 4, count: 5000)), [[1]],
    .object([:]), ["a": 1],
  ]

  private static func entries(
    _ golden: String
  ) throws -> (metadata: JSONObject, contents: GGUFDialect.Contents) {
    let configuration = try JSONValue.parse(contentsOf: own + golden + "/config.json")
    let weights = WeightCatalog(try SafetensorsCheckpoint(path: own + golden).tensors)
    let description = try GGUFDialect.description(of: configuration, weights: weights)
    let names = try GGUFNames(configuration: configuration, weights: weights)
    let stored = Set(weights.entries.keys.compactMap { names.storedPlace(ofCheckpoint: $0)?.name })
    var metadata: JSONObject = ["general.architecture": .string(description.architecture)]
    for (key, field) in description.metadata {
      metadata[key] =
        switch field {
        case .uint32(let value): JSONValue(Int(value))
        case .float32(let value): .number(Double(value))
        case .bool(let value): .bool(value)
        case .string(let value): .string(value)
        case .bools(let values): .array(values.map { .bool($0) })
        }
    }
    let tables = Dictionary(uniqueKeysWithValues: description.rotaryTables.map { ($0.key, $0.value) })
    return (
      metadata, .init(embeddingRows: 213, rotaryTables: tables, hasTensor: { stored.contains($0) })
    )
  }

  /// The configuration's text, or the key that was refused.
  private static func read(
    _ metadata: JSONObject, _ contents: GGUFDialect.Contents, _ architecture: String
  ) throws -> String {
    do {
      let dialect = try GGUFDialect.dialect(architecture: architecture, metadata: metadata)
      let configuration = try dialect.configuration(from: metadata, contents: contents).configuration
      _ = try GGUFNames(configuration: configuration)
      return configuration.serialized()
    } catch { return "refused " + (error.diagnostic.subject ?? "") }
  }

  @Test(arguments: goldens) func everyKeyMayBeWrong(golden: String) throws {
    let (metadata, contents) = try Self.entries(golden)
    let architecture = metadata["general.architecture"]?.stringValue ?? ""
    let plain = try Self.read(metadata, contents, architecture)
    #expect(!plain.hasPrefix("refused"), "\(plain)")
    let further = [
      "expert_count", "expert_used_count", "attention.sliding_window", "attention.sliding_window_pattern",
      "rope.scaling.factor", "rope.scaling.type", "attention.scale", "logit_scale", "rope.dimension_count",
    ]
    var refusals = 0
    for key in metadata.keys.filter({ $0 != "general.architecture" })
      + further.map({ architecture + "." + $0 })
    {
      for value in Self.values {
        var changed = metadata
        changed[key] = value
        if try Self.read(changed, contents, architecture).hasPrefix("refused") { refusals += 1 }
      }
    }
    #expect(refusals > 200, "\(refusals)")
  }

  /// Keys that change what is computed: another value is another configuration, or an error.
  @Test(arguments: goldens) func noSettingIsPassedOver(golden: String) throws {
    let (metadata, contents) = try Self.entries(golden)
    let architecture = metadata["general.architecture"]?.stringValue ?? ""
    let plain = try Self.read(metadata, contents, architecture)
    let settings: [(String, JSONValue)] = [
      ("expert_count", 3), ("attention.scale", .number(0.3)), ("attention.clamp_kqv", .number(2)),
      ("attn_logit_softcapping", .number(7)), ("final_logit_softcapping", .number(7)),
      ("logit_scale", .number(0.7)), ("residual_scale", .number(0.7)), ("embedding_scale", .number(0.7)),
      ("attention.causal", false), ("attention.value_length", 3), ("expert_weights_scale", .number(2.5)),
      ("expert_gating_func", metadata[architecture + ".expert_gating_func"] == 2 ? 1 : 2),
      ("nextn_predict_layers", 1), ("leading_dense_block_count", 1),
      ("attention.head_count_kv", 3), ("attention.max_alibi_bias", .number(4)), ("rope.scaling.alpha", 2),
      ("rope.scaling.yarn_log_multiplier", .number(0.1)), ("attention.temperature_scale", .number(0.1)),
    ]
    for (key, value) in settings {
      var changed = metadata
      changed[architecture + "." + key] = value
      #expect(try Self.read(changed, contents, architecture) != plain, "\(key)")
    }
    let rotated: [(String, JSONValue)] = [
      ("rope.freq_base", 777), ("rope.scaling.factor", 7), ("rope.scaling.attn_factor", .number(1.5)),
      ("rope.dimension_count", 2), ("rope.freq_base_swa", 777),
    ]
    for (key, value) in rotated where architecture != "bloom" {
      var changed = metadata
      changed[architecture + "." + key] = value
      #expect(try Self.read(changed, contents, architecture) != plain, "\(key)")
    }
  }

  @Test func tablesWithoutTheirPairAreRefused() throws {
    let (metadata, contents) = try Self.entries("phi3-long")
    for name in GGUFDialect.rotaryTableNames.dropFirst() {
      var lacking = contents
      lacking.rotaryTables[name] = nil
      #expect(try Self.read(metadata, lacking, "phi3").hasPrefix("refused rope_factors"), "\(name)")
    }
    let (bare, plain) = try Self.entries("qwen2-moe")
    var foreign = plain
    foreign.rotaryTables[GGUFDialect.rotaryTableNames[0]] = [1, 1, 1, 1, 2]
    #expect(try Self.read(bare, foreign, "qwen2moe") == "refused rope_freqs.weight")
  }
}
