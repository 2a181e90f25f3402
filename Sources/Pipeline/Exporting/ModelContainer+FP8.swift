import Codecs
import FP8Format
import OrderedCollections
import SafeIO

extension ModelContainer {
  /// FP8 checkpoints as vLLM and DeepSeek have them.
  static let fp8 = huggingFace(
    name: "fp8", summary: "a Hugging Face directory in the FP8 layout of vLLM and DeepSeek (E4M3)",
    refusal: { codec, rows, columns in FP8Layout.refusal(codec, rows: rows, columns: columns) },
    contents: { model in
      var contents = HuggingFaceContents(configuration: [
        "quantization_config": try FP8Layout.quantizationConfiguration(
          for: model.weights, ignored: model.unquantizedModules, companions: model.source.companions.keys)
      ])
      try contents.add(model) { name, matrix in try FP8Layout.tensors(of: name, matrix) }
      return contents
    })
}
