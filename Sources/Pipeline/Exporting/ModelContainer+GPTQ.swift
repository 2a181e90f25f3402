import Codecs
import GPTQFormat
import OrderedCollections
import SafeIO

extension ModelContainer {
  /// GPTQ checkpoints of the version that every engine reads, but for zero points that only the second can store.
  static let gptq = gptq(
    name: "gptq", summary: "a Hugging Face directory in the GPTQ layout (AutoGPTQ, GPTQModel, vLLM)",
    version: nil)

  /// GPTQ checkpoints of the second version.
  static let gptqV2 = gptq(
    name: "gptq-v2", summary: "as gptq, with zero points stored as they are (checkpoint_format gptq_v2)",
    version: .v2)

  private static func gptq(name: String, summary: String, version: GPTQVersion?) -> ModelContainer {
    huggingFace(
      name: name, summary: summary,
      refusal: { codec, rows, columns in GPTQLayout.refusal(codec, rows: rows, columns: columns) },
      contents: { model, _ in
        let source = model.source.configuration["quantization_config"]
        let version = version ?? GPTQLayout.version(for: model.weights, source: source)
        let isSame = source?["quant_method"]?.stringValue == "gptq" && model.history.isNull
        let configuration = try GPTQLayout.quantizationConfiguration(
          for: model.weights, ignored: model.unquantizedModules, version: version,
          meta: isSame ? source?["meta"] : nil)
        var contents = HuggingFaceContents(
          configuration: ["quantization_config": configuration],
          files: ["quantize_config.json": configuration])
        try contents.add(model) { name, matrix in
          try GPTQLayout.tensors(of: name, matrix, version: version)
        }
        return contents
      })
  }
}
