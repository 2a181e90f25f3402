import Codecs
import FP8Format
import OrderedCollections
import SafeIO

extension ModelContainer {
  /// FP8 checkpoints as vLLM and DeepSeek have them.
  static let fp8 = huggingFace(
    name: "fp8", summary: "a Hugging Face directory in the FP8 layout of vLLM and DeepSeek (E4M3)",
    refusal: { codec, rows, columns in FP8Layout.refusal(codec, rows: rows, columns: columns) },
    activationRefusal: { scheme, codec in FP8Layout.refusal(scheme, with: codec) },
    cacheRefusal: { _ in "its configuration has no place for it, and engines are told by an option of theirs"
    },
    companions: { scales in
      var selection = CompanionScales.Selection()
      selection.takeCache(scales)
      for (module, codec) in scales.quantizedModules {
        // The bound of dynamic scales that fbgemm_fp8 has.
        let name = module + ".input_scale_ub"
        guard (codec as? Float8Codec)?.granularity == .channel, let bound = scales.all[name] else { continue }
        selection.take(CompanionScales.Entry(name: name, tensor: bound), as: name)
      }
      // Engines take the inputs of all layers as scaled by the checkpoint, or of none.
      let modules = scales.quantizedModules
      let inputs = try modules.map { module, codec in
        (codec as? Float8Codec)?.granularity == .tensor ? try scales.input(of: module) : nil
      }
      guard inputs.allSatisfy({ $0 != nil }) else { return selection }
      for case ((let module, _), let entry?) in zip(modules, inputs) {
        selection.take(entry, as: module + ".input_scale")
      }
      return selection
    },
    contents: { model, companions in
      var contents = HuggingFaceContents(configuration: [
        "quantization_config": try FP8Layout.quantizationConfiguration(
          for: model.weights, ignored: model.unquantizedModules, companions: companions)
      ])
      try contents.add(model) { name, matrix in try FP8Layout.tensors(of: name, matrix) }
      return contents
    })
}
