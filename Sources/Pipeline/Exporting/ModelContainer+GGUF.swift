extension ModelContainer {
  /// One file that llama.cpp and everything built on it loads.
  static let gguf = ModelContainer(
    name: "gguf", summary: "a GGUF file for llama.cpp and what is built on it; holds the GGML types",
    isDirectory: false, refusal: { codec, _, columns in GGUFBlocks.refusal(codec, columns: columns) },
    streams: true,
    write: { model, path, _ in try GGUFExport(model).write(to: path) })
}
