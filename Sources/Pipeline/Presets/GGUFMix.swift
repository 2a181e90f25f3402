/// Which GGML type each weight of a model gets under a name such as `Q4_K_M`: the choices of llama-quantize, so that
/// files are as large as people expect of the name.
///
/// Source: the rules of llama.cpp's `llama-quant.cpp` (commit 0c1e57098), restated by role of the weight.
public struct GGUFMix: Sendable, Hashable {
  /// Its name, such as `Q4_K_M`.
  public let name: String
  /// The type that most weights get, such as `q4_k`.
  public let base: String

  /// Every mix that has an encoder.
  public static let all: [GGUFMix] = [
    GGUFMix(name: "Q4_0", base: "q4_0"), GGUFMix(name: "Q4_1", base: "q4_1"),
    GGUFMix(name: "Q5_0", base: "q5_0"), GGUFMix(name: "Q5_1", base: "q5_1"),
    GGUFMix(name: "Q8_0", base: "q8_0"), GGUFMix(name: "Q2_K", base: "q2_k"),
    GGUFMix(name: "Q2_K_S", base: "q2_k"), GGUFMix(name: "Q3_K_S", base: "q3_k"),
    GGUFMix(name: "Q3_K_M", base: "q3_k"), GGUFMix(name: "Q3_K_L", base: "q3_k"),
    GGUFMix(name: "Q4_K_S", base: "q4_k"), GGUFMix(name: "Q4_K_M", base: "q4_k"),
    GGUFMix(name: "Q5_K_S", base: "q5_k"), GGUFMix(name: "Q5_K_M", base: "q5_k"),
    GGUFMix(name: "Q6_K", base: "q6_k"), GGUFMix(name: "IQ2_XXS", base: "iq2_xxs"),
    GGUFMix(name: "IQ2_XS", base: "iq2_xs"), GGUFMix(name: "IQ2_S", base: "iq2_xs"),
    GGUFMix(name: "IQ2_M", base: "iq2_s"), GGUFMix(name: "IQ3_XXS", base: "iq3_xxs"),
    GGUFMix(name: "IQ3_XS", base: "iq3_s"), GGUFMix(name: "IQ3_S", base: "iq3_s"),
    GGUFMix(name: "IQ3_M", base: "iq3_s"), GGUFMix(name: "IQ4_NL", base: "iq4_nl"),
    GGUFMix(name: "IQ4_XS", base: "iq4_xs"), GGUFMix(name: "TQ1_0", base: "tq1_0"),
    GGUFMix(name: "TQ2_0", base: "tq2_0"),
  ]

  /// What a weight does, by its name in a GGUF file.
  enum Role: Sendable {
    case head, embedding, query, key, value, fusedAttention, compressedKeyValue, attentionOutput, gate, up,
      down, other

    init(storedName name: String) {
      let names: [(String, Role)] = [
        ("attn_qkv.weight", .fusedAttention), ("attn_kv_b.weight", .compressedKeyValue),
        ("attn_v.weight", .value), ("attn_k.weight", .key), ("attn_q.weight", .query),
        ("attn_output.weight", .attentionOutput), ("ffn_up", .up), ("ffn_gate", .gate), ("ffn_down", .down),
      ]
      switch name {
      case "output.weight": self = .head
      case "token_embd.weight", "per_layer_token_embd.weight": self = .embedding
      default: self = names.first { name.contains($0.0) }?.1 ?? .other
      }
    }

    /// Whether it makes values, alone or with others.
    var makesValues: Bool { self == .value || self == .fusedAttention || self == .compressedKeyValue }
  }

  /// What of a model the choice depends on.
  struct Model: Sendable {
    /// GGUF's name of the architecture.
    var architecture: String
    var layerCount: Int
    /// Query heads to one key and value head.
    var queriesPerHead: Int
    /// 1 for dense models.
    var expertCount: Int
    /// Whether the head shares the embedding's weight.
    var isTied: Bool
    /// Whether the inputs' mean squares are known.
    var hasImportance: Bool
    /// How many weights make values.
    var valueCount: Int

    var isFalcon: Bool { architecture == "falcon" }
    /// Models of 70 billion parameters, known by their 80 layers with fewer key and value heads.
    var is70B: Bool {
      layerCount == 80 && queriesPerHead > 1 && ["llama", "qwen2", "deci"].contains(architecture)
    }
  }

  /// One weight: what it does, and the how-manieth of its kind it is.
  struct Place: Sendable {
    var role: Role
    /// How many weights that make values come before.
    var valueIndex: Int
    /// Its layer among all that have such a weight.
    var layer: Int
    var columns: Int
  }

  /// The names in this mix of the same level of bits.
  private func isOneOf(_ names: String...) -> Bool { names.contains(name) }

  /// Types that need a codebook below 3 bits.
  private var isTwoBit: Bool { isOneOf("IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M") }

  /// Layers at both ends, and every third between.
  private func deservesMore(_ layer: Int, of count: Int) -> Bool {
    layer < count / 8 || layer >= 7 * count / 8 || (layer - count / 8) % 3 == 2
  }

  /// The type of a weight, the columns not regarded.
  func type(_ place: Place, _ model: Model) -> String {
    if place.role == .head || (model.isTied && place.role == .embedding) {
      return headType(place.columns, model)
    }
    if place.role == .embedding { return embeddingType }
    if isTwoBit { return twoBitType(place, model) }
    if place.role.makesValues { return valueType(place, model) }
    switch place.role {
    case .key, .query:
      if place.role == .key, model.expertCount == 8 { return "q8_0" }
      return name == "IQ3_XS" ? "iq3_xxs" : name == "IQ3_XXS" ? "iq2_s" : base
    case .down: return downType(place.layer, model)
    case .attentionOutput: return attentionOutputType(model)
    case .gate, .up:
      let inMiddle = place.layer >= model.layerCount / 8 && place.layer < 7 * model.layerCount / 8
      return name == "IQ3_XS" && inMiddle ? "iq3_xxs" : base
    default: return base
    }
  }

