import Codecs
import OrderedCollections
import TensorCore
import TestSupport
import Testing

@Suite struct GGMLCodecTests {
  /// Rows of several kinds: heavy tails, zeros, constants, tiny, large, of one sign, sparse.
  static func awkward(columns: Int, seed: UInt64) throws -> FloatMatrix {
    var generator = SeededGenerator(seed: seed)
    var matrix = try FloatMatrix(rows: 13, columns: columns, values: generator.normals(13 * columns))
    for column in 0..<columns {
      let cube = matrix[0, column] * matrix[0, column] * matrix[0, column]
      matrix[0, column] = cube
      matrix[1, column] = 0
      matrix[2, column] = -0.75
      matrix[3, column] *= 1e-6
      matrix[4, column] *= 1e-30
      matrix[5, column] *= 3000
      matrix[6, column] = abs(matrix[6, column])
      matrix[7, column] = -abs(matrix[7, column])
      if column % 37 != 0 { matrix[8, column] = 0 }
      matrix[9, column] += 20
      if column < columns / 2 { matrix[10, column] = 0 }
    }
    return matrix
  }

  static func importance(columns: Int, seed: UInt64) -> [Float] {
    var generator = SeededGenerator(seed: seed)
    var weights = generator.normals(columns).map { $0 * $0 + 0.01 }
    // A group of no importance at all.
    for column in 0..<min(32, columns) { weights[column] = 0 }
    return weights
  }

  @Test(arguments: GGMLCodec.Format.allCases)
  func decodesAsTheTableSays(format: GGMLCodec.Format) throws {
    var generator = SeededGenerator(seed: 40)
    let codec = GGMLCodec(format)
    let bytes = (0..<30 * codec.blockByteCount).map { _ in UInt8.random(in: 0...255, using: &generator) }
    let plane = try Tensor(bytes: bytes, elementType: .u8, shape: [10, 3 * codec.blockByteCount])
    for codec in GGMLCodec.variants(format) {
      let matrix = try EncodedMatrix(
        codec: codec, rows: 10, columns: 3 * codec.blockLength, planes: ["blocks": plane])
      let found = matrix.decoded().values
      for block in 0..<30 {
        let start = block * codec.blockByteCount
        let reference = ReferenceBlocks(
          format: format, bytes: Array(bytes[start..<start + codec.blockByteCount]))
        for element in 0..<codec.blockLength {
          let (value, expected) = (found[block * codec.blockLength + element], reference.value(element))
          #expect(value.bitPattern == expected.bitPattern || value.isNaN && expected.isNaN)
        }
      }
      var part = [Float](repeating: 0, count: 2 * matrix.columns)
      unsafe part.withUnsafeMutableBufferPointer { unsafe codec.decode(matrix, rows: 4..<6, into: $0) }
      #expect(bits(part) == bits(Array(found[4 * matrix.columns..<6 * matrix.columns])))
    }
  }

  private func bits(_ values: [Float]) -> [UInt32] { values.map { $0.isNaN ? 0x7FC0_0000 : $0.bitPattern } }

  @Test(arguments: GGMLCodec.Format.allCases)
  func everyInstructionSetGivesTheSameBytes(format: GGMLCodec.Format) throws {
    // An odd number of blocks, so that the last lanes are empty.
    let matrix = try Self.awkward(columns: 768, seed: 41)
    for search in [ScaleSearch.extremes, .standard] {
      for importance in [nil, Self.importance(columns: 768, seed: 42)] {
        let all = try GGMLCodec.variants(format).map {
          try blockBytes($0.encode(matrix, importance: importance, search: search))
        }
        #expect(all.allSatisfy { $0 == all[0] })
      }
    }
  }

  @Test(arguments: GGMLCodec.Format.allCases)
  func blocksDoNotDependOnTheirNeighbours(format: GGMLCodec.Format) throws {
    let matrix = try Self.awkward(columns: 512, seed: 43)
    let codec = GGMLCodec(format)
    for importance in [nil, Self.importance(columns: 512, seed: 44)] {
      let whole = try codec.encode(matrix, importance: importance, search: .standard)
      let tensor = try Tensor(matrix.values, shape: [13, 512])
      let parts = try [0..<1, 1..<6, 6..<13].map {
        try codec.encode(rows: $0, of: tensor, importance: importance, search: .standard)
      }
      #expect(try blockBytes(EncodedMatrix.joined(rows: parts)) == blockBytes(whole))
    }
  }

