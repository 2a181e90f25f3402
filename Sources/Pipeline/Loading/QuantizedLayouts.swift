import AWQFormat
import Codecs
import CompressedTensors
import FP8Format
import GPTQFormat
import MLXFormat
import MXFP4Format
import ModelOptFormat
import OrderedCollections
import SafeIO
import TensorCore

/// One way in which checkpoints hold quantized weights, recognised by what the configuration says.
struct QuantizedLayout: Sendable {
  /// Its name for people.
  let name: String
  /// Whether a configuration is of this layout.
  let recognises: @Sendable (QuantizationDescription) -> Bool
  /// Joins tensors to weights.
  let reading: @Sendable (OrderedDictionary<String, Tensor>, JSONValue) throws -> LayoutReading

  /// A layout that `quant_method` names, or that a file of its own describes.
  init(
    method: String, file: String? = nil,
    reading: @escaping @Sendable (OrderedDictionary<String, Tensor>, JSONValue) throws -> LayoutReading
  ) {
    self.init(
      name: method,
      recognises: { $0.method == method || ($0.method == nil && file != nil && $0.origin == file) },
      reading: reading)
  }

  /// A layout that is recognised otherwise.
  init(
    name: String, recognises: @escaping @Sendable (QuantizationDescription) -> Bool,
    reading: @escaping @Sendable (OrderedDictionary<String, Tensor>, JSONValue) throws -> LayoutReading
  ) {
    self.name = name
    self.recognises = recognises
    self.reading = reading
  }
}

/// What a checkpoint says of how it is quantized.
struct QuantizationDescription: Sendable {
  /// The object.
  let value: JSONValue
  /// The key of config.json, or the file beside it, that holds the object.
  let origin: String

  /// What `quant_method` says.
  var method: String? { value["quant_method"]?.stringValue }

  /// Whether it is MLX's, which names no method.
  var isMLX: Bool {
    method == nil && origin.hasPrefix("quantization") && value["group_size"] != nil && value["bits"] != nil
  }

  /// Looks where tools put it: keys of `config.json`, then files beside it.
  init?(configuration: JSONValue, directory: String) throws {
    let keys = ["quantization", "quantization_config", "compression_config"]
    for object in [configuration, configuration["text_config"] ?? .null] {
      for key in keys {
        guard let value = object[key], !value.isNull else { continue }
        (self.value, origin) = (value, key)
        return
      }
    }
    for name in ["hf_quant_config.json", "quantize_config.json", "quant_config.json"] {
      guard FileReading.exists(directory + "/" + name) else { continue }
      (value, origin) = (try JSONValue.parse(contentsOf: directory + "/" + name), name)
      return
    }
    return nil
  }
}

/// Every layout of quantized checkpoints that is read; adding one is adding a row.
enum QuantizedLayouts {
  /// The rows, asked in order.
  static let entries: [QuantizedLayout] = [
    QuantizedLayout(method: "compressed-tensors") {
      try CompressedTensorsLayout.reading(tensors: $0, configuration: $1)
    },
    QuantizedLayout(method: "gptq", file: "quantize_config.json") {
      try GPTQLayout.reading(tensors: $0, configuration: $1)
    },
    QuantizedLayout(method: "awq", file: "quant_config.json") {
      try AWQLayout.reading(tensors: $0, configuration: $1)
    },
    QuantizedLayout(
      name: "fp8", recognises: { ["fp8", "fbgemm_fp8"].contains($0.method) },
      reading: { try FP8Layout.reading(tensors: $0, configuration: $1) }),
    QuantizedLayout(
      name: "modelopt",
      recognises: { $0.method?.hasPrefix("modelopt") ?? ($0.origin == "hf_quant_config.json") },
      reading: { try ModelOptLayout.reading(tensors: $0, configuration: $1) }),
    QuantizedLayout(method: "mxfp4") { try MXFP4Layout.reading(tensors: $0, configuration: $1) },
    QuantizedLayout(
      name: "MLX", recognises: \.isMLX,
      reading: { try MLXLayout.reading(tensors: $0, configuration: $1) }),
  ]

  /// Quantized weights where the configuration says that there are some, plain tensors otherwise.
  /// - Throws: ``PipelineError/unsupportedFormat(path:format:reason:hint:)`` and the layouts' own errors.
  static func reading(
    _ tensors: OrderedDictionary<String, Tensor>, configuration: JSONValue, directory: String
  ) throws -> LayoutReading {
    guard
      let description = try QuantizationDescription(configuration: configuration, directory: directory)
    else {
      return LayoutReading(weights: tensors.mapValues { .dense($0) })
    }
    guard let layout = entries.first(where: { $0.recognises(description) }) else {
      throw PipelineError.unsupportedFormat(
        path: directory + "/config.json", format: description.origin,
        reason: "quant_method \(description.method ?? "(none)") is not read",
        hint: entries.map(\.name).joined(separator: ", ") + " are")
    }
    return try layout.reading(tensors, description.value)
  }
}
