import OrderedCollections
import SafeIO

/// How GGUF files spell the models of a family: metadata keys, tensor names, and what is done to tensors on the way.
///
/// A dialect is a table; the code that reads and writes by it is the same for every family, and knows no file: metadata
/// come and go as values under their keys. Names and rows follow the converters of llama.cpp, whose loader decides what
/// a GGUF file means.
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
  }

  /// A metadata key and the configuration key that means the same.
  struct Key: Sendable {
    /// Kinds of values.
    enum Kind: Sendable { case integer, number }
    let name: String
    let configuration: String
    let kind: Kind
    /// Whether every file must have it.
    let isRequired: Bool

    init(_ name: String, _ configuration: String, _ kind: Kind = .integer, isRequired: Bool = true) {
      self.name = name
      self.configuration = configuration
      self.kind = kind
      self.isRequired = isRequired
    }
  }

  /// A tensor's name on both sides without `.weight` or `.bias`; `#` stands for the number of the layer, `@` for that of
  /// an expert.
  struct TensorName: Sendable {
    let stored: String
    let checkpoint: String
    let change: Change

    init(_ stored: String, _ checkpoint: String, _ change: Change = .none) {
      self.stored = stored
      self.checkpoint = checkpoint
      self.change = change
    }
  }

  /// What is done to a tensor, as the table says it.
  enum Change: Sendable {
    case none
    /// Rows of query heads lie in the order of rotary pairs.
    case queryRows
    /// The same for key heads.
    case keyRows
    /// The experts' matrices lie in one tensor, one after the other; `@` counts them.
    case experts
    /// A number was added to every value.
    case shifted(Float)
  }

  /// The value of `general.architecture`, which is the prefix of the family's keys.
  public let architecture: String
  /// Entries of the configuration that every file of this architecture stands for.
  let configuration: JSONObject
  /// Keys below the prefix, in the order in which they are written.
  let keys: [Key]
  /// Keys below the prefix that change the computation of some models, with the values that do not.
  let neutral: [(key: String, values: [JSONValue])]
  /// Configuration keys with the values that such files can express; absent is always one.
  let required: [(key: String, values: [JSONValue])]
  /// Tensors outside and inside the blocks.
  let tensors: [TensorName]
  /// Configuration keys that say whether projections have biases, with a stored tensor that only models with them have.
  let biasFlags: [(key: String, tensor: String)]

  /// The tensor whose values divide the rotary frequencies.
  public static let rotaryFactorsName = "rope_freqs.weight"

  /// The family and dialect of an architecture.
  /// - Throws: ``ArchitectureError/unsupported(key:found:reason:)`` naming the architecture.
  public static func dialect(architecture: String) throws(ArchitectureError) -> GGUFDialect {
    for family in ModelFamily.all {
      if let dialect = family.gguf, dialect.architecture == architecture { return dialect }
    }
    let known = ModelFamily.all.compactMap(\.gguf?.architecture).joined(separator: ", ")
    throw .unsupported(
      key: "general.architecture", found: architecture,
      reason: "GGUF models of this architecture are not read; these are: \(known)")
  }

  /// The dialect for a model of this configuration.
  /// - Throws: ``ArchitectureError``.
  public static func dialect(configuration: JSONValue) throws(ArchitectureError) -> GGUFDialect {
    let family = try ModelFamily.family(of: configuration)
    guard let dialect = family.gguf else {
      throw .unsupported(
        key: "model_type", found: family.name, reason: "models of this family are not written as GGUF")
    }
    return dialect
  }
}

extension GGUFDialect {
  /// Keys of every decoder of today, in the order of llama.cpp's converter.
  static let decoderKeys: [Key] = [
    Key("block_count", "num_hidden_layers"), Key("context_length", "max_position_embeddings"),
    Key("embedding_length", "hidden_size"), Key("feed_forward_length", "intermediate_size"),
    Key("attention.head_count", "num_attention_heads"),
    Key("attention.head_count_kv", "num_key_value_heads", isRequired: false),
    Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", .number),
    Key("vocab_size", "vocab_size", isRequired: false),
  ]

  /// Keys that change what some decoders compute; a family that honours one leaves it out.
  static let decoderNeutral: [(key: String, values: [JSONValue])] = [
    ("expert_count", [0]), ("expert_used_count", [0]), ("expert_shared_count", [0]),
    ("leading_dense_block_count", [0]), ("nextn_predict_layers", [0]), ("attention.causal", [true]),
    ("attention.scale", []), ("attention.sliding_window", [0]), ("attention.clamp_kqv", [0]),
    ("attention.max_alibi_bias", [0]), ("attn_logit_softcapping", []), ("final_logit_softcapping", []),
    ("logit_scale", [1]), ("residual_scale", [1]), ("embedding_scale", [1]), ("pooling_type", [0]),
    ("use_parallel_residual", [false]), ("embedding_length_out", []), ("rope.dimension_sections", []),
    ("rope.scaling.attn_factor", [1]), ("rope.scaling.alpha", []), ("rope.scaling.yarn_log_multiplier", []),
    ("rope.scaling.yarn_ext_factor", [1]), ("rope.scaling.yarn_attn_factor", [1]),
    ("rope.scaling.yarn_beta_fast", [32]), ("rope.scaling.yarn_beta_slow", [1]), ("rope.freq_base_swa", []),
    ("attention.key_length_swa", []), ("attention.value_length_swa", []),
    ("attention.layer_norm_epsilon", []),
    ("attention.shared_kv_layers", [0]), ("swin_norm", [false]),
  ]

  /// Tensors of decoders with separate projections and a gated feed-forward.
  static func decoderTensors(rotaryRows: Bool) -> [TensorName] {
    [
      TensorName("token_embd", "model.embed_tokens"), TensorName("output_norm", "model.norm"),
      TensorName("output", "lm_head"), TensorName("blk.#.attn_norm", "model.layers.#.input_layernorm"),
      TensorName("blk.#.attn_q", "model.layers.#.self_attn.q_proj", rotaryRows ? .queryRows : .none),
      TensorName("blk.#.attn_k", "model.layers.#.self_attn.k_proj", rotaryRows ? .keyRows : .none),
      TensorName("blk.#.attn_v", "model.layers.#.self_attn.v_proj"),
      TensorName("blk.#.attn_output", "model.layers.#.self_attn.o_proj"),
      TensorName("blk.#.ffn_norm", "model.layers.#.post_attention_layernorm"),
      TensorName("blk.#.ffn_gate", "model.layers.#.mlp.gate_proj"),
      TensorName("blk.#.ffn_up", "model.layers.#.mlp.up_proj"),
      TensorName("blk.#.ffn_down", "model.layers.#.mlp.down_proj"),
    ]
  }
}
