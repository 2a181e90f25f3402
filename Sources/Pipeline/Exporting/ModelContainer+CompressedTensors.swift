import Codecs
import CompressedTensors
import OrderedCollections
import SafeIO

extension ModelContainer {
  /// A directory that vLLM and transformers load.
  static let compressedTensors = compressedTensors(
    name: "compressed-tensors", summary: "a Hugging Face directory that vLLM and transformers load",
    style: { CompressedTensorsStyle(source: $0.source.configuration["quantization_config"]) })

  /// The same with 8-bit integers in whole bytes, whose engines quantize activations too.
  static let compressedTensorsW8A8 = compressedTensors(
    name: "compressed-tensors-w8a8",
    summary: "as compressed-tensors, with int8 in whole bytes and dynamic int8 activations (int-quantized)",
    style: { _ in CompressedTensorsStyle(wholeBytes: true) })

  private static func compressedTensors(
    name: String, summary: String, style: @escaping @Sendable (ModelExport) -> CompressedTensorsStyle
  ) -> ModelContainer {
    huggingFace(
      name: name, summary: summary,
      refusal: { codec, rows, columns in
        CompressedTensorsLayout.refusal(codec, rows: rows, columns: columns)
      },
      contents: { model in
        let style = style(model)
        var contents = HuggingFaceContents(configuration: [
          "quantization_config": try CompressedTensorsLayout.quantizationConfiguration(
            for: model.weights, ignored: model.unquantizedModules, style: style,
            companions: Array(model.source.companions.keys))
        ])
        try contents.add(model) { name, matrix in
          try CompressedTensorsLayout.tensors(of: name, matrix, style: style)
        }
        return contents
      })
  }
}
