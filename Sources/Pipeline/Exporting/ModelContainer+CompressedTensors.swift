import Codecs
import CompressedTensors
import OrderedCollections
import SafeIO

extension ModelContainer {
  /// A directory that vLLM and transformers load.
  static let compressedTensors = compressedTensors(
    name: "compressed-tensors", summary: "a Hugging Face directory that vLLM and transformers load",
    style: { CompressedTensorsStyle(source: $0.configuration["quantization_config"]) },
    activations: \.activations)

  /// The same with 8-bit integers in whole bytes, whose engines quantize activations too.
  static let compressedTensorsW8A8 = compressedTensors(
    name: "compressed-tensors-w8a8",
    summary: "as compressed-tensors, with int8 in whole bytes and dynamic int8 activations (int-quantized)",
    style: { _ in CompressedTensorsStyle(wholeBytes: true) },
    activations: { model in
      var result = model.activations
      for (name, weight) in model.weights where result[name] == nil {
        guard case .encoded(let matrix) = weight, (matrix.codec as? IntegerGroupCodec)?.bits == 8 else {
          continue
        }
        result[name] = InputQuantization(.int8Token)
      }
      return result
    })

  private static func compressedTensors(
    name: String, summary: String, style: @escaping @Sendable (LoadedModel) -> CompressedTensorsStyle,
    activations: @escaping @Sendable (ModelExport) -> OrderedDictionary<String, InputQuantization>
  ) -> ModelContainer {
    huggingFace(
      name: name, summary: summary,
      refusal: { codec, rows, columns in
        CompressedTensorsLayout.refusal(codec, rows: rows, columns: columns)
      },
      activationRefusal: { scheme, codec in CompressedTensorsLayout.refusal(scheme, with: codec) },
      cacheRefusal: { CompressedTensorsLayout.refusal($0) },
      companions: { try selection(of: $0, style: style($0.source)) },
      contents: { model, companions in
        let style = style(model.source)
        var contents = HuggingFaceContents(configuration: [
          "quantization_config": try CompressedTensorsLayout.quantizationConfiguration(
            for: model.weights, ignored: model.unquantizedModules, style: style,
            activations: activations(model), cache: model.cache?.format, companions: companions)
        ])
        let inputs = activations(model)
        try contents.add(model) { name, matrix in
          try CompressedTensorsLayout.tensors(of: name, matrix, style: style, activations: inputs[name])
        }
        return contents
      })
  }

  /// The scales of the cache, and static scales of inputs where the configuration will say that there are some.
  private static func selection(
    of scales: CompanionScales, style: CompressedTensorsStyle
  ) throws -> CompanionScales.Selection {
    var selection = CompanionScales.Selection()
    if scales.isFrom(method: "compressed-tensors") {
      for (name, tensor) in scales.all where isOfCache(name) {
        selection.take(CompanionScales.Entry(name: name, tensor: tensor), as: name)
      }
      if scales.isReplaced { selection.takeCache(scales) }
    } else {
      selection.takeCache(scales)
    }
    let forms = Dictionary(grouping: scales.quantizedModules) { $0.codec.canonicalName }
    for modules in forms.values {
      guard let codec = modules.first?.codec else { continue }
      let isGlobal = codec is NVFP4Codec
      let inputs = try modules.map { module, _ in
        try isGlobal ? scales.inverseInput(of: module) : scales.input(of: module)
      }
      let isComplete = inputs.allSatisfy { $0 != nil }
      let others = CompressedTensorsLayout.hasStaticInputs(codec, style: style) ?? isComplete
      for case ((let module, _), let entry?) in zip(modules, inputs) {
        guard scales.scheme(of: module).map(\.isStatic) ?? others else { continue }
        selection.take(entry, as: module + (isGlobal ? ".input_global_scale" : ".input_scale"))
        let zero = module + ".input_zero_point"
        if let tensor = scales.all[zero] {
          selection.take(CompanionScales.Entry(name: zero, tensor: tensor), as: zero)
        }
      }
    }
    return selection
  }

  private static func isOfCache(_ name: String) -> Bool {
    let outer = ParameterName(name)
    let inner = ParameterName(outer.module)
    let parts = ["k_scale", "v_scale", "q_scale", "k_zero_point", "v_zero_point", "q_zero_point"]
    if parts.contains(outer.part) { return true }
    // The older name.
    return outer.part == "output_scale" && ["k_proj", "v_proj"].contains(inner.part)
  }
}
