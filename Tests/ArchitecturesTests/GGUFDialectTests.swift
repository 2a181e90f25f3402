import Architectures
import OrderedCollections
import SafeIO
import TensorCore
import TestSupport
import Testing

/// Names, rows and metadata of GGUF files against configurations of Hugging Face.
@Suite struct GGUFDialectTests {
  private let llama: GGUFDialect

  init() throws { llama = try GGUFDialect.dialect(architecture: "llama", metadata: [:]) }

  private static let noWeights = WeightCatalog(OrderedDictionary<String, Tensor>())

  private static let metadata: JSONObject = [
    "general.architecture": "llama", "general.name": "Sample", "llama.block_count": 2,
    "llama.context_length": 2048,
    "llama.embedding_length": 64, "llama.feed_forward_length": 96, "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2, "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.rope.freq_base": 500000, "llama.rope.dimension_count": 16, "llama.vocab_size": 48,
    "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2,
  ]

  private func read(
    _ changes: JSONObject = [:], tensors: Set<String> = [], factors: [Float]? = nil
  ) throws -> (configuration: JSONValue, warnings: [String]) {
    var metadata = Self.metadata
    for (key, value) in changes { metadata[key] = value.isNull ? nil : value }
    return try llama.configuration(
      from: metadata,
      contents: .init(embeddingRows: 48, rotaryTables: Self.tables(factors)) { tensors.contains($0) })
  }

  private static func tables(_ factors: [Float]?) -> [String: [Float]] {
    factors.map { [GGUFDialect.rotaryTableNames[0]: $0] } ?? [:]
  }

  private func refusal(_ changes: JSONObject, factors: [Float]? = nil) -> String? {
    do {
      _ = try read(changes, factors: factors)
      return nil
    } catch { return "\(error)" }
  }

  @Test func metadataBecomeAConfiguration() throws {
    let (configuration, warnings) = try read(tensors: ["blk.0.attn_q.bias"])
    let expected: JSONObject = [
      "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
      "num_hidden_layers": 2, "max_position_embeddings": 2048, "hidden_size": 64, "intermediate_size": 96,
      "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "vocab_size": 48,
      "head_dim": 16, "rope_theta": .number(500000), "tie_word_embeddings": true, "attention_bias": true,
      "mlp_bias": false, "bos_token_id": 1, "eos_token_id": 2, "_name_or_path": "Sample",
    ]
    let found = configuration.objectValue ?? [:]
    #expect(found.count == expected.count, "\(configuration.serialized())")
    for (key, value) in expected { #expect(found[key] == value, "\(key)") }
    #expect(warnings.isEmpty)
    #expect(try read(tensors: ["output.weight"]).configuration["tie_word_embeddings"] == false)
    #expect(try read(["llama.vocab_size": .null]).configuration["vocab_size"] == 48)
    #expect(try read(["llama.attention.head_count_kv": .null]).configuration["num_key_value_heads"] == 4)
    #expect(try read(["llama.feed_forward_length": [96, 96]]).configuration["intermediate_size"] == 96)
    #expect(
      try read(["llama.attention.key_length": 32, "llama.rope.dimension_count": 32])
        .configuration["head_dim"] == 32)
    #expect(try read(["llama.novelty": 3]).warnings.joined().contains("llama.novelty"))
  }

  @Test func whatIsNotComputedIsRefused() {
    let cases: [(String, JSONValue)] = [
      ("llama.expert_count", 8), ("llama.attention.causal", false), ("llama.attention.sliding_window", 4096),
      ("llama.logit_scale", 0.5), ("llama.attention.scale", 0.1), ("llama.feed_forward_length", [96, 64]),
      ("llama.rope.dimension_count", 8), ("llama.attention.value_length", 32), ("llama.block_count", .null),
      ("llama.embedding_length", "64"), ("llama.embedding_length", -1), ("llama.rope.freq_base", 0),
      ("llama.rope.scaling.type", "longrope"), ("llama.attention.layer_norm_rms_epsilon", .null),
      ("llama.rope.scaling.attn_factor", 2), ("llama.attention.head_count", 0),
    ]
    for (key, value) in cases {
      let refusal = refusal([key: value])
      #expect(refusal?.contains(key) == true, "\(key): \(refusal ?? "accepted")")
    }
    #expect(refusal([:], factors: [1, 2])?.contains("rope_freqs") == true)
    #expect(refusal([:], factors: [1, 2, 0, 1, 1, 1, 1, 1])?.contains("rope_freqs") == true)
    #expect(throws: ArchitectureError.self) { try GGUFDialect.dialect(architecture: "mamba", metadata: [:]) }
  }

