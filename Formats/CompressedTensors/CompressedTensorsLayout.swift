import Codecs
import OrderedCollections
import SafeIO
import TensorCore

/// Quantized weights as the compressed-tensors layout stores them in safetensors files.
///
/// Read: `pack-quantized` (both ways of packing 3, 5, 6 and 7 bits, with and without a group index), `int-quantized`,
/// `float-quantized` and `naive-quantized`, `nvfp4-pack-quantized`, `mxfp4-pack-quantized`, `mxfp8-quantized`, `dense`, and any
/// of them module by module (`mixed-precision`). Written: all but `naive-quantized` and `dense`.
public enum CompressedTensorsLayout {
  /// Joins the tensors of each module to a weight.
  ///
  /// Which form a module has is seen by its tensors; the configuration says what they leave open.
  /// - Parameter configuration: the object `quantization_config` of `config.json`.
  /// - Throws: ``CompressedTensorsError``.
  public static func reading(
    tensors: OrderedDictionary<String, Tensor>, configuration: JSONValue
  ) throws(CompressedTensorsError) -> LayoutReading {
    let object = configuration
    let configuration = try CompressedTensorsConfiguration(object)
    var reading = LayoutReading()
    var unquantized = 0
    for (name, tensor) in tensors {
      let (module, part) = ParameterName(name).split
      let parts = ModuleParts(module: module, tensors: tensors)
      switch part {
      case "weight_packed":
        reading.weights[module + ".weight"] = .encoded(try parts.packed(tensor, configuration))
      case "weight" where parts.scale != nil && !parts.isPacked:
        if let matrix = try parts.wholeBytes(tensor, configuration) {
          reading.weights[name] = .encoded(matrix)
        } else {
          reading.weights[name] = .dense(tensor)
          unquantized += 1
        }
      case "weight_scale", "weight_zero_point", "weight_shape", "weight_g_idx", "weight_global_scale":
        guard parts.hasWeight else {
          throw .tensor(
            name: name, problem: "there is no weight that it belongs to", expected: nil, found: nil)
        }
        if parts.isStoredDense { reading.companions[name] = tensor }
      case let part where companionParts.contains(part): reading.companions[name] = tensor
      default: reading.weights[name] = .dense(tensor)
      }
    }
    if unquantized > 0 {
      reading.warnings.append(
        "\(unquantized) weights are stored in full beside their scales; they are used as they are stored")
    }
    noteActivations(configuration, in: &reading)
    noteCache(object, in: &reading)
    return reading
  }

  /// Names of tensors that scale activations or the KV cache.
  private static let companionParts: Set<String> = [
    "input_scale", "input_zero_point", "input_global_scale", "output_scale", "output_zero_point",
    "output_global_scale", "k_scale", "v_scale", "q_scale", "k_zero_point", "v_zero_point", "q_zero_point",
  ]
}
