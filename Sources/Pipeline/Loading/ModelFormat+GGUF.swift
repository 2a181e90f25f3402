import GGUF

extension ModelFormat {
  /// A GGUF file, or any part of a split one.
  static let gguf = ModelFormat(
    name: "GGUF",
    recognises: { GGUFFile.isGGUF(path: $0) },
    load: { path in try GGUFModel(path: path).load() })
}
