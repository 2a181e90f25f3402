import Codecs
import OrderedCollections
import SafeIO
import Safetensors
import TensorCore
import TestSupport

/// Tensors and matrices for tests of layouts.
enum Samples {
  /// A tensor of random bytes.
  static func bits(
    _ type: ElementType, _ dimensions: [Int], _ generator: inout SeededGenerator
  ) throws -> Tensor {
    let shape = try Shape(dimensions)
    let bytes = (0..<(try type.byteCount(elements: shape.elementCount))).map { _ in
      UInt8.random(in: 0...255, using: &generator)
    }
    return try Tensor(bytes: bytes, elementType: type, shape: shape)
  }

  /// Positive half-precision numbers.
  static func scales(_ dimensions: [Int], _ generator: inout SeededGenerator) throws -> Tensor {
    let shape = try Shape(dimensions)
    let bytes = (0..<shape.elementCount).flatMap { _ in
      let bits = Float16(Float.random(in: 0.01..<0.5, using: &generator)).bitPattern
      return [UInt8(truncatingIfNeeded: bits), UInt8(truncatingIfNeeded: bits >> 8)]
    }
    return try Tensor(bytes: bytes, elementType: .f16, shape: shape)
  }

  /// Normal weights in a codec.
  static func matrix(_ codec: any Codec, rows: Int, columns: Int, seed: Int) throws -> EncodedMatrix {
    var generator = SeededGenerator(seed: UInt64(seed))
    let values = (0..<rows * columns).map { _ in generator.normal() * 0.1 }
    return try codec.encode(
      FloatMatrix(rows: rows, columns: columns, values: values), importance: nil, search: .extremes)
  }

  static func bytes(_ tensor: Tensor?) -> [UInt8] { unsafe tensor?.withBytes { unsafe Array($0) } ?? [] }

  /// 32-bit words of a tensor.
  static func words(_ tensor: Tensor?) -> [UInt32] {
    let bytes = bytes(tensor)
    return (0..<bytes.count / 4).map { word in
      (0..<4).reduce(0) { $0 | UInt32(bytes[4 * word + $1]) << UInt32(8 * $1) }
    }
  }

  static func tensor(words: [UInt32], _ dimensions: [Int]) throws -> Tensor {
    try Tensor(words.map { Int32(bitPattern: $0) }, shape: Shape(dimensions))
  }

  static func json(_ text: String) throws -> JSONValue { try JSONValue.parse(Array(text.utf8)) }

  /// Names, types, shapes and bytes that differ between two checkpoints.
  static func differences(
    _ first: OrderedDictionary<String, Tensor>, _ second: OrderedDictionary<String, Tensor>
  ) -> [String] {
    var result = Set(first.keys).symmetricDifference(second.keys).map { "\($0) is in one only" }
    for (name, tensor) in first {
      guard let other = second[name] else { continue }
      if tensor.elementType != other.elementType || tensor.shape != other.shape {
        result.append("\(name): \(tensor.elementType) \(tensor.shape), \(other.elementType) \(other.shape)")
      } else if bytes(tensor) != bytes(other) {
        result.append("\(name): other bytes")
      }
    }
    return result.sorted()
  }

  /// A checkpoint that another tool wrote, and its `quantization_config`.
  static func fixture(_ name: String) throws -> (OrderedDictionary<String, Tensor>, JSONValue) {
    let folder = SharedData.path("fixtures/" + name)
    let configuration = try JSONValue.parse(contentsOf: folder + "/config.json")
    return (
      try SafetensorsCheckpoint(path: folder).tensors, configuration["quantization_config"] ?? .null
    )
  }

  /// Tensors of a checkpoint with these weights.
  static func tensors<E: Error>(
    _ reading: LayoutReading, _ layout: (String, EncodedMatrix) throws(E) -> OrderedDictionary<String, Tensor>
  ) throws(E) -> OrderedDictionary<String, Tensor> {
    var result = reading.companions
    for (name, weight) in reading.weights {
      switch weight {
      case .dense(let tensor): result[name] = tensor
      case .encoded(let matrix): result.merge(try layout(name, matrix)) { $1 }
      }
    }
    return result
  }
}
