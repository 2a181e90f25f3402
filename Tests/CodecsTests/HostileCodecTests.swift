import Codecs
import OrderedCollections
import TensorCore
import TestSupport
import Testing

/// Every codec of the registry against input that does not fit.
@Suite struct HostileCodecTests {
  static let names =
    CodecRegistry.entries.map(\.name).filter { !$0.hasPrefix("iq1_") && !$0.hasPrefix("fp8") }
    + ["fp8_e4m3-tensor", "fp8_e5m2-channel", "fp8_e4m3-b128-bf16"]

  static func codec(_ name: String) throws -> any Codec {
    name.contains("-")
      ? try CodecRegistry.codec(canonicalName: name) : try CodecRegistry.codec(named: name)
  }

  @Test(arguments: names)
  func valuesThatAreNotFiniteAreRefusedWithTheirPlace(name: String) throws {
    let codec = try Self.codec(name)
    for value in [Float.nan, .infinity, -.infinity] {
      var matrix = try TestMatrix.normal(3, 512, seed: 3)
      matrix[1, 77] = value
      for search in [ScaleSearch.extremes, .standard] {
        let error = try #require(throws: CodecError.self) {
          try codec.encode(matrix, importance: nil, search: search)
        }
        guard case .nonFinite(row: 1, column: 77, _) = error else {
          Issue.record("\(name): \(error)")
          continue
        }
      }
    }
  }

  @Test(arguments: names)
  func importanceThatDoesNotFitIsRefused(name: String) throws {
    let codec = try Self.codec(name)
    let matrix = try TestMatrix.normal(2, 512, seed: 3)
    for importance in [[], [1], [Float](repeating: -1, count: 512), [Float](repeating: .nan, count: 512)] {
      #expect(throws: CodecError.self, "\(name)") {
        try codec.encode(matrix, importance: importance, search: .standard)
      }
    }
    let none = try codec.encode(
      matrix, importance: [Float](repeating: 0, count: 512), search: .standard)
    let isFinite = none.decoded().values.allSatisfy { $0.isFinite }
    #expect(isFinite, "\(name)")
  }

  @Test(arguments: names)
  func rowsThatAreNotWholeBlocksAreRefusedOrHeld(name: String) throws {
    let codec = try Self.codec(name)
    for columns in [1, 3, 31, 33, 100, 257] {
      let matrix = try TestMatrix.normal(2, columns, seed: 4)
      do throws(CodecError) {
        let encoded = try codec.encode(matrix, importance: nil, search: .extremes)
        #expect(encoded.decoded().values.count == 2 * columns)
      } catch { #expect(error.diagnostic.code == "codec.parameters", "\(name)") }
    }
    for (rows, columns) in [(0, 512), (3, 0), (0, 0)] {
      let encoded = try codec.encode(FloatMatrix(zeros: rows, columns), importance: nil, search: .standard)
      #expect(encoded.decoded().values.isEmpty, "\(name)")
    }
  }

  @Test(arguments: names)
  func extremeNumbersNeverTrap(name: String) throws {
    let codec = try Self.codec(name)
    for scale in [Float.leastNonzeroMagnitude, 1e-38, 1e-20, 65504, 1e10, 1e30, 1e37] {
      let values = try TestMatrix.normal(2, 512, seed: 5, deviation: 1).values.map { $0 * scale }
      let matrix = try FloatMatrix(rows: 2, columns: 512, values: values.map { $0.isFinite ? $0 : 0 })
      for search in [ScaleSearch.extremes, .standard] {
        do throws(CodecError) {
          let decoded = try codec.encode(matrix, importance: nil, search: search).decoded()
          let isFinite = decoded.values.allSatisfy { $0.isFinite }
          #expect(isFinite, "\(name) \(scale)")
        } catch { #expect(error.diagnostic.code == "codec.scale-overflow", "\(name) \(scale)") }
      }
    }
  }

  @Test(arguments: names)
  func damagedPlanesAreRefused(name: String) throws {
    let codec = try Self.codec(name)
    let good = try codec.encode(TestMatrix.normal(3, 512, seed: 6), importance: nil, search: .extremes)
    func expectRefusal(
      rows: Int = 3, columns: Int = 512, _ planes: OrderedDictionary<String, Tensor>
    ) {
      #expect(throws: CodecError.self, "\(name) \(rows) x \(columns)") {
        try EncodedMatrix(codec: good.codec, rows: rows, columns: columns, planes: planes)
      }
    }
    for plane in good.planes.keys {
      var planes = good.planes
      planes[plane] = nil
      expectRefusal(planes)
      planes[plane] = try Tensor([Float](repeating: 0, count: 35), shape: [5, 7])
      expectRefusal(planes)
    }
    var planes = good.planes
    planes["extra"] = try Tensor([Float(1)], shape: [1])
    expectRefusal(planes)
    for (rows, columns) in [
      (4, 512), (3, 768), (-1, 512), (3, -512), (Int.max, 512), (3, Int.max), (3, Int.max / 8),
    ] {
      expectRefusal(rows: rows, columns: columns, good.planes)
    }
  }

  /// Random bytes in every plane decode to something, without a trap.
  @Test(arguments: names + ["iq1_s", "iq1_m"])
  func randomPlanesDecode(name: String) throws {
    let codec = try Self.codec(name)
    var generator = SeededGenerator(seed: 77)
    let planes: OrderedDictionary<String, Tensor>
    if let block = codec as? any BlockCodec {
      let shape = try Shape([2, 512 / block.blockLength * block.blockByteCount])
      planes = [
        "blocks": try Tensor(
          bytes: [UInt8](repeating: 0, count: shape.elementCount), elementType: .u8, shape: shape)
      ]
    } else {
      planes = try codec.encode(FloatMatrix(zeros: 2, 512), importance: nil, search: .extremes).planes
    }
    let random = try planes.mapValues { plane in
      try Tensor(
        bytes: (0..<plane.byteCount).map { _ in UInt8.random(in: 0...255, using: &generator) },
        elementType: plane.elementType, shape: plane.shape)
    }
    let matrix = try EncodedMatrix(codec: codec, rows: 2, columns: 512, planes: random)
    #expect(matrix.decoded().values.count == 1024)
  }
}
