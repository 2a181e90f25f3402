import Calibration
import Codecs
import OrderedCollections
import Quantization
import TensorCore
import Yams

/// A recipe as people write it: a YAML document of ordered stages. `RECIPES.md` beside this file describes every key.
public struct RecipeDocument: Sendable {
  /// One stage that quantizes weights.
  struct Quantize: Sendable {
    var preset: String?
    var codec: String?
    var groupSize: Int?
    var isSymmetric: Bool?
    var scaleType: String?
    var activations: String?
    var method: String?
    var options: [String: String] = [:]
    var targets: [String] = []
    var ignored: [String] = []
    var rules: [Quantize] = []
  }

  private(set) var transforms: [QuantizationRecipe.Transform] = []
  private(set) var stages: [Quantize] = []
  private(set) var maximumFallbackShare = 0.01
  private(set) var minimumExpertTokens = 0
  private(set) var activationObserver = ScaleObserver.minmax
  private(set) var cache: CacheRecipe?

  /// Reads a document.
  /// - Throws: ``PipelineError/recipe(path:key:problem:hint:)``.
  public init(yaml: String, path: String) throws(PipelineError) {
    let node: Node?
    do { node = try Yams.compose(yaml: yaml) } catch {
      throw .recipe(path: path, key: "", problem: "is no YAML: \(error)", hint: nil)
    }
    guard let node else { throw .recipe(path: path, key: "", problem: "is empty", hint: nil) }
    let reader = RecipeReader(path: path)
    let keys = try reader.mapping(
      node, "recipe",
      known: [
        "stages", "max_fallback", "min_expert_tokens", "activation_observer", "kv_cache",
      ])
    if let share = keys["max_fallback"] {
      maximumFallbackShare = try reader.number(share, "max_fallback", in: 0...1)
    }
    if let tokens = keys["min_expert_tokens"] {
      minimumExpertTokens = Int(try reader.number(tokens, "min_expert_tokens", in: 0...1e9))
    }
    if let node = keys["activation_observer"] {
      activationObserver = try reader.observer(node, "activation_observer")
    }
    if let node = keys["kv_cache"] { cache = try reader.cache(node, "kv_cache") }
    if cache != nil, keys["stages"] == nil { return }
    guard let list = keys["stages"]?.sequence, !list.isEmpty else {
      throw .recipe(path: path, key: "stages", problem: "a list of stages is needed", hint: nil)
    }
    for (number, stage) in list.enumerated() { try add(stage, "stages[\(number)]", reader) }
    guard !stages.isEmpty else {
      throw .recipe(path: path, key: "stages", problem: "no stage quantizes", hint: "add '- quantize:'")
    }
  }

  private mutating func add(_ node: Node, _ key: String, _ reader: RecipeReader) throws(PipelineError) {
    let kinds = ["quantize"] + WeightTransforms.names
    let stage = try reader.mapping(node, key, known: kinds)
    guard stage.count == 1, let kind = stage.keys.first, let body = stage[kind] else {
      throw .recipe(path: reader.path, key: key, problem: "a stage has one key, its kind", hint: nil)
    }
    if kind == "quantize" {
      stages.append(try reader.quantize(body, key + ".quantize", isRule: false))
    } else {
      guard stages.isEmpty else {
        throw .recipe(
          path: reader.path, key: key, problem: "\(kind) rewrites float weights, after some were quantized",
          hint: "put it before the stages that quantize")
      }
      transforms.append(
        QuantizationRecipe.Transform(name: kind, options: try reader.options(body, "\(key).\(kind)")))
    }
  }

