import Codecs
import OrderedCollections
import TensorCore
import TestSupport
import Testing

/// Blocks of the GGML types against the programs that define them.
@Suite struct CodebookGoldenTests {
  static let decoded = [
    "iq4_nl", "iq4_xs", "iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s", "tq1_0", "tq2_0",
    "q1_0", "q2_0",
  ]

  @Test(arguments: decoded)
  func blocksHaveTheValuesOfTheReference(name: String) throws {
    let codec = try #require(try CodecRegistry.codec(named: name) as? any BlockCodec)
    let blocks = try GoldenSet.bytes(name + ".blocks")
    let expected = try GoldenSet.floats(name + ".values")
    let count = blocks.count / codec.blockByteCount
    let matrix = try EncodedMatrix(
      codec: codec, rows: 2, columns: count / 2 * codec.blockLength,
      planes: [
        "blocks": Tensor(
          bytes: blocks, elementType: .u8, shape: Shape([2, count / 2 * codec.blockByteCount]))
      ])
    let values = matrix.decoded().values
    let wrong = values.indices.filter { values[$0].bitPattern != expected[$0].bitPattern }
    #expect(values.count == expected.count && wrong.isEmpty, "\(wrong.prefix(5))")
    let isSame = matrix.decodedRow(1) == Array(expected[expected.count / 2..<expected.count])
    #expect(isSame)
  }

  @Test(arguments: ["tq1_0", "tq2_0", "q1_0", "q2_0"])
  func referenceQuantizersAreMatchedBitForBit(name: String) throws {
    let codec = try CodecRegistry.codec(named: name)
    let encoded = try codec.encode(GoldenSet.matrix("weights"), importance: nil, search: .extremes)
    #expect(try #require(encoded.planes["blocks"]).bytes == GoldenSet.bytes(name + ".encoded"))
  }

  @Test func extremesOfMXFP4AreTheReferences() throws {
    let encoded = try MXFP4Codec().encode(
      GoldenSet.matrix("weights"), importance: nil, search: .extremes)
    let (codes, scales) = try (
      #require(encoded.planes["codes"]).bytes, #require(encoded.planes["scales"]).bytes
    )
    let expected = try GoldenSet.bytes("mxfp4.encoded")
    for block in scales.indices {
      #expect(scales[block] == expected[17 * block])
      for index in 0..<32 {
        let ours = codes[16 * block + index / 2] >> UInt8(4 * (index % 2)) & 15
        let theirs = expected[17 * block + 1 + index % 16] >> UInt8(4 * (index / 16)) & 15
        #expect(ours == theirs, "block \(block), value \(index)")
      }
    }
  }

  @Test(arguments: ["iq1_s", "iq1_m"])
  func typesWithoutAnEncoderSaySo(name: String) throws {
    let codec = try CodecRegistry.codec(named: name)
    let error = try #require(throws: CodecError.self) {
      try codec.encode(GoldenSet.matrix("weights"), importance: nil, search: .standard)
    }
    #expect(error.diagnostic.code == "codec.parameters" && error.diagnostic.message.contains("no encoder"))
  }

  /// Ratio of squared error to squared weights of normal numbers, as the published quantizers reach it or better.
  @Test(arguments: [
    ("iq4_nl", 0.0055), ("iq4_xs", 0.0059), ("iq3_s", 0.0161), ("iq3_xxs", 0.0315), ("iq2_s", 0.0572),
    ("iq2_xs", 0.0827), ("iq2_xxs", 0.109), ("q2_0", 0.14), ("q1_0", 0.38),
  ])
  func searchesReachTheErrorOfTheirSize(name: String, bound: Double) throws {
    let codec = try CodecRegistry.codec(named: name)
    let matrix = try TestMatrix.normal(4, 1024, seed: 11)
    let energy = matrix.squaredError(FloatMatrix(zeros: 4, 1024))
    let encoded = try codec.encode(matrix, importance: nil, search: .standard)
    let error = encoded.decoded().squaredError(matrix) / energy
    #expect(error < bound, "\(name): \(error)")
    let quick = try codec.encode(matrix, importance: nil, search: .extremes).decoded().squaredError(matrix)
    #expect(error * energy <= quick * 1.0001, "\(name)")
  }

  @Test(arguments: ["iq4_nl", "iq4_xs", "iq3_s", "iq3_xxs", "iq2_s", "iq2_xs", "iq2_xxs", "q2_0"])
  func importanceMovesErrorToWhereItMattersLess(name: String) throws {
    let codec = try CodecRegistry.codec(named: name)
    let matrix = try TestMatrix.normal(4, 512, seed: 12)
    var generator = SeededGenerator(seed: 13)
    let importance = (0..<512).map { _ in Float.random(in: 0..<1, using: &generator) < 0.2 ? Float(20) : 0.1 }
    let with = try codec.encode(matrix, importance: importance, search: .standard).decoded()
    let without = try codec.encode(matrix, importance: nil, search: .standard).decoded()
    #expect(
      with.squaredError(matrix, importance: importance)
        < 0.95 * without.squaredError(matrix, importance: importance), "\(name)")
  }

  @Test(arguments: ["iq4_nl", "iq4_xs", "iq3_s", "iq3_xxs", "iq2_s", "iq2_xs", "iq2_xxs"])
  func zerosStaySmallAndOverflowIsRefused(name: String) throws {
    let codec = try CodecRegistry.codec(named: name)
    let zeros = FloatMatrix(zeros: 2, 256)
    for search in [ScaleSearch.extremes, .standard] {
      #expect(
        try codec.encode(zeros, importance: nil, search: search).decoded().values.allSatisfy { $0 == 0 })
      var large = zeros
      large.values[300] = 3e38
      let error = try #require(throws: CodecError.self) {
        try codec.encode(large, importance: nil, search: search)
      }
      #expect(error.diagnostic.code == "codec.scale-overflow")
    }
  }
}

extension EncodedMatrix {
  func decodedRow(_ row: Int) -> [Float] {
    var values = [Float](repeating: .nan, count: columns)
    unsafe values.withUnsafeMutableBufferPointer { target in
      unsafe codec.decode(self, rows: row..<row + 1, into: target)
    }
    return values
  }
}
