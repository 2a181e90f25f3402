import Calibration
import Codecs
import Execution
import GraphIR
import Kernels
import OrderedCollections
import Pipeline
import Quantization
import SafeIO
import Safetensors
import TensorCore
import TestSupport
import Tokenizers

/// Models for tests: the shipped one, and a random one that is small enough to be loaded a thousand times.
enum TestModels {
  static let acornPath = SharedData.projectRoot + "/Calibration/Models/acorn"
  static let pool = ThreadPool(threadCount: 2, isPinned: false)
  static let singlePool = ThreadPool(threadCount: 1, isPinned: false)

  static func acorn() throws -> LoadedModel { try ModelFormats.load(acornPath) }

  /// The first windows of the calibration text, in tokens of a model with a tokenizer.
  static func windows(_ model: LoadedModel, count: Int = 4, length: Int = 64) throws -> CalibrationWindows {
    let text = try FileReading.readAll(
      SharedData.projectRoot + "/Calibration/Texts/calibration.txt", limit: 1 << 20)
    let tokens = try model.requireTokenizer().encode(
      Array(text.prefix(8000)), addSpecialTokens: false, parseSpecialTokens: false)
    return try CalibrationWindows(
      tokens: tokens, count: count, length: length, beginOfSequence: model.beginOfSequence, seed: 0)
  }

  /// A Llama of 2 layers, hidden size 64, vocabulary 48, without a tokenizer.
  static func writeTiny(to directory: TemporaryDirectory) throws {
    var generator = SeededGenerator(seed: 11)
    var tensors: OrderedDictionary<String, Tensor> = [:]
    func add(_ name: String, _ dimensions: [Int]) throws {
      let shape = try Shape(dimensions)
      let values = generator.normals(shape.elementCount).map { dimensions.count == 1 ? 1 + $0 / 8 : $0 / 8 }
      tensors[name + ".weight"] = try Tensor(values, shape: shape)
    }
    try add("model.embed_tokens", [48, 64])
    for layer in ["model.layers.0.", "model.layers.1."] {
      try add(layer + "input_layernorm", [64])
      for (name, rows) in [("q", 64), ("k", 32), ("v", 32), ("o", 64)] {
        try add(layer + "self_attn.\(name)_proj", [rows, 64])
      }
      try add(layer + "post_attention_layernorm", [64])
      try add(layer + "mlp.gate_proj", [96, 64])
      try add(layer + "mlp.up_proj", [96, 64])
      try add(layer + "mlp.down_proj", [64, 96])
    }
    try add("model.norm", [64])
    try add("lm_head", [48, 64])
    try SafetensorsWriter.write(tensors, to: directory.file("model.safetensors"))
    directory.write(Array(tinyConfiguration.utf8), to: "config.json")
  }

