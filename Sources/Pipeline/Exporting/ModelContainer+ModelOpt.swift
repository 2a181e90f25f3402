import Codecs
import ModelOptFormat
import OrderedCollections
import SafeIO

extension ModelContainer {
  /// FP8 and NVFP4 checkpoints as NVIDIA's tool exports them.
  static let modelOpt = huggingFace(
    name: "modelopt", summary: "a Hugging Face directory as NVIDIA's Model Optimizer writes it (FP8, NVFP4)",
    refusal: { codec, rows, columns in ModelOptLayout.refusal(codec, rows: rows, columns: columns) },
    activationRefusal: { scheme, codec in ModelOptLayout.refusal(scheme, with: codec) },
    cacheRefusal: { ModelOptLayout.refusal($0) },
    companions: { scales in
      var selection = CompanionScales.Selection()
      for place in scales.cache {
        let (attention, letter) = (place.attention, place.letter)
        selection.take(place.entry, as: "\(attention).\(letter)_proj.\(letter)_scale")
      }
      for (module, codec) in scales.quantizedModules {
        guard codec is NVFP4Codec || (codec as? Float8Codec)?.granularity == .tensor,
          let entry = try scales.input(of: module)
        else { continue }
        selection.take(entry, as: module + ".input_scale")
      }
      return selection
    },
    contents: { model, companions in
      let (file, member) = try ModelOptLayout.configurations(
        for: model.weights, ignored: model.unquantizedModules, companions: companions)
      var contents = HuggingFaceContents(
        configuration: ["quantization_config": member], files: ["hf_quant_config.json": file])
      try contents.add(model) { name, matrix in try ModelOptLayout.tensors(of: name, matrix) }
      return contents
    })
}
