import Codecs
import OrderedCollections
import SafeIO

/// What `quantization_config` says of an FP8 checkpoint.
struct FP8Configuration: Sendable {
  /// Rows and columns that share a scale; nil when scales are not per block.
  var blockSize: Int?
  /// Whether inputs have static scales.
  var hasStaticInputs = false

  /// - Throws: ``FP8Error/configuration(key:problem:found:)``, ``FP8Error/unsupported(form:reason:)``.
  init(_ value: JSONValue) throws(FP8Error) {
    if let method = value["quant_method"]?.stringValue, !["fp8", "fbgemm_fp8"].contains(method) {
      throw .configuration(key: "quant_method", problem: "another quantization method", found: method)
    }
    if let format = value["fmt"]?.stringValue, !["e4m3", "e5m2", "float8_e4m3fn"].contains(format) {
      throw .unsupported(form: "fmt \(format)", reason: "codes are e4m3 or e5m2 as OCP defines them")
    }
    hasStaticInputs = value["activation_scheme"]?.stringValue == "static"
    guard let size = value["weight_block_size"], !size.isNull else { return }
    guard let sides = size.arrayValue, sides.count == 2, let height = sides[0].intValue,
      let width = sides[1].intValue, height > 0, width > 0
    else {
      throw .configuration(
        key: "weight_block_size", problem: "two positive sizes are needed", found: size.serialized())
    }
    guard height == width else {
      throw .unsupported(
        form: "weight_block_size \(size.serialized())", reason: "only square blocks are held")
    }
    blockSize = height
  }
}

extension FP8Layout {
  /// The object `quantization_config` for `config.json`.
  ///
  /// Per tensor and per block this is vLLM's `fp8`; per channel it is `fbgemm_fp8`, whose loaders expect that.
  /// - Parameters:
  ///   - ignored: linear modules that are not quantized.
  ///   - companions: static activations are declared when there is an `input_scale` among them.
  /// - Throws: ``FP8Error/unrepresentable(weight:encoding:reason:)`` when the weights do not share one granularity.
  public static func quantizationConfiguration(
    for weights: OrderedDictionary<String, Weight>, ignored: [String],
    companions: some Sequence<String> = EmptyCollection()
  ) throws(FP8Error) -> JSONValue {
    var common: Float8Codec.Granularity?
    for (name, weight) in weights {
      guard case .encoded(let matrix) = weight else { continue }
      let granularity = try codec(of: name, matrix, as: Float8Codec.self).granularity
      guard common ?? granularity == granularity else {
        throw .unrepresentable(
          weight: name, encoding: matrix.codec.canonicalName,
          reason: "all weights of a checkpoint have scales of one kind")
      }
      common = granularity
    }
    let modules = JSONValue.array(ignored.map { .string($0) })
    if common == .channel {
      return [
        "quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": modules,
      ]
    }
    let isStatic = companions.contains { ParameterName($0).part == "input_scale" }
    var result: JSONObject = [
      "quant_method": "fp8", "fmt": "e4m3", "activation_scheme": isStatic ? "static" : "dynamic",
    ]
    if case .block(let size)? = common {
      result["weight_block_size"] = .array([JSONValue(size), JSONValue(size)])
      result["modules_to_not_convert"] = modules
    } else {
      result["ignored_layers"] = modules
    }
    return .object(result)
  }
}
