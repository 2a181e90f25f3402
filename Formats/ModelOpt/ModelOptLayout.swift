import Codecs
import OrderedCollections
import SafeIO
import TensorCore

/// Weights as NVIDIA's TensorRT Model Optimizer exports them to Hugging Face directories.
///
/// FP8 (per tensor, per channel, per block), NVFP4 and int8 are read as they are; 4-bit integers, two output rows a byte, are
/// repacked. Where the export did not fold the scales of AWQ or SmoothQuant into the model, `pre_quant_scale`
/// multiplies the activations; the weight is then decoded and multiplied instead, which changes its bits, not the model.
public enum ModelOptLayout {
  private static let parts: Set<String> = ["weight_scale", "weight_scale_2", "pre_quant_scale"]

  /// Joins codes and scales to weights; what scales activations or the KV cache goes to the companions.
  /// - Parameter configuration: `hf_quant_config.json`, or the object `quantization_config` of `config.json`.
  /// - Throws: ``ModelOptError``.
  public static func reading(
    tensors: OrderedDictionary<String, Tensor>, configuration: JSONValue
  ) throws(ModelOptError) -> LayoutReading {
    let configuration = try ModelOptConfiguration(configuration)
    var reading = LayoutReading()
    var folded = 0
    for (name, tensor) in tensors {
      let parameter = ParameterName(name)
      if parameter.isActivationScale {
        reading.companions[name] = tensor
      } else if parts.contains(parameter.part) {
        guard tensors[parameter.module + ".weight"] != nil else {
          throw .tensor(
            name: name, problem: "there is no weight that it belongs to", expected: nil, found: nil)
        }
      } else if parameter.part == "weight", tensors[parameter.module + ".weight_scale"] != nil {
        let module = ModelOptModule(parameter.module, tensor, tensors, configuration)
        let matrix = try module.matrix()
        if let factors = try module.inputFactors(columns: matrix.columns) {
          reading.weights[name] = .dense(try ModelOptModule.multiplied(name, matrix, factors))
          folded += 1
        } else {
          reading.weights[name] = .encoded(matrix)
        }
      } else {
        reading.weights[name] = .dense(tensor)
      }
    }
    noteActivations(configuration, in: &reading)
    noteCache(configuration, in: &reading)
    if folded > 0 {
      reading.warnings.append(
        "\(folded) weights have scales for their inputs (pre_quant_scale); they were decoded and multiplied by them"
      )
    }
    return reading
  }
}