  @Test(arguments: GGMLGoldenTests.legacy)
  func searchIsNeverWorseThanExtremes(format: GGMLCodec.Format) throws {
    let codec = GGMLCodec(format)
    var matrix = try Self.awkward(columns: 256, seed: 45)
    for index in matrix.values.indices where index / 256 == 4 { matrix.values[index] = 0.5 }
    for importance in [nil, Self.importance(columns: 256, seed: 46)] {
      let extremes = try codec.encode(matrix, importance: importance, search: .extremes).decoded()
      let searched = try codec.encode(matrix, importance: importance, search: .standard).decoded()
      for start in stride(from: 0, to: matrix.values.count, by: 32) {
        let range = start..<start + 32
        let weights = importance.map { Array($0[start % 256..<start % 256 + 32]) }
        let values = try FloatMatrix(rows: 1, columns: 32, values: Array(matrix.values[range]))
        let before = squaredError(
          values, try FloatMatrix(rows: 1, columns: 32, values: Array(extremes.values[range])),
          importance: weights)
        let after = squaredError(
          values, try FloatMatrix(rows: 1, columns: 32, values: Array(searched.values[range])),
          importance: weights)
        #expect(after <= before * (1 + 1e-5) + 1e-30, "block \(start / 32)")
      }
      #expect(
        squaredError(matrix, searched, importance: importance)
          < squaredError(matrix, extremes, importance: importance))
    }
  }

  @Test(arguments: [GGMLCodec.Format.q4_0, .q5_0, .q8_0])
  func whatExtremesGiveIsAFixedPoint(format: GGMLCodec.Format) throws {
    let codec = GGMLCodec(format)
    let matrix = try TestMatrix.normal(8, 256, seed: 47)
    let once = try codec.encode(matrix, importance: nil, search: .extremes)
    let twice = try codec.encode(once.decoded(), importance: nil, search: .extremes)
    #expect(try blockBytes(once) == blockBytes(twice))
  }

  @Test(arguments: GGMLCodec.Format.allCases)
  func importanceMovesTheError(format: GGMLCodec.Format) throws {
    let codec = GGMLCodec(format)
    let matrix = try TestMatrix.normal(8, 512, seed: 48)
    var importance = [Float](repeating: 1, count: 512)
    for column in stride(from: 0, to: 512, by: 5) { importance[column] = 100 }
    let only = importance.map { $0 > 1 ? Float(1) : 0 }
    let plain = try codec.encode(matrix, importance: nil, search: .standard).decoded()
    let weighted = try codec.encode(matrix, importance: importance, search: .standard).decoded()
    #expect(
      squaredError(matrix, weighted, importance: only) < 0.9 * squaredError(matrix, plain, importance: only))
    // Only ratios count.
    let scaled = try codec.encode(matrix, importance: importance.map { $0 * 0x1p-100 }, search: .standard)
    #expect(scaled.decoded() == weighted)
    let ones = try codec.encode(
      matrix, importance: [Float](repeating: 3, count: 512), search: .standard)
    #expect(ones.decoded() == plain)
  }

  @Test(arguments: GGMLCodec.Format.allCases)
  func scalingByPowersOfTwoScalesTheResult(format: GGMLCodec.Format) throws {
    let codec = GGMLCodec(format)
    let matrix = try TestMatrix.normal(4, 512, seed: 49)
    let base = try codec.encode(matrix, importance: nil, search: .standard).decoded()
    for factor: Float in [0x1p4, 0x1p8] {
      let scaled = try FloatMatrix(rows: 4, columns: 512, values: matrix.values.map { $0 * factor })
      let found = try codec.encode(scaled, importance: nil, search: .standard).decoded()
      let error = squaredError(found, scaled).squareRoot() / Double(factor)
      #expect(abs(error / squaredError(base, matrix).squareRoot() - 1) < 0.02)
    }
  }

  @Test(arguments: GGMLCodec.Format.allCases)
  func bitsPerWeightIsTheStorage(format: GGMLCodec.Format) throws {
    let codec = GGMLCodec(format)
    let bits: [GGMLCodec.Format: Double] = [
      .q4_0: 4.5, .q4_1: 5, .q5_0: 5.5, .q5_1: 6, .q8_0: 8.5, .q2_k: 2.625, .q3_k: 3.4375, .q4_k: 4.5,
      .q5_k: 5.5, .q6_k: 6.5625,
    ]
    let encoded = try codec.encode(FloatMatrix(zeros: 3, 512), importance: nil, search: .standard)
    #expect(codec.bitsPerWeight(columns: 512) == bits[format])
    #expect(Weight.encoded(encoded).bitsPerWeight == bits[format])
    #expect(encoded.decoded().values.allSatisfy { $0 == 0 })
    #expect(try CodecRegistry.codec(canonicalName: format.rawValue) as? GGMLCodec == codec)
    #expect(throws: CodecError.self) {
      try CodecRegistry.codec(named: format.rawValue, CodecParameters(groupSize: 32))
    }
    #expect(throws: CodecError.self) { try CodecRegistry.codec(canonicalName: "\(format.rawValue)-g32") }
  }

  @Test func integerFormIsExact() throws {
    for (format, bits) in [(GGMLCodec.Format.q4_0, 4), (.q5_0, 5), (.q8_0, 8)] {
      let codec = GGMLCodec(format)
      var generator = SeededGenerator(seed: 50)
      let bytes = (0..<12 * codec.blockByteCount).map { _ in UInt8.random(in: 0...255, using: &generator) }
      let matrix = try codec.matrix(
        rows: 4, columns: 96, blocks: Tensor(bytes: bytes, elementType: .u8, shape: Shape([bytes.count])))
      let groups = try #require(codec.integerGroups(of: matrix))
      #expect(groups.codec.canonicalName == "int\(bits)-g32-sym")
      #expect(self.bits(groups.decoded().values) == self.bits(matrix.decoded().values))
    }
    let other = try GGMLCodec(.q4_k).encode(FloatMatrix(zeros: 1, 256), importance: nil, search: .standard)
    #expect(GGMLCodec(.q4_k).integerGroups(of: other) == nil)
  }
}
