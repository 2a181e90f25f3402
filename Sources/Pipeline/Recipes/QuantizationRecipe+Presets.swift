import Codecs
import GraphIR
import OrderedCollections
import Quantization

extension QuantizationRecipe {
  /// The recipe of a preset for a model.
  /// - Parameters:
  ///   - preset: what people call it.
  ///   - methodName: the method for codecs that it can use; others are rounded with searched scales, as are embeddings and
  ///     the head of a mix.
  ///   - hasCalibration: whether a corpus or statistics are at hand.
  /// - Throws: as ``GGUFMix/types(for:hasImportance:)``, `CodecError`.
  public init(
    preset: QuantizationPreset, for model: LoadedModel, methodName: String,
    methodOptions: [String: String] = [:], targets: [String] = [], ignored: [String] = [],
    hasCalibration: Bool
  ) throws {
    switch preset.content {
    case .cache:
      guard targets.isEmpty, ignored.isEmpty, methodOptions.isEmpty else {
        throw PipelineError.usage(
          "\(preset.name) leaves weights as they are",
          hint: "join it to a scheme for weights: W8A8\(preset.name)")
      }
      self.init(methodName: methodName, codec: try CodecRegistry.codec(canonicalName: "int8-gall-sym"))
      quantizesWeights = false
    case .scheme(let scheme):
      self.init(
        methodName: methodName, methodOptions: methodOptions, codec: try scheme.codec(), targets: targets,
        ignored: ignored, activations: scheme.activations)
    case .mix(let mix):
      self.init(
        methodName: methodName, methodOptions: methodOptions,
        codec: try CodecRegistry.codec(canonicalName: mix.base), targets: [], ignored: ignored)
      let rounding = Choice(codec: codec, methodName: "rtn", methodOptions: ["scale-search": "least-squares"])
      let inBlocks = Set(
        model.graph.blocks.flatMap { block in model.graph.nodes[block.nodes].flatMap(\.constantOperands) })
      for (name, type) in try mix.types(for: model, hasImportance: hasCalibration) {
        var choice = inBlocks.contains(name) ? self.choice : rounding
        choice.codec = try CodecRegistry.codec(canonicalName: type)
        if choice.methodName == "gptq", !(choice.codec is any ColumnwiseCodec) {
          choice = rounding.with(choice.codec)
        }
        choices[name] = choice
      }
      if !targets.isEmpty {
        let kept = try QuantizationRecipe(
          methodName: methodName, codec: codec, targets: targets
        ).selectedWeights(in: model.graph)
        choices = choices.filter { kept.contains($0.key) }
      }
    }
    cache = preset.cache.map { CacheRecipe($0) }
  }
}

extension QuantizationRecipe.Choice {
  fileprivate func with(_ codec: any Codec) -> Self {
    var result = self
    result.codec = codec
    return result
  }
}
