import Codecs
import OrderedCollections
import TensorCore
import TestSupport
import Testing

/// Reads planes bit by bit, as their description says and in no cleverer way.
enum ReferenceDecoder {
  /// The code at a position of a row of packed bytes, least significant bit first.
  static func code(_ bytes: [UInt8], at index: Int, bits: Int) -> Int {
    (0..<bits).reduce(0) { code, bit in
      let position = index * bits + bit
      return code | Int(bytes[position / 8] >> UInt8(position % 8) & 1) << bit
    }
  }

  /// All codes, row-major.
  static func codes(of matrix: EncodedMatrix, bits: Int) throws -> [Int] {
    let plane = try #require(matrix.planes["codes"])
    let bytes = try plane.integers().map { UInt8(truncatingIfNeeded: $0) }
    let rowBytes = plane.shape.columns
    return (0..<matrix.rows).flatMap { row in
      let slice = Array(bytes[row * rowBytes..<(row + 1) * rowBytes])
      return (0..<matrix.columns).map { code(slice, at: $0, bits: bits) }
    }
  }

  /// Scale and zero point of an element.
  static func grid(of matrix: EncodedMatrix, codec: IntegerGroupCodec, row: Int, column: Int) throws -> Grid {
    let scales = try #require(matrix.planes["scales"])
    let index = row * scales.shape.columns + column / (codec.groupSize ?? matrix.columns)
    let zero = try matrix.planes["zeros"].map { Int(try $0.integers()[index]) } ?? 1 << (codec.bits - 1)
    return Grid(
      scale: try scales.floats()[index], zero: Float(zero), maximumCode: Float(1 << codec.bits - 1))
  }
}

/// Seeded matrices for tests.
enum TestMatrix {
  static func normal(_ rows: Int, _ columns: Int, seed: UInt64, deviation: Float = 0.05) throws -> FloatMatrix
  {
    var generator = SeededGenerator(seed: seed)
    return try FloatMatrix(
      rows: rows, columns: columns, values: generator.normals(rows * columns).map { $0 * deviation })
  }
}
