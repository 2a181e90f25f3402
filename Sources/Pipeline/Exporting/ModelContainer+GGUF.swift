import Architectures
import Codecs
import TensorCore

extension ModelContainer {
  /// One file that llama.cpp and everything built on it loads.
  static let gguf = ModelContainer(
    name: "gguf", summary: "a GGUF file for llama.cpp and what is built on it; holds the GGML types",
    isDirectory: false, refusal: { codec, _, columns in GGUFBlocks.refusal(codec, columns: columns) },
    streams: true, files: { try GGUFExport($0).files($1) },
    companions: { scales in
      var selection = CompanionScales.Selection()
      for (module, codec) in scales.quantizedModules where codec is NVFP4Codec {
        guard let entry = try scales.input(of: module), entry.tensor.shape.elementCount == 1 else { continue }
        selection.take(entry, as: module + ".input_scale")
      }
      return selection
    },
    remarks: { try GGUFExport.description(of: $0).warnings + GGUFTokenizer.losses(of: $0) },
    write: { model, path, _ in try GGUFExport(model).write(to: path) })
}
