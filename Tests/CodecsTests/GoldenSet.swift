import Codecs
import OrderedCollections
import Safetensors
import TensorCore
import TestSupport
import Testing

/// What other programs made; see Goldens/README.md.
enum GoldenSet {
  static let tensors: OrderedDictionary<String, Tensor> =
    (try? SafetensorsFile(
      path: SharedData.projectRoot + "/Tests/CodecsTests/Goldens/codecs.safetensors"))?
    .tensors ?? [:]

  static func tensor(_ name: String) throws -> Tensor { try #require(tensors[name], "\(name)") }

  static func bytes(_ name: String) throws -> [UInt8] { try tensor(name).bytes }

  static func floats(_ name: String) throws -> [Float] { try tensor(name).floats() }

  static func matrix(_ name: String) throws -> FloatMatrix {
    let tensor = try tensor(name)
    return try FloatMatrix(
      rows: tensor.shape.dimensions[0], columns: tensor.shape.columns, values: tensor.floats())
  }
}

extension Tensor {
  /// A copy of the bytes.
  var bytes: [UInt8] { unsafe withBytes { unsafe Array($0) } }
}

extension FloatMatrix {
  /// Weighted squared difference.
  func squaredError(_ other: FloatMatrix, importance: [Float]? = nil) -> Double {
    var sum = 0.0
    for index in values.indices {
      let difference = Double(values[index] - other.values[index])
      sum += difference * difference * Double(importance?[index % columns] ?? 1)
    }
    return sum
  }
}
