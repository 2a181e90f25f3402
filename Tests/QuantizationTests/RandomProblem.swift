import Codecs
import OrderedCollections
import Quantization
import TensorCore
import TestSupport

/// Seeded layers whose inputs are correlated, as real ones are.
enum RandomProblem {
  /// Inputs of `tokens` tokens: a few common directions, noise, and columns of different sizes; `dead` ones are zero.
  static func inputs(columns: Int, tokens: Int, seed: UInt64, dead: Set<Int> = []) -> [[Double]] {
    var generator = SeededGenerator(seed: seed)
    let directions = (0..<4).map { _ in generator.normals(columns) }
    let sizes = (0..<columns).map { _ in Double(Float.random(in: 0.2..<2, using: &generator)) }
    return (0..<tokens).map { _ in
      let strengths = generator.normals(4)
      let noise = generator.normals(columns)
      return (0..<columns).map { column in
        guard !dead.contains(column) else { return 0 }
        let common = (0..<4).reduce(Float(0)) { $0 + strengths[$1] * directions[$1][column] }
        return sizes[column] * Double(common + 0.3 * noise[column])
      }
    }
  }

  /// The mean of `x xᵀ`, exactly symmetric.
  static func hessian(columns: Int, tokens: Int, seed: UInt64, dead: Set<Int> = []) throws -> Hessian {
    let inputs = inputs(columns: columns, tokens: tokens, seed: seed, dead: dead)
    var values = [Float](repeating: 0, count: columns * columns)
    for row in 0..<columns {
      for column in 0...row {
        let sum = inputs.reduce(0.0) { $0 + $1[row] * $1[column] }
        values[row * columns + column] = Float(sum / Double(tokens))
        values[column * columns + row] = values[row * columns + column]
      }
    }
    return try Hessian(size: columns, values: values, tokenCount: tokens)
  }

  /// A Hessian with one value on the diagonal and another beside it.
  static func hessian(columns: Int, diagonal: Float, other: Float) throws -> Hessian {
    let values = (0..<columns * columns).map { $0 / columns == $0 % columns ? diagonal : other }
    return try Hessian(size: columns, values: values, tokenCount: 10)
  }

  static func weights(rows: Int, columns: Int, seed: UInt64) throws -> FloatMatrix {
    var generator = SeededGenerator(seed: seed &+ 0xABCD)
    return try FloatMatrix(
      rows: rows, columns: columns, values: generator.normals(rows * columns).map { $0 * 0.05 })
  }

  /// A layer whose inputs are correlated.
  static func correlated(
    rows: Int, columns: Int, seed: UInt64, tokens: Int? = nil, dead: Set<Int> = []
  ) throws -> LayerProblem {
    LayerProblem(
      name: "layer", weights: try weights(rows: rows, columns: columns, seed: seed),
      hessian: try hessian(columns: columns, tokens: tokens ?? 4 * columns, seed: seed, dead: dead))
  }
}

extension EncodedMatrix {
  /// All planes' bytes, one after another.
  var planeBytes: [UInt8] {
    planes.values.flatMap { plane in unsafe plane.withBytes { unsafe Array($0) } }
  }

  /// Codes of an integer codec, row by row.
  func codeRows(_ codec: IntegerGroupCodec) -> [[Int]] {
    let codes = codec.unpacked(self, rows: 0..<rows).codes
    return (0..<rows).map { codes[$0 * columns..<($0 + 1) * columns].map(Int.init) }
  }
}