  private func headType(_ columns: Int, _ model: Model) -> String {
    if model.isFalcon || columns % Self.blockLength(base) != 0 { return "q8_0" }
    if isTwoBit || name == "IQ3_XXS" { return "q5_k" }
    return base == "q8_0" ? base : "q6_k"
  }

  private var embeddingType: String {
    switch name {
    case "IQ2_XXS", "IQ2_XS": "q2_k"
    case "IQ2_S", "IQ2_M", "IQ3_XXS": "iq3_s"
    case "TQ1_0", "TQ2_0": "q4_k"
    default: base
    }
  }

  private func twoBitType(_ place: Place, _ model: Model) -> String {
    let better = isOneOf("IQ2_S", "IQ2_M") ? "iq3_s" : "q2_k"
    if place.role.makesValues { return model.queriesPerHead >= 4 || model.expertCount >= 4 ? "q4_k" : better }
    switch place.role {
    case .key where model.expertCount == 8: return "q4_k"
    case .down: return place.layer < model.layerCount / 8 ? better : base
    case .attentionOutput:
      if model.expertCount == 8 { return "q5_k" }
      return isOneOf("IQ2_S", "IQ2_M") ? "iq3_s" : base
    default: return base
    }
  }

  private func valueType(_ place: Place, _ model: Model) -> String {
    if model.expertCount == 8 { return "q8_0" }
    let type = plainValueType(place, model)
    return model.is70B && (type == "q3_k" || type == "q4_k") ? "q5_k" : type
  }

  private func plainValueType(_ place: Place, _ model: Model) -> String {
    let shares = model.queriesPerHead >= 4
    switch name {
    case "Q2_K": return shares ? "q4_k" : "q3_k"
    case "Q2_K_S", "IQ3_XS", "IQ3_S": return shares ? "q4_k" : base
    case "IQ3_XXS": return shares ? "q4_k" : model.hasImportance ? base : "iq3_s"
    case "IQ3_M": return "q4_k"
    case "Q3_K_M": return place.valueIndex < 2 ? "q5_k" : "q4_k"
    case "Q3_K_L": return "q5_k"
    case "IQ4_NL", "IQ4_XS": return shares ? "q5_k" : base
    case "Q4_K_M", "Q5_K_M": return deservesMore(place.valueIndex, of: model.valueCount) ? "q6_k" : base
    case "Q4_K_S": return place.valueIndex < 4 ? "q5_k" : base
    default: return base
    }
  }

  private func downType(_ layer: Int, _ model: Model) -> String {
    let count = model.layerCount
    let isEarly = layer < count / 8
    switch name {
    case "Q2_K": return "q3_k"
    case "Q2_K_S": return isEarly ? "q4_k" : base
    case "IQ3_XXS" where !model.hasImportance: return isEarly ? "q4_k" : "q3_k"
    case "Q3_K_M":
      if layer < count / 16 { return "q5_k" }
      return !model.isFalcon || deservesMore(layer, of: count) ? "q4_k" : base
    case "IQ3_M": return isEarly || (model.expertCount == 8 && deservesMore(layer, of: count)) ? "q4_k" : base
    case "Q3_K_L": return model.isFalcon ? "q4_k" : "q5_k"
    case "Q4_K_M":
      let more = deservesMore(layer, of: count)
      guard model.isFalcon else { return more ? "q6_k" : base }
      return layer < count / 16 ? "q6_k" : more ? "q5_k" : base
    case "IQ4_NL" where isEarly && !model.hasImportance, "IQ4_XS" where isEarly && !model.hasImportance:
      return "q5_k"
    case "Q5_K_M": return deservesMore(layer, of: count) ? "q6_k" : base
    case "Q4_K_S": return isEarly && !model.isFalcon ? "q5_k" : base
    case "Q4_0" where isEarly && model.hasImportance: return "q4_1"
    case "Q5_0" where isEarly && model.hasImportance: return "q5_1"
    default: return base
    }
  }

  private func attentionOutputType(_ model: Model) -> String {
    if model.isFalcon { return name == "Q3_K_L" ? "q4_k" : base }
    if model.expertCount == 8 {
      let raised = [
        "Q2_K", "IQ3_XS", "IQ3_XXS", "Q3_K_S", "Q3_K_M", "IQ4_NL", "Q4_K_S", "Q4_K_M", "IQ3_S", "IQ3_M",
        "IQ4_XS",
      ]
      return raised.contains(name) ? "q5_k" : base
    }
    switch name {
    case "Q2_K": return "q3_k"
    case "IQ3_XXS": return "iq3_s"
    case "Q3_K_M", "IQ3_M": return "q4_k"
    case "Q3_K_L": return "q5_k"
    default: return base
    }
  }

  /// Weights of a block of a type.
  static func blockLength(_ type: String) -> Int {
    ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "iq4_nl"].contains(type) ? 32 : 256
  }

  /// What holds rows that are no whole blocks: a type with blocks of 32 instead, f16 where that does not help either (nil).
  static func fitting(_ type: String, columns: Int) -> String? {
    if columns % blockLength(type) == 0 { return type }
    let other =
      switch type {
      case "q2_k", "q3_k", "tq1_0", "tq2_0": "q4_0"
      case "q4_k": "q5_0"
      case "q5_k": "q5_1"
      case "q6_k": "q8_0"
      default: "iq4_nl"
      }
    return columns % 32 == 0 ? other : nil
  }
}
