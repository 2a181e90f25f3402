import AWQFormat
import Codecs
import SafeIO

extension ModelContainer {
  /// AWQ checkpoints of version `gemm`.
  static let awq = huggingFace(
    name: "awq", summary: "a Hugging Face directory in the AWQ layout, version gemm (AutoAWQ, vLLM)",
    refusal: { codec, rows, columns in AWQLayout.refusal(codec, rows: rows, columns: columns) },
    contents: { model, _ in
      var contents = HuggingFaceContents(configuration: [
        "quantization_config": try AWQLayout.quantizationConfiguration(
          for: model.weights, ignored: model.unquantizedModules)
      ])
      try contents.add(model) { name, matrix in try AWQLayout.tensors(of: name, matrix) }
      return contents
    })
}
