import GGUF

extension ModelFormat {
  /// GGUF is recognised, so that its users hear what is missing rather than that the file is unknown.
  static let gguf = ModelFormat(
    name: "GGUF",
    recognises: { GGUFFile.isGGUF(path: $0) },
    load: { path in
      throw PipelineError.unsupportedFormat(
        path: path, format: "GGUF", reason: "only its header is read so far",
        hint: "adze inspect shows the header")
    })
}