  /// The recipe for a model.
  /// - Throws: ``PipelineError``, `CodecError`, `QuantizationError`, `ArchitectureError`.
  public func recipe(for model: LoadedModel, hasCalibration: Bool) throws -> QuantizationRecipe {
    guard let last = stages.last else {
      guard let cache else { throw PipelineError.nothingToQuantize }
      var recipe = try QuantizationRecipe(
        preset: .named("KV8"), for: model, methodName: "rtn", hasCalibration: hasCalibration)
      recipe.cache = cache
      return recipe
    }
    var recipe = try main(last, model, hasCalibration)
    for stage in stages {
      for rule in stage.rules {
        recipe.rules.append(
          QuantizationRecipe.Rule(targets: rule.targets, choice: try choice(rule, over: stage)))
      }
    }
    for stage in stages.dropLast() {
      guard !stage.targets.isEmpty else {
        throw PipelineError.usage(
          "a stage without targets takes every weight, so that nothing is left for those behind it",
          hint: "give it targets, or put it last")
      }
      recipe.rules.append(
        QuantizationRecipe.Rule(targets: stage.targets, choice: try choice(stage, over: nil)))
      recipe.ignored += stage.ignored
    }
    guard recipe.quantizesWeights || (recipe.rules.isEmpty && stages.count == 1) else {
      throw PipelineError.usage(
        "\(last.preset ?? "the preset") leaves weights as they are, and other stages or rules do not",
        hint: "use the key kv_cache beside them")
    }
    recipe.transforms = transforms
    recipe.maximumFallbackShare = maximumFallbackShare
    recipe.minimumExpertTokens = minimumExpertTokens
    recipe.activationObserver = activationObserver
    if let cache { recipe.cache = cache }
    for choice in [recipe.choice] + recipe.rules.map(\.choice) { _ = try choice.method() }
    return recipe
  }

  private static func scaleType(_ name: String) throws(PipelineError) -> ElementType {
    guard let type = ElementType(rawValue: name.uppercased()), [.f16, .bf16, .f32].contains(type) else {
      throw .usage("scale_type is f16, bf16 or f32, not '\(name)'", hint: nil)
    }
    return type
  }

  private func main(
    _ stage: Quantize, _ model: LoadedModel, _ hasCalibration: Bool
  ) throws -> QuantizationRecipe {
    if let name = stage.preset {
      var recipe = try QuantizationRecipe(
        preset: .named(name), for: model, methodName: stage.method ?? "gptq", methodOptions: stage.options,
        targets: stage.targets, ignored: stage.ignored, hasCalibration: hasCalibration)
      if let activations = stage.activations { recipe.setActivations(try .activations(named: activations)) }
      return recipe
    }
    let choice = try choice(stage, over: nil)
    return QuantizationRecipe(
      methodName: choice.methodName, methodOptions: choice.methodOptions, codec: choice.codec,
      targets: stage.targets, ignored: stage.ignored, activations: choice.activations)
  }

  /// The choice of a stage or rule; what a rule leaves out is its stage's.
  private func choice(_ part: Quantize, over stage: Quantize?) throws -> QuantizationRecipe.Choice {
    let codec: any Codec
    var activations: ActivationScheme?
    if let name = part.preset {
      guard case .scheme(let scheme) = try QuantizationPreset.named(name).content else {
        throw PipelineError.usage(
          "\(name) chooses a type for each weight, which only the last stage can", hint: "name a codec")
      }
      guard try QuantizationPreset.named(name).cache == nil else {
        throw PipelineError.usage(
          "\(name) says how keys and values are cached, which only the last stage can",
          hint: "use the key kv_cache")
      }
      codec = try scheme.codec()
      activations = scheme.activations
    } else if part.codec == nil, let stage {
      let inherited = try choice(stage, over: nil)
      (codec, activations) = (inherited.codec, inherited.activations)
    } else {
      let symmetric = part.isSymmetric
      let type = try part.scaleType.map { try Self.scaleType($0) }
      codec = try CodecRegistry.codec(
        spelled: part.codec ?? "int4",
        CodecParameters(groupSize: part.groupSize, isSymmetric: symmetric, scaleType: type))
    }
    if let name = part.activations { activations = try .activations(named: name) }
    let method = part.method ?? stage?.method ?? "gptq"
    let inherits = part.method == nil && part.options.isEmpty
    return QuantizationRecipe.Choice(
      codec: codec, methodName: method, methodOptions: inherits ? stage?.options ?? [:] : part.options,
      activations: activations)
  }
}
