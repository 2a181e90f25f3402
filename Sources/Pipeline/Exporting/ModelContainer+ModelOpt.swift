import Codecs
import ModelOptFormat
import OrderedCollections
import SafeIO

extension ModelContainer {
  /// FP8 and NVFP4 checkpoints as NVIDIA's tool exports them.
  static let modelOpt = huggingFace(
    name: "modelopt", summary: "a Hugging Face directory as NVIDIA's Model Optimizer writes it (FP8, NVFP4)",
    refusal: { codec, rows, columns in ModelOptLayout.refusal(codec, rows: rows, columns: columns) },
    contents: { model in
      let (file, member) = try ModelOptLayout.configurations(
        for: model.weights, ignored: model.unquantizedModules, companions: model.source.companions.keys)
      var contents = HuggingFaceContents(
        configuration: ["quantization_config": member], files: ["hf_quant_config.json": file])
      try contents.add(model) { name, matrix in try ModelOptLayout.tensors(of: name, matrix) }
      return contents
    })
}