  @Test func namesAreInverse() throws {
    let names = try GGUFNames(configuration: try read().configuration)
    let pairs = [
      ("token_embd.weight", "model.embed_tokens.weight"), ("output.weight", "lm_head.weight"),
      ("output_norm.weight", "model.norm.weight"),
      ("blk.0.attn_v.bias", "model.layers.0.self_attn.v_proj.bias"),
      ("blk.31.attn_q.weight", "model.layers.31.self_attn.q_proj.weight"),
      ("blk.7.ffn_down.weight", "model.layers.7.mlp.down_proj.weight"),
      ("blk.7.attn_norm.weight", "model.layers.7.input_layernorm.weight"),
      ("blk.7.ffn_norm.weight", "model.layers.7.post_attention_layernorm.weight"),
    ]
    for (stored, checkpoint) in pairs {
      #expect(names.checkpointPlaces(ofStored: stored).first?.name == checkpoint)
      #expect(names.storedPlace(ofCheckpoint: checkpoint)?.name == stored)
    }
    for odd in [
      "blk..attn_v.weight", "blk.01.attn_v.weight", "blk.0.attn_x.weight", "blk.0.attn_v", "", "output",
      "xoutput.weight", "blk.-1.attn_v.weight",
    ] {
      #expect(names.checkpointPlaces(ofStored: odd).isEmpty, "\(odd)")
    }
    #expect(
      names.checkpointPlaces(ofStored: "blk.0.attn_q.weight").first?.transform == .rotaryRows(headCount: 4))
    #expect(
      names.checkpointPlaces(ofStored: "blk.0.attn_k.bias").first?.transform == .rotaryRows(headCount: 2))
    #expect(names.checkpointPlaces(ofStored: "blk.0.attn_v.weight").first?.transform == GGUFTransform.none)
  }

  @Test func rotaryRowsAreAPermutationAndItsInverse() {
    // One head of 6 rows: halves 0 1 2 and 3 4 5 become pairs.
    #expect(GGUFTransform.rotaryRows(headCount: 1).checkpointRows(count: 6) == [0, 3, 1, 4, 2, 5])
    for (heads, width) in [(1, 2), (3, 8), (4, 2), (2, 64)] {
      let transform = GGUFTransform.rotaryRows(headCount: heads)
      let there = transform.checkpointRows(count: heads * width) ?? []
      let back = transform.storedRows(count: heads * width) ?? []
      #expect(there.sorted() == Array(0..<heads * width))
      #expect(there.indices.allSatisfy { back[there[$0]] == $0 })
    }
    #expect(GGUFTransform.rotaryRows(headCount: 4).storedRows(count: 12) == nil)
    #expect(GGUFTransform.rotaryRows(headCount: 0).storedRows(count: 12) == nil)
    #expect(GGUFTransform.none.storedRows(count: 12) == nil)
  }

  // MARK: Rotary scaling

  private func written(_ scaling: JSONValue) throws -> (JSONObject, [Float]?) {
    let configuration: JSONValue = [
      "model_type": "llama", "hidden_size": 512, "num_hidden_layers": 2, "intermediate_size": 96,
      "num_attention_heads": 4,
      "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "vocab_size": 48, "head_dim": 128,
      "rope_theta": .number(500000), "rope_scaling": scaling, "max_position_embeddings": 131072,
    ]
    var metadata = JSONObject()
    let description = try GGUFDialect.description(of: configuration, weights: Self.noWeights)
    for (key, field) in description.metadata {
      metadata[key] =
        switch field {
        case .uint32(let value): JSONValue(Int(value))
        case .float32(let value): .number(Double("\(value)") ?? 0)
        case .bool(let value): .bool(value)
        case .string(let value): .string(value)
        case .bools(let values): .array(values.map { .bool($0) })
        }
    }
    return (metadata, description.rotaryTables[GGUFDialect.rotaryTableNames[0]])
  }

  @Test func scalingsComeBack() throws {
    let scalings: [JSONValue] = [
      .null, ["rope_type": "linear", "factor": .number(4)],
      ["rope_type": "yarn", "factor": .number(4), "original_max_position_embeddings": 8192],
      [
        "rope_type": "yarn", "factor": .number(4), "original_max_position_embeddings": 8192,
        "beta_fast": .number(16), "beta_slow": .number(2),
      ],
      llama3(8, 1, 4, 8192), llama3(32, 1, 4, 8192), llama3(16, 1, 3, 4096), llama3(4, 1, 8, 16384),
    ]
    for scaling in scalings {
      let (metadata, factors) = try written(scaling)
      let isTable = scaling["rope_type"] == "llama3"
      #expect((factors != nil) == isTable)
      let read = try llama.configuration(
        from: metadata, contents: .init(embeddingRows: 48, rotaryTables: Self.tables(factors)) { _ in false })
      #expect(read.configuration["rope_scaling"] ?? .null == scaling, "\(scaling.serialized())")
      #expect(read.configuration["rope_theta"] == .number(500000))
      #expect(read.warnings.isEmpty, "\(read.warnings)")
    }
  }

  private func llama3(_ factor: Double, _ low: Double, _ high: Double, _ context: Int) -> JSONValue {
    [
      "rope_type": "llama3", "factor": .number(factor), "low_freq_factor": .number(low),
      "high_freq_factor": .number(high), "original_max_position_embeddings": JSONValue(context),
    ]
  }

  @Test func tablesThatAreNoBlendStayTables() throws {
    var generator = SeededGenerator(seed: 3)
    let factors = (0..<8).map { _ in 1 + abs(generator.normal()) }
    let read = try read(factors: factors).configuration
    #expect(read["rope_scaling"]?["rope_type"] == "longrope")
    let written = try GGUFDialect.description(of: read, weights: Self.noWeights)
    #expect(written.rotaryTables[GGUFDialect.rotaryTableNames[0]] == factors)
    #expect(try self.read(factors: [Float](repeating: 1, count: 8)).configuration["rope_scaling"] == nil)
  }

  @Test func whatFilesCannotSayIsRefused() throws {
    let yarn: JSONValue = [
      "rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 8192, "truncate": false,
    ]
    #expect(throws: ArchitectureError.self) { try written(yarn) }
    var odd = try read().configuration.objectValue ?? [:]
    odd["hidden_act"] = "gelu"
    #expect(throws: ArchitectureError.self) {
      try GGUFDialect.description(of: .object(odd), weights: Self.noWeights)
    }
  }
}
