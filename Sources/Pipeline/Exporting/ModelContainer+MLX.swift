import Codecs
import MLXFormat
import SafeIO

extension ModelContainer {
  /// Checkpoints for Apple's MLX.
  static let mlx = huggingFace(
    name: "mlx", summary: "a Hugging Face directory for MLX (affine codes, mxfp4, mxfp8)",
    refusal: { codec, rows, columns in MLXLayout.refusal(codec, rows: rows, columns: columns) },
    contents: { model, _ in
      let configuration = try MLXLayout.quantizationConfiguration(
        for: model.weights, ignored: model.unquantizedModules)
      var contents = HuggingFaceContents(configuration: [
        "quantization": configuration, "quantization_config": configuration,
      ])
      try contents.add(model) { name, matrix in try MLXLayout.tensors(of: name, matrix) }
      return contents
    })
}
