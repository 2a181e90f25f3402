import Codecs
import OrderedCollections
import Safetensors
import TensorCore
import TestSupport
import Testing

/// What the reference implementations gave; see Goldens/GGML.md.
enum GGMLGoldens {
  static let tensors: OrderedDictionary<String, Tensor> =
    (try? SafetensorsFile(
      path: SharedData.projectRoot + "/Tests/CodecsTests/Goldens/ggml.safetensors"))?.tensors ?? [:]

  static func tensor(_ name: String) throws -> Tensor { try #require(tensors[name], "\(name)") }

  static func bytes(_ name: String) throws -> [UInt8] {
    unsafe try tensor(name).withBytes { unsafe Array($0) }
  }

  static func matrix(_ name: String) throws -> FloatMatrix {
    let tensor = try tensor(name)
    return try FloatMatrix(rows: tensor.shape.rows, columns: tensor.shape.columns, values: tensor.floats())
  }
}

extension GGMLCodec {
  /// The codec with the kernels of each instruction set of this machine.
  static func variants(_ format: Format) -> [GGMLCodec] {
    BlockKernels.available.map { kernels in
      var codec = GGMLCodec(format)
      codec.kernels = kernels
      return codec
    }
  }
}

/// Sum of weighted squared differences.
func squaredError(_ left: FloatMatrix, _ right: FloatMatrix, importance: [Float]? = nil) -> Double {
  var sum = 0.0
  for index in left.values.indices {
    let difference = Double(left.values[index] - right.values[index])
    sum += difference * difference * Double(importance?[index % left.columns] ?? 1)
  }
  return sum
}

/// Bytes of the plane of blocks.
func blockBytes(_ matrix: EncodedMatrix) throws -> [UInt8] {
  let plane = try #require(matrix.planes["blocks"])
  return unsafe plane.withBytes { unsafe Array($0) }
}

@Suite struct GGMLGoldenTests {
  static let legacy: [GGMLCodec.Format] = [.q4_0, .q4_1, .q5_0, .q5_1, .q8_0]
  static let searched: [GGMLCodec.Format] = [.q2_k, .q3_k, .q4_k, .q5_k, .q6_k]

  @Test(arguments: GGMLCodec.Format.allCases)
  func decodesAsTheReference(format: GGMLCodec.Format) throws {
    let blocks = try GGMLGoldens.tensor("\(format.rawValue).blocks")
    let expected = try GGMLGoldens.tensor("\(format.rawValue).values").floats()
    for codec in GGMLCodec.variants(format) {
      let matrix = try codec.matrix(
        rows: blocks.shape.rows, columns: codec.blockLength, blocks: blocks)
      let found = matrix.decoded().values
      #expect(found.count == expected.count)
      let same = zip(found, expected).allSatisfy { $0.bitPattern == $1.bitPattern || $0.isNaN && $1.isNaN }
      #expect(same)
    }
    #expect(expected.contains { $0.isNaN } && expected.contains { $0.isFinite && $0 != 0 })
  }

  @Test(arguments: legacy)
  func encodesExtremesAsTheReference(format: GGMLCodec.Format) throws {
    let values = try GGMLGoldens.matrix("legacy.values")
    let expected = try GGMLGoldens.bytes("\(format.rawValue).quantized")
    for codec in GGMLCodec.variants(format) {
      let encoded = try codec.encode(values, importance: nil, search: .extremes)
      let found = try blockBytes(encoded)
      #expect(found.count == expected.count)
      for row in 0..<values.rows {
        let range = row * codec.blockByteCount..<(row + 1) * codec.blockByteCount
        #expect(found[range] == expected[range], "block \(row)")
      }
    }
  }

  @Test(arguments: searched)
  func errsLessThanTheReference(format: GGMLCodec.Format) throws {
    let values = try GGMLGoldens.matrix("searched.values")
    let importance = try GGMLGoldens.tensor("searched.importance").floats()
    let codec = GGMLCodec(format)
    for (name, weights) in [("plain", nil), ("weighted", importance)] as [(String, [Float]?)] {
      let theirs = try codec.matrix(
        rows: values.rows, columns: values.columns,
        blocks: GGMLGoldens.tensor("\(format.rawValue).\(name)"))
      let ours = try codec.encode(values, importance: weights, search: .standard)
      let bound = squaredError(theirs.decoded(), values, importance: weights)
      let error = squaredError(ours.decoded(), values, importance: weights)
      #expect(error < bound, "\(name): \(error / bound)")
      #expect(error > 0.5 * bound)
    }
  }
}
