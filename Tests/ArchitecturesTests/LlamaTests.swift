import Architectures
import GraphIR
import GraphPasses
import OrderedCollections
import SafeIO
import TensorCore
import TestSupport
import Testing

/// A small Llama that exists only as a configuration and a catalog.
struct TinyLlama {
  var configuration: JSONObject = [
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 11, "hidden_size": 8,
    "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": false,
    "bos_token_id": 1, "eos_token_id": [2, 3], "use_cache": true, "torch_dtype": "bfloat16",
    "rope_scaling": nil,
  ]
  var entries: OrderedDictionary<String, ConstantType> = [:]

  init(headDimension: Int = 2, biases: Bool = false) {
    entries["model.embed_tokens.weight"] = ConstantType("bf16", [11, 8])
    for layer in 0..<2 {
      let prefix = "model.layers.\(layer)."
      entries[prefix + "input_layernorm.weight"] = ConstantType("f32", [8])
      entries[prefix + "post_attention_layernorm.weight"] = ConstantType("f32", [8])
      let shapes = [
        ("self_attn.q_proj", 4 * headDimension, 8), ("self_attn.k_proj", 2 * headDimension, 8),
        ("self_attn.v_proj", 2 * headDimension, 8), ("self_attn.o_proj", 8, 4 * headDimension),
        ("mlp.gate_proj", 12, 8), ("mlp.up_proj", 12, 8), ("mlp.down_proj", 8, 12),
      ]
      for (name, rows, columns) in shapes {
        entries[prefix + name + ".weight"] = ConstantType("bf16", [rows, columns])
        if biases { entries[prefix + name + ".bias"] = ConstantType("bf16", [rows]) }
      }
    }
    entries["model.norm.weight"] = ConstantType("f32", [8])
    entries["lm_head.weight"] = ConstantType("bf16", [11, 8])
  }

  func imported() throws(ArchitectureError) -> ImportedModel {
    try ModelFamily.importModel(configuration: .object(configuration), weights: WeightCatalog(entries))
  }
}

@Suite struct LlamaTests {
  @Test func aPlainConfigurationGivesNoWarning() throws {
    let model = try TinyLlama().imported()
    #expect(model.warnings.isEmpty)
    #expect(model.configuration.eosTokens == [2, 3])
    #expect(model.configuration.headDimension == 2)
    #expect(model.graph.constants.count == 2 + 2 * 9 + 2)
  }

  @Test func headDimensionIsItsOwn() throws {
    var tiny = TinyLlama(headDimension: 6)
    tiny.configuration["head_dim"] = 6
    let model = try tiny.imported()
    #expect(model.derivedConstants["rope.inverse_frequencies"]?.shape.dimensions == [3])
    let attention = try #require(model.graph.nodes.first { $0.operation == .attention })
    #expect(try attention.float("scale") == 1 / 6.0.squareRoot())
  }

  @Test func biasesActivationAndRotationAreHonoured() throws {
    var tiny = TinyLlama(biases: true)
    tiny.configuration["attention_bias"] = true
    tiny.configuration["mlp_bias"] = true
    tiny.configuration["hidden_act"] = "gelu_pytorch_tanh"
    tiny.configuration["rope_interleaved"] = true
    let model = try tiny.imported()
    #expect(model.warnings.isEmpty)
    #expect(model.graph.linearNodes.filter { !$0.biases.isEmpty }.count == 14)
    #expect(try #require(model.graph.nodes.first { $0.operation == .gelu }).string("approximate") == "tanh")
    #expect(try #require(model.graph.nodes.first { $0.operation == .rope }).bool("interleaved"))
  }

  @Test func theTensorDecidesAboutTheHead() throws {
    var tiny = TinyLlama()
    tiny.configuration["tie_word_embeddings"] = true
    #expect(try tiny.imported().warnings.count == 1)
    #expect(try tiny.imported().graph.linearNodes.last?.weights == ["lm_head.weight"])
    tiny.entries["lm_head.weight"] = nil
    #expect(try tiny.imported().graph.linearNodes.last?.weights == ["model.embed_tokens.weight"])
    #expect(try tiny.imported().warnings.isEmpty)
    tiny.configuration["tie_word_embeddings"] = false
    #expect(throws: ArchitectureError.missingTensor("lm_head.weight")) { try tiny.imported() }
  }

