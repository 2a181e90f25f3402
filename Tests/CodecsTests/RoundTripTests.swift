import Codecs
import TensorCore
import TestSupport
import Testing

@Suite struct RoundTripTests {
  /// Group sizes that divide the columns, leave a tail, are odd, or are wider than the row; nil: the whole row.
  static let groupSizes: [Int?] = [32, 64, 128, nil, 2, 7, 1000]
  static let scaleTypes: [ElementType] = [.f16, .bf16, .f32]

  /// Relative rounding error of a scale's type.
  static func precision(_ type: ElementType) -> Float {
    switch type {
    case .f16: 0x1p-11
    case .bf16: 0x1p-8
    default: 0x1p-23
    }
  }

  @Test(arguments: 2...8, groupSizes)
  func errorIsAtMostHalfAStep(bits: Int, groupSize: Int?) throws {
    for scaleType in Self.scaleTypes {
      for isSymmetric in [true, false] {
        let codec = try IntegerGroupCodec(
          bits: bits, groupSize: groupSize, isSymmetric: isSymmetric, scaleType: scaleType)
        for columns in [1, 33, 200] {
          let seed = UInt64(bits * 1000 + columns)
          let matrix = try TestMatrix.normal(3, columns, seed: seed)
          try checkBounds(codec, matrix, seed: seed)
        }
      }
    }
  }

  /// Inside the grid's range half a step; outside of it no further than the rounding of scale and zero point explains.
  private func checkBounds(_ codec: IntegerGroupCodec, _ matrix: FloatMatrix, seed: UInt64) throws {
    let encoded = try codec.encode(matrix, importance: nil, search: .extremes)
    let decoded = encoded.decoded()
    let unpacked = codec.unpacked(encoded, rows: 0..<matrix.rows)
    let groups = codec.groupCount(columns: matrix.columns)
    let length = codec.groupLength(columns: matrix.columns)
    // Scales below the normal numbers of f16 are rounded more coarsely; these weights stay above.
    let slack = 0.51 + 1.02 * Float(codec.maximumCode) * Self.precision(codec.scaleType)
    var worstInside: Float = 0
    var worstOutside: Float = 0
    for row in 0..<matrix.rows {
      for column in 0..<matrix.columns {
        let group = row * groups + column / length
        let (scale, zero) = (unpacked.scales[group], Float(unpacked.zeros[group]))
        let value = matrix[row, column]
        let inside = min(max(value, -zero * scale), (Float(codec.maximumCode) - zero) * scale)
        worstInside = max(worstInside, abs(inside - decoded[row, column]) / scale)
        worstOutside = max(worstOutside, abs(inside - value) / scale)
      }
    }
    #expect(worstInside <= 0.5001, "\(codec.canonicalName), \(matrix.columns) columns, seed \(seed)")
    #expect(worstOutside <= slack, "\(codec.canonicalName), \(matrix.columns) columns, seed \(seed)")
  }

  @Test(arguments: 2...8, [true, false])
  func planesMeanWhatTheirDescriptionSays(bits: Int, isSymmetric: Bool) throws {
    for columns in [1, 5, 8, 37] {
      for groupSize in [nil, 3, 16] {
        let codec = try IntegerGroupCodec(bits: bits, groupSize: groupSize, isSymmetric: isSymmetric)
        let matrix = try TestMatrix.normal(4, columns, seed: 11)
        let encoded = try codec.encode(matrix, importance: nil, search: .standard)
        let decoded = encoded.decoded()
        let codes = try ReferenceDecoder.codes(of: encoded, bits: bits)
        for row in 0..<4 {
          for column in 0..<columns {
            let grid = try ReferenceDecoder.grid(of: encoded, codec: codec, row: row, column: column)
            let code = Float(codes[row * columns + column])
            #expect(decoded[row, column] == grid.scale * (code - grid.zero), "\(codec.canonicalName)")
            #expect(grid.code(matrix[row, column]) == code, "\(codec.canonicalName)")
          }
        }
      }
    }
  }

  @Test(arguments: 2...8, [true, false])
  func rangesOfRowsDecodeAsTheWhole(bits: Int, isSymmetric: Bool) throws {
    let codec = try IntegerGroupCodec(bits: bits, groupSize: 10, isSymmetric: isSymmetric)
    let encoded = try codec.encode(try TestMatrix.normal(9, 23, seed: 5), importance: nil, search: .extremes)
    let whole = encoded.decoded()
    for range in [0..<1, 3..<7, 8..<9, 4..<4] {
      var part = [Float](repeating: .nan, count: range.count * 23)
      unsafe part.withUnsafeMutableBufferPointer { unsafe codec.decode(encoded, rows: range, into: $0) }
      #expect(part == Array(whole.values[range.lowerBound * 23..<range.upperBound * 23]))
    }
    #expect(try Weight.encoded(encoded).decoded() == whole)
  }

  @Test(arguments: 2...8, groupSizes)
  func bitsPerWeightIsTheStorage(bits: Int, groupSize: Int?) throws {
    for scaleType in Self.scaleTypes {
      for isSymmetric in [true, false] {
        let codec = try IntegerGroupCodec(
          bits: bits, groupSize: groupSize, isSymmetric: isSymmetric, scaleType: scaleType)
        for columns in [1, 96, 131] {
          let encoded = try codec.encode(
            FloatMatrix(zeros: 2, columns), importance: nil, search: .extremes)
          let stored = Double(encoded.byteCount * 8) / Double(2 * columns)
          #expect(codec.bitsPerWeight(columns: columns) == stored, "\(codec.canonicalName), \(columns)")
          #expect(Weight.encoded(encoded).bitsPerWeight == stored)
        }
      }
    }
    let common = try IntegerGroupCodec(bits: 4, groupSize: 128)
    #expect(common.bitsPerWeight(columns: 4096) == 4.125)
  }

  @Test func valuesOnTheGridComeBackExactly() throws {
    var generator = SeededGenerator(seed: 77)
    for bits in 2...8 {
      let codec = try IntegerGroupCodec(bits: bits, groupSize: 16, isSymmetric: false, scaleType: .f32)
      let values = (0..<64).map { index in
        let code =
          index % 16 == 0
          ? 0 : index % 16 == 1 ? codec.maximumCode : Int.random(in: 0...codec.maximumCode, using: &generator)
        return 0.25 * Float(code - 1)
      }
      let matrix = try FloatMatrix(rows: 2, columns: 32, values: values)
      for search in [ScaleSearch.extremes, .standard] {
        #expect(try codec.encode(matrix, importance: nil, search: search).decoded() == matrix, "\(bits) bits")
      }
    }
  }

  @Test func emptyMatrices() throws {
    let codec = try IntegerGroupCodec(bits: 4, groupSize: 32, isSymmetric: false)
    for (rows, columns) in [(0, 8), (3, 0), (0, 0)] {
      let encoded = try codec.encode(FloatMatrix(zeros: rows, columns), importance: nil, search: .standard)
      #expect(encoded.byteCount == 0)
      #expect(encoded.decoded().values.isEmpty)
    }
  }
}
