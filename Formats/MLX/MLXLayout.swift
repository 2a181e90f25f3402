import Codecs
import OrderedCollections
import SafeIO
import TensorCore

/// Quantized weights as MLX stores them in safetensors files: `weight` u32 `[rows, columns * bits / 32]`, `scales`
/// `[rows, columns / group]` and, in mode `affine`, `biases` of the same shape.
///
/// Modes `affine` (2 to 6 and 8 bits), `mxfp4`, `mxfp8` and `nvfp4` are read. A stack of experts under `switch_mlp` becomes one weight
/// for each, under `experts.0`, `experts.1`, ..., which look at the same bytes.
public enum MLXLayout {
  /// Joins codes, scales and biases to weights.
  /// - Parameter configuration: the object `quantization` of `config.json`.
  /// - Throws: ``MLXError``.
  public static func reading(
    tensors: OrderedDictionary<String, Tensor>, configuration: JSONValue
  ) throws(MLXError) -> LayoutReading {
    let configuration = try MLXConfiguration(configuration)
    var reading = LayoutReading()
    for (name, tensor) in tensors {
      let parameter = ParameterName(name)
      let codes = tensors[parameter.module + ".weight"]
      let hasCodes =
        codes?.elementType == .u32 && !parameter.module.isEmpty
        && tensors[parameter.module + ".scales"] != nil
      if parameter.part == "weight", hasCodes {
        let arguments = configuration.arguments(of: parameter.module)
        try add(MLXModule(parameter.module, tensors, arguments), to: &reading)
      } else if parameter.part == "scales" || parameter.part == "biases" {
        guard hasCodes else {
          throw .tensor(
            name: name, problem: "there are no codes that it belongs to", expected: nil, found: nil)
        }
      } else if parameter.isActivationScale {
        reading.companions[name] = tensor
      } else {
        reading.weights[name] = .dense(tensor)
      }
    }
    return reading
  }

  private static func add(_ module: MLXModule, to reading: inout LayoutReading) throws(MLXError) {
    guard module.isStack else {
      reading.weights[module.name + ".weight"] = .encoded(try module.matrix())
      return
    }
    let name = ParameterName(module.name)
    let stack = ParameterName(name.module)
    guard stack.part == "switch_mlp", !stack.module.isEmpty else {
      throw .unsupported(
        form: module.name, reason: "a stack of matrices outside of switch_mlp has no names for its members")
    }
    for (expert, matrix) in try module.unstacked().enumerated() {
      reading.weights["\(stack.module).experts.\(expert).\(name.part).weight"] = .encoded(try matrix.matrix())
    }
  }
}
