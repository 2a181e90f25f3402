import Codecs
import OrderedCollections
import SafeIO
import TensorCore

/// Quantized weights as the compressed-tensors layout stores them in safetensors files.
///
/// Integer weights of 2 to 8 bits are read from the forms `pack-quantized` (both ways of packing 3, 5, 6 and 7 bits) and
/// `int-quantized`, and written as `pack-quantized`.
public enum CompressedTensorsLayout {
  /// What was read.
  public struct Reading: Sendable {
    /// Weights under `<module>.weight`, other tensors under their names, in the order of the tensors.
    public var weights: OrderedDictionary<String, Weight>
    /// What was passed over, such as scales of activations.
    public var warnings: [String]
  }

  /// Joins the tensors of each module to a weight.
  /// - Parameter configuration: the object `quantization_config` of `config.json`.
  /// - Throws: ``CompressedTensorsError``.
  public static func read(
    tensors: OrderedDictionary<String, Tensor>, configuration: JSONValue
  ) throws(CompressedTensorsError) -> OrderedDictionary<String, Weight> {
    try reading(tensors: tensors, configuration: configuration).weights
  }

  /// As ``read(tensors:configuration:)``, with what was passed over.
  /// - Throws: ``CompressedTensorsError``.
  public static func reading(
    tensors: OrderedDictionary<String, Tensor>, configuration: JSONValue
  ) throws(CompressedTensorsError) -> Reading {
    let arguments = try QuantizationArguments.all(in: configuration)
    var result: OrderedDictionary<String, Weight> = [:]
    var passedOver: OrderedDictionary<String, Int> = [:]
    for (name, tensor) in tensors {
      let (module, part) = split(name)
      let parts = ModuleParts(module: module, tensors: tensors)
      switch part {
      case "weight_packed": result[module + ".weight"] = .encoded(try parts.packed(tensor, arguments))
      case "weight" where tensor.elementType == .i8 && parts.scale != nil:
        result[name] = .encoded(try parts.integers(tensor))
      case "weight" where parts.scale != nil:
        throw .unsupported(module: module, form: "quantized weights of type \(tensor.elementType.name)")
      case "weight_scale", "weight_zero_point", "weight_shape", "weight_g_idx", "weight_global_scale":
        guard parts.hasWeight else {
          throw .tensor(
            name: name, problem: "there is no weight that it belongs to", expected: nil, found: nil)
        }
      case "input_scale", "input_zero_point", "input_global_scale", "output_scale", "output_zero_point",
        "k_scale",
        "v_scale", "q_scale":
        passedOver[part, default: 0] += 1
      default: result[name] = .dense(tensor)
      }
    }
    let warnings = passedOver.map {
      "\($0.value) tensors named \($0.key), which scale activations, were left out"
    }
    return Reading(weights: result, warnings: warnings)
  }

  /// The name before and after the last dot.
  static func split(_ name: String) -> (module: String, part: String) {
    guard let dot = name.utf8.lastIndex(of: UInt8(ascii: ".")) else { return ("", name) }
    return (String(name[..<dot]), String(name[name.index(after: dot)...]))
  }
}