  @Test func unusedKeysAndTensorsAreReported() throws {
    var tiny = TinyLlama()
    tiny.configuration["surprise"] = 3
    tiny.entries["model.layers.0.self_attn.rotary_emb.inv_freq"] = ConstantType("f32", [1])
    tiny.entries["model.extra"] = ConstantType("f32", [1])
    let warnings = try tiny.imported().warnings
    #expect(warnings.count == 2)
    #expect(warnings.contains { $0.contains("'model.extra'") && !$0.contains("inv_freq") })
    #expect(warnings.contains { $0.contains("'surprise'") })
  }

  static let hostile: [(String, JSONValue)] = [
    ("num_hidden_layers", 1_000_000_000), ("num_hidden_layers", 0), ("num_hidden_layers", -1),
    ("num_hidden_layers", 1), ("num_hidden_layers", 3), ("num_hidden_layers", 10_000),
    ("num_hidden_layers", "2"),
    ("num_hidden_layers", 2.5), ("num_hidden_layers", nil), ("hidden_size", 1e300), ("hidden_size", 9),
    ("head_dim", 0), ("head_dim", 3), ("head_dim", 4), ("head_dim", -2), ("num_attention_heads", 3),
    ("num_attention_heads", 0), ("num_key_value_heads", 3), ("num_key_value_heads", 0), ("rope_theta", "NaN"),
    ("rope_theta", 0), ("rope_theta", -1), ("rope_theta", 1e300), ("vocab_size", 12), ("vocab_size", 0),
    ("intermediate_size", 13), ("rms_norm_eps", -1), ("rms_norm_eps", true), ("hidden_act", "mish"),
    ("hidden_act", 1), ("attention_bias", 1), ("attention_bias", true), ("mlp_bias", true),
    ("sliding_window", 4096),
    ("layer_types", ["full_attention", "sliding_attention"]), ("num_local_experts", 8),
    ("logits_scaling", 2.0),
    ("eos_token_id", "2"), ("eos_token_id", [1.5]), ("bos_token_id", 1_000_000_000_000),
    ("model_type", "mystery"),
    ("model_type", nil), ("architectures", ["LlamaForSequenceClassification"]), ("is_encoder_decoder", true),
    ("rope_scaling", "linear"), ("rope_scaling", ["type": "dynamic", "factor": 2.0]),
    ("rope_scaling", ["rope_type": "mystery", "factor": 2.0]), ("rope_scaling", ["type": "linear"]),
    ("rope_scaling", ["type": "linear", "factor": 0]),
    ("rope_scaling", ["type": "linear", "rope_type": "llama3"]),
    ("rope_scaling", ["rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1]),
    ("rope_scaling", ["rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4]),
    ("rope_parameters", ["rope_type": "default", "rope_theta": 5.0]),
    ("rope_parameters", ["full_attention": ["rope_type": "yarn"], "rope_type": "longrope"]),
  ]

  @Test(arguments: hostile.indices)
  func hostileConfigurationsAreRefusedByName(index: Int) throws {
    let (key, value) = Self.hostile[index]
    var tiny = TinyLlama()
    tiny.configuration[key] = value
    if key == "model_type", value.isNull { tiny.configuration["architectures"] = nil }
    let error = #expect(throws: ArchitectureError.self, "\(key) = \(value)") { try tiny.imported() }
    #expect(error?.diagnostic.status == .badInput)
  }

  @Test func tensorsOfAnotherShapeOrKindAreRefused() throws {
    let whole = TinyLlama()
    for name in whole.entries.keys {
      var tiny = whole
      tiny.entries[name]?.dimensions.append(1)
      #expect(throws: ArchitectureError.self, "\(name)") { try tiny.imported() }
      tiny = whole
      tiny.entries[name]?.encoding = "i64"
      #expect(throws: ArchitectureError.tensorType(name, encoding: "i64")) { try tiny.imported() }
      tiny = whole
      tiny.entries[name] = nil
      #expect(throws: ArchitectureError.missingTensor(name)) { try tiny.imported() }
    }
    var tiny = whole
    tiny.entries["rope.inverse_frequencies"] = ConstantType("f32", [1])
    #expect(throws: ArchitectureError.reservedTensorName("rope.inverse_frequencies")) { try tiny.imported() }
  }

  /// Whatever stands under whatever key: an import or an error that is not called a bug of ours.
  @Test func nonsenseUnderAnyKeyNeverTraps() throws {
    let nonsense: [JSONValue] = [
      nil, true, -1, 0, 1, 2, 7, .integer(.max), .integer(.min), 0.5, 1e308, -1e308, 1e-308, "", "2", [],
      [1, 2],
      ["a": 1], .object([:]), ["rope_type": "llama3", "factor": 1e6], ["rope_type": 1],
      ["type": "linear", "factor": "x"],
    ]
    let extra = [
      "rope_parameters", "rope_scaling", "head_dim", "hidden_act", "attention_bias", "mlp_bias",
      "layer_types",
    ]
    for key in TinyLlama().configuration.keys + extra {
      for value in nonsense {
        var tiny = TinyLlama()
        tiny.configuration[key] = value
        do {
          let model = try tiny.imported()
          #expect(try Graph(parsing: model.graph.printed()) == model.graph, "\(key) = \(value)")
        } catch let error as ArchitectureError {
          #expect(error.diagnostic.status != .bug, "\(key) = \(value): \(error)")
        }
      }
    }
  }

  /// Two thousand layers: import, text form and passes stay linear.
  @Test(.timeLimit(.minutes(1))) func aVeryDeepModelIsHandled() throws {
    var tiny = TinyLlama()
    tiny.configuration["num_hidden_layers"] = 2_000
    let prefix = "model.layers.0."
    let layer = tiny.entries.filter { $0.key.hasPrefix(prefix) }
    for index in 2..<2_000 {
      for (name, type) in layer {
        tiny.entries["model.layers.\(index)." + name.dropFirst(prefix.count)] = type
      }
    }
    var graph = try tiny.imported().graph
    #expect(graph.nodes.count == 2_000 * 16 + 3)
    #expect(graph.blocks.count == 2_000)
    #expect(try Graph(parsing: graph.printed()) == graph)
    #expect(try PassPipeline.standard.run(&graph).reduce(0) { $0 + $1.firedCount } == 12_000)
  }

  @Test func architecturesDecideWithoutModelType() throws {
    var tiny = TinyLlama()
    tiny.configuration["model_type"] = nil
    #expect(try tiny.imported().family == "llama")
    #expect(throws: ArchitectureError.self) {
      try ModelFamily.importModel(configuration: "llama", weights: WeightCatalog(tiny.entries))
    }
  }
}

@Suite struct RotaryTests {
  func frequencies(_ changes: [String: JSONValue]) throws -> [Float] {
    var tiny = TinyLlama(headDimension: 16)
    tiny.configuration["head_dim"] = 16
    for (key, value) in changes { tiny.configuration[key] = value }
    let model = try tiny.imported()
    #expect(model.warnings.isEmpty, "\(model.warnings)")
    return try #require(model.derivedConstants["rope.inverse_frequencies"]).floats()
  }

  @Test func bothSpellingsMeanTheSame() throws {
    let older = try frequencies([
      "rope_theta": 20_000.0,
      "rope_scaling": [
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
      ],
    ])
    let newer = try frequencies([
      "rope_theta": nil,
      "rope_parameters": [
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32, "rope_theta": 20_000.0,
      ],
    ])
    #expect(older == newer)
    let plain = try frequencies(["rope_theta": 20_000.0])
    #expect(older[0] == plain[0], "short waves are kept")
    #expect(older[7] == plain[7] / 8, "long waves are stretched")
    #expect(older[1] < plain[1] && older[1] > plain[1] / 8, "those between are blended")
  }

  @Test func linearScalingDividesAll() throws {
    let plain = try frequencies([:])
    #expect(plain[0] == 1)
    for (index, frequency) in plain.enumerated() {
      let exact = [
        1, 0.31622776601683794, 0.1, 0.03162277660168379, 0.01, 0.0031622776601683794, 0.001,
        0.00031622776601683794,
      ]
      #expect(abs(Double(frequency) - exact[index]) <= 2e-7 * exact[index])
    }
    #expect(try frequencies(["rope_scaling": ["type": "linear", "factor": 4]]) == plain.map { $0 / 4 })
    #expect(try frequencies(["rope_parameters": ["rope_type": "default", "rope_theta": 10000]]) == plain)
  }
}