  /// A Mixtral of one layer and three experts whose columns are whole blocks of 256; or a Qwen2, with one more expert for all
  /// tokens.
  static func writeExperts(to directory: TemporaryDirectory, isShared: Bool = false) throws {
    var generator = SeededGenerator(seed: 12)
    var tensors: OrderedDictionary<String, Tensor> = [:]
    func add(_ name: String, _ dimensions: [Int], _ suffix: String = ".weight") throws {
      let shape = try Shape(dimensions)
      tensors[name + suffix] = try Tensor(
        generator.normals(shape.elementCount).map { dimensions.count == 1 ? 1 : $0 / 16 }, shape: shape)
    }
    try add("model.embed_tokens", [48, 256])
    let layer = "model.layers.0."
    for name in ["input_layernorm", "post_attention_layernorm"] { try add(layer + name, [256]) }
    for (name, rows) in [("q", 256), ("k", 128), ("v", 128), ("o", 256)] {
      try add(layer + "self_attn.\(name)_proj", [rows, 256])
      if isShared, name != "o" { try add(layer + "self_attn.\(name)_proj", [rows], ".bias") }
    }
    let part = layer + (isShared ? "mlp" : "block_sparse_moe")
    let names = isShared ? ["gate_proj", "up_proj", "down_proj"] : ["w1", "w3", "w2"]
    try add(part + ".gate", [3, 256])
    for prefix in (0..<3).map({ "experts.\($0)" }) + (isShared ? ["shared_expert"] : []) {
      for (name, shape) in zip(names, [[512, 256], [512, 256], [256, 512]]) {
        try add("\(part).\(prefix).\(name)", shape)
      }
    }
    if isShared { try add(part + ".shared_expert_gate", [1, 256]) }
    try add("model.norm", [256])
    try add("lm_head", [48, 256])
    try SafetensorsWriter.write(tensors, to: directory.file("model.safetensors"))
    let kind = isShared ? ("Qwen2MoeForCausalLM", "qwen2_moe") : ("MixtralForCausalLM", "mixtral")
    let configuration = """
      {"architectures": ["\(kind.0)"], "model_type": "\(kind.1)", "hidden_size": 256, "intermediate_size": 512,
       "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 48,
       "num_local_experts": 3, "num_experts_per_tok": 2, "rms_norm_eps": 1e-05, "max_position_embeddings": 128,
       "tie_word_embeddings": false\(isShared ? ", \"moe_intermediate_size\": 512, \"shared_expert_intermediate_size\": 512" : "")}
      """
    directory.write(Array(configuration.utf8), to: "config.json")
  }

  private static let tinyConfiguration = """
    {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 96,
     "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 48,
     "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "max_position_embeddings": 128, "hidden_act": "silu",
     "tie_word_embeddings": false, "torch_dtype": "float32", "bos_token_id": 0, "eos_token_id": 1}
    """

  static func tinyWindows(count: Int = 6, length: Int = 32) -> CalibrationWindows {
    var generator = SeededGenerator(seed: 5)
    return CalibrationWindows(
      windows: (0..<count).map { _ in (0..<length).map { _ in Int32.random(in: 0..<48, using: &generator) } })
  }

  static func recipe(
    _ method: String = "rtn", _ codec: String = "int4", group: Int = 32, symmetric: Bool = true,
    targets: [String] = [], ignored: [String] = [], options: [String: String] = [:], fallback: Double = 0.01
  ) throws -> QuantizationRecipe {
    QuantizationRecipe(
      methodName: method, methodOptions: options,
      codec: try CodecRegistry.codec(
        named: codec, CodecParameters(groupSize: group, isSymmetric: symmetric, scaleType: .f16)),
      targets: targets, ignored: ignored, maximumFallbackShare: fallback)
  }

  static func quantized(
    _ model: LoadedModel, _ recipe: QuantizationRecipe, _ calibration: CalibrationSource = .none,
    pool: ThreadPool = pool
  ) throws -> QuantizedModel {
    try QuantizationStage(model: model, recipe: recipe, pool: pool).run(calibration: calibration)
  }

  /// Logits of all rows, exactly as the stored weights mean.
  static func logits(
    _ model: LoadedModel, _ tokens: [Int32] = [0, 7, 3, 44, 12, 5, 30], options: ExecutionOptions = .reference
  ) throws -> [Float] {
    let session = Session(program: try LanguageModel(model, options: options).program, pool: pool)
    return try unsafe session.forward(tokens, rows: tokens.indices) { unsafe Array($0) }
  }

  /// Decoded values of every weight of a checkpoint.
  static func decoded(_ weights: OrderedDictionary<String, Weight>) throws -> [String: [Float]] {
    try Dictionary(uniqueKeysWithValues: weights.map { ($0.key, try $0.value.decoded().values) })
  }

  static func bytes(_ path: String) throws -> [UInt8] { try FileReading.readAll(path, limit: 1 << 30) }

  /// The diagnostic that something fails with; nil when it succeeds.
  static func failure(_ body: () throws -> Void) -> Diagnostic? {
    do {
      try body()
      return nil
    } catch {
      return (error as? any DiagnosableError)?.diagnostic
        ?? Diagnostic(code: "not-diagnosable", message: "\(error)")
    }
  }
}
