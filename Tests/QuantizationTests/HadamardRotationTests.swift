import Kernels
import Quantization
import TensorCore
import TestSupport
import Testing

@Suite struct HadamardRotationTests {
  private let pool = ThreadPool(threadCount: 2, isPinned: false)

  private func identity(_ size: Int) throws -> FloatMatrix {
    try FloatMatrix(
      rows: size, columns: size, values: (0..<size * size).map { $0 / size == $0 % size ? 1 : 0 })
  }

  /// Sizes of powers of two, of Paley's matrices and multiples of them, and such as have to be cut.
  @Test(arguments: [
    (1, 1), (2, 2), (8, 8), (12, 12), (20, 20), (24, 24), (40, 40), (64, 64), (96, 96), (112, 16), (288, 288),
    (36, 12), (15, 1), (768, 768),
  ])
  func isOrthogonalWithEqualElements(size: Int, block: Int) throws {
    for seed in [nil, 7] as [UInt64?] {
      let rotation = HadamardRotation(size: size, seed: seed)
      #expect(rotation.blockSize == block)
      let matrix = rotation.columnsRotated(try identity(size), pool: pool)
      let expected = 1 / Float(block).squareRoot()
      for row in 0..<size {
        for column in 0..<size {
          let found = abs(matrix[row, column])
          #expect(abs(found - (row / block == column / block ? expected : 0)) < 1e-6)
        }
      }
      for row in 0..<min(size, 50) {
        for other in 0...row {
          let product = (0..<size).reduce(0.0) { $0 + Double(matrix[row, $1]) * Double(matrix[other, $1]) }
          #expect(abs(product - (row == other ? 1 : 0)) < 1e-5, "rows \(row) and \(other) of \(size)")
        }
      }
    }
  }

  @Test func rowsAndColumnsUndoEachOther() throws {
    // (R' W)(x) with x R read back: y = (V R)(R' W x) = V W x.
    let size = 24
    let rotation = HadamardRotation(size: size, seed: 3)
    var generator = SeededGenerator(seed: 5)
    let writer = try FloatMatrix(rows: size, columns: 10, values: generator.normals(size * 10))
    let reader = try FloatMatrix(rows: 7, columns: size, values: generator.normals(7 * size))
    let (turnedWriter, turnedReader) = (
      try rotation.rowsRotated(writer, pool: pool), rotation.columnsRotated(reader, pool: pool)
    )
    #expect(turnedWriter != writer && turnedReader != reader)
    func product(_ a: FloatMatrix, _ b: FloatMatrix) -> [Float] {
      (0..<a.rows * b.columns).map { place in
        (0..<a.columns).reduce(Float(0)) {
          $0 + a[place / b.columns, $1] * b[$1, place % b.columns]
        }
      }
    }
    for (left, right) in zip(product(turnedReader, turnedWriter), product(reader, writer)) {
      #expect(abs(left - right) < 1e-4)
    }
  }

  @Test func heavyColumnsAreSpread() throws {
    let size = 768
    var values = [Float](repeating: 0.01, count: size)
    values[17] = 10
    let turned = HadamardRotation(size: size, seed: 1)
      .columnsRotated(try FloatMatrix(rows: 1, columns: size, values: values), pool: pool).values
    let largest = turned.reduce(0) { max($0, abs($1)) }
    #expect(largest < 0.7, "\(largest)")
    let energies = [values, turned].map { $0.reduce(0) { $0 + $1 * $1 } }
    #expect(abs(energies[0] - energies[1]) < 1e-3 * energies[0])
  }

  @Test func seedsDiffer() throws {
    let matrices = [nil, 0, 1].map { (seed: UInt64?) in
      HadamardRotation(size: 16, seed: seed)
    }
    let rows = try matrices.map { $0.columnsRotated(try identity(16), pool: pool) }
    #expect(rows[0] != rows[1] && rows[1] != rows[2])
  }
}
