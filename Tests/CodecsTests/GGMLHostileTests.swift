import Codecs
import OrderedCollections
import TensorCore
import TestSupport
import Testing

@Suite struct GGMLHostileTests {
  @Test(arguments: GGMLCodec.Format.allCases)
  func nonFiniteWeightsAreRefusedWithTheirPlace(format: GGMLCodec.Format) throws {
    let codec = GGMLCodec(format)
    for value in [Float.nan, .infinity, -.infinity] {
      var matrix = try TestMatrix.normal(70, 512, seed: 1)
      matrix[66, 301] = value
      let error = try #require(throws: CodecError.self) {
        try codec.encode(matrix, importance: nil, search: .extremes)
      }
      guard case .nonFinite(row: 66, column: 301, value: _) = error else {
        Issue.record("\(error)")
        continue
      }
      let tensor = try Tensor(matrix.values, shape: [70, 512])
      let again = try #require(throws: CodecError.self) {
        try codec.encode(rows: 60..<70, of: tensor, importance: nil, search: .standard)
      }
      guard case .nonFinite(row: 6, column: 301, value: _) = again else {
        Issue.record("\(again)")
        continue
      }
    }
  }

  @Test(arguments: GGMLCodec.Format.allCases)
  func factorsBeyondHalvesAreRefusedWithTheirPlace(format: GGMLCodec.Format) throws {
    let codec = GGMLCodec(format)
    for search in [ScaleSearch.extremes, .standard] {
      for value: Float in [3e38, -3e38, 1e12] {
        var matrix = try TestMatrix.normal(3, 1024, seed: 2)
        matrix[1, 600] = value
        let error = try #require(throws: CodecError.self) {
          try codec.encode(matrix, importance: nil, search: search)
        }
        guard case .scaleOverflow(row: 1, group: let group, scale: _, type: .f16) = error else {
          Issue.record("\(error)")
          continue
        }
        #expect(group == 600 / codec.blockLength)
        #expect(error.description.contains("row 1, group \(group)"))
      }
    }
  }

  @Test(arguments: GGMLCodec.Format.allCases)
  func rowsOfPartOfABlockAreRefused(format: GGMLCodec.Format) throws {
    let codec = GGMLCodec(format)
    for columns in [1, codec.blockLength - 1, codec.blockLength + 16] {
      let error = try #require(throws: CodecError.self) {
        try codec.encode(FloatMatrix(zeros: 2, columns), importance: nil, search: .standard)
      }
      #expect(error.description.contains("not whole blocks of \(codec.blockLength)"))
    }
    for (rows, columns) in [(0, codec.blockLength), (3, 0), (0, 0)] {
      let encoded = try codec.encode(FloatMatrix(zeros: rows, columns), importance: nil, search: .standard)
      #expect(encoded.byteCount == 0 && encoded.decoded().values.isEmpty)
    }
  }

  @Test func badImportanceIsRefused() throws {
    let codec = GGMLCodec(.q4_k)
    let matrix = FloatMatrix(zeros: 2, 256)
    for importance in [
      [1], [Float](repeating: -1, count: 256), [Float](repeating: .nan, count: 256),
      [Float](repeating: .infinity, count: 256),
    ] {
      #expect(throws: CodecError.self) {
        try codec.encode(matrix, importance: importance, search: .standard)
      }
    }
    // None at all is not an error.
    let zeros = [Float](repeating: 0, count: 256)
    #expect(throws: Never.self) { try codec.encode(matrix, importance: zeros, search: .standard) }
  }

  @Test(arguments: GGMLCodec.Format.allCases)
  func planesThatDoNotFitAreRefused(format: GGMLCodec.Format) throws {
    let codec = GGMLCodec(format)
    let size = codec.blockByteCount
    func plane(_ shape: Shape, _ type: ElementType = .u8) throws -> Tensor {
      let count = try type.byteCount(elements: shape.elementCount)
      return try Tensor(bytes: [UInt8](repeating: 0, count: count), elementType: type, shape: shape)
    }
    let good = try plane([2, 3 * size])
    let columns = 3 * codec.blockLength
    _ = try EncodedMatrix(codec: codec, rows: 2, columns: columns, planes: ["blocks": good])
    let bad: [(Int, Int, OrderedDictionary<String, Tensor>)] = [
      (2, columns, [:]), (2, columns, ["codes": good]), (2, columns, ["blocks": good, "scales": good]),
      (3, columns, ["blocks": good]), (2, columns + 1, ["blocks": good]), (2, columns - 1, ["blocks": good]),
      (2, columns + codec.blockLength, ["blocks": good]), (-1, columns, ["blocks": good]),
      (2, -columns, ["blocks": good]), (2, Int.max, ["blocks": good]),
      (2, Int.max / codec.blockLength * codec.blockLength, ["blocks": good]),
      (2, columns, ["blocks": try plane([2, 3 * size], .i8)]),
      (2, columns, ["blocks": try plane([6 * size])]),
    ]
    for (rows, columns, planes) in bad {
      #expect(throws: CodecError.self) {
        try EncodedMatrix(codec: codec, rows: rows, columns: columns, planes: planes)
      }
    }
    let flat = try plane([6 * size])
    #expect(try codec.matrix(rows: 2, columns: columns, blocks: flat).rows == 2)
    #expect(throws: CodecError.self) { try codec.matrix(rows: 3, columns: columns, blocks: flat) }
    #expect(throws: CodecError.self) { try codec.matrix(rows: 2, columns: Int.max, blocks: flat) }
    #expect(throws: CodecError.self) { try codec.matrix(rows: -2, columns: -columns, blocks: flat) }
  }

  @Test(arguments: [ElementType.f32, .bf16, .f16, .f64])
  func storedElementsEncodeAsTheirValues(type: ElementType) throws {
    var generator = SeededGenerator(seed: 3)
    let values = generator.normals(5 * 288).map { $0 * 0.1 }
    var bytes: [UInt8] = [7]
    for value in values {
      let pattern: (UInt64, Int) =
        switch type {
        case .f32: (UInt64(value.bitPattern), 4)
        case .bf16: (UInt64(SmallFloat.bfloat16(value)), 2)
        case .f16: (UInt64(Float16(value).bitPattern), 2)
        default: (Double(value).bitPattern, 8)
        }
      for index in 0..<pattern.1 { bytes.append(UInt8(truncatingIfNeeded: pattern.0 >> UInt64(8 * index))) }
    }
    // At an odd address, as in a mapped file.
    let tensor = try Tensor(
      elementType: type, shape: [5, 288], region: MemoryRegion(copying: bytes), byteOffset: 1)
    for codec in GGMLCodec.variants(.q5_0) {
      let direct = try codec.encode(rows: 1..<4, of: tensor, importance: nil, search: .extremes)
      let floats = try FloatMatrix(rows: 3, columns: 288, values: tensor.floats(elements: 288..<4 * 288))
      let indirect = try codec.encode(floats, importance: nil, search: .extremes)
      #expect(try blockBytes(direct) == blockBytes(indirect))
    }
  }
}
