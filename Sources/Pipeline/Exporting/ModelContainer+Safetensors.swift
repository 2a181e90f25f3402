import Codecs

extension ModelContainer {
  /// A directory of plain numbers, as models are published.
  static let safetensors = huggingFace(
    name: "safetensors", summary: "a Hugging Face directory of plain numbers, as models are published",
    refusal: { _, _, _ in "it holds plain numbers only" },
    contents: { model, _ in
      var contents = HuggingFaceContents()
      try contents.add(model) { name, matrix in
        throw PipelineError.weight(name, reason: "is \(matrix.codec.canonicalName), not plain numbers")
      }
      return contents
    })
}
