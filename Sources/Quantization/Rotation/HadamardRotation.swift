import Kernels
import TensorCore

/// An orthogonal matrix `R` that spreads what one column holds over all of them: random signs, then a Hadamard matrix divided by
/// the root of its size.
///
/// Sizes are cut into equal blocks, as large as there is a matrix for: `m * 2^k`, where `m` is 1 or `q + 1` for a prime `q` that
/// leaves 3 when divided by 4 (Paley 1933, "On Orthogonal Matrices"). Products are computed in float64.
public struct HadamardRotation: Sendable, Equatable {
  /// Rows and columns.
  public let size: Int
  /// Columns that are mixed with each other.
  public let blockSize: Int
  /// Size `m` of the matrix at the core of a block.
  let coreSize: Int
  private let core: [Double]
  private let signs: [Double]

  /// Makes the rotation of a size.
  /// - Parameter seed: which signs; nil for none, so that it is the plain Hadamard matrix.
  public init(size: Int, seed: UInt64?) {
    self.size = size
    (blockSize, coreSize) = Self.block(of: size)
    core = Self.paley(coreSize)
    var state = seed ?? 0
    signs = (0..<size).map { _ in seed == nil ? 1 : Self.next(&state) >> 63 == 0 ? 1 : -1 }
  }

  /// The largest block that divides a size, and its core.
  static func block(of size: Int) -> (block: Int, core: Int) {
    for block in stride(from: size, to: 1, by: -1) where size.isMultiple(of: block) {
      var core = block
      while core.isMultiple(of: 2) {
        if core >= 4, core.isMultiple(of: 4), isPrime(core - 1), core & (core - 1) != 0 {
          return (block, core)
        }
        core /= 2
      }
      if core == 1 { return (block, 1) }
    }
    return (1, 1)
  }

  private static func isPrime(_ number: Int) -> Bool {
    guard number > 1 else { return false }
    var divisor = 2
    while divisor * divisor <= number {
      if number.isMultiple(of: divisor) { return false }
      divisor += 1
    }
    return true
  }

  /// `I + S` with `S` made of the quadratic residues modulo `size - 1`; row-major.
  private static func paley(_ size: Int) -> [Double] {
    guard size > 1 else { return [1] }
    let prime = size - 1
    let residues = Set((1..<prime).map { $0 * $0 % prime })
    return (0..<size * size).map { place in
      let (row, column) = (place / size, place % size)
      if row == column { return 1 }
      if row == 0 { return 1 }
      if column == 0 { return -1 }
      return residues.contains((row - column + prime) % prime) ? 1 : -1
    }
  }

  /// SplitMix64 (Steele et al. 2014): the same signs everywhere.
  private static func next(_ state: inout UInt64) -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var bits = state
    bits = (bits ^ (bits >> 30)) &* 0xBF58_476D_1CE4_E5B9
    bits = (bits ^ (bits >> 27)) &* 0x94D0_49BB_1331_11EB
    return bits ^ (bits >> 31)
  }

  /// `v R` for one row.
  func rotate(_ row: inout [Double]) {
    for index in row.indices { row[index] *= signs[index] }
    let factor = 1 / Double(blockSize).squareRoot()
    for start in stride(from: 0, to: size, by: blockSize) { rotateBlock(&row, start, factor) }
  }

  private func rotateBlock(_ row: inout [Double], _ start: Int, _ factor: Double) {
    // The Kronecker product of a matrix of powers of two and the core: first across runs of `coreSize`, then within.
    var half = coreSize
    while half < blockSize {
      for group in stride(from: start, to: start + blockSize, by: 2 * half) {
        for index in group..<group + half {
          let (a, b) = (row[index], row[index + half])
          (row[index], row[index + half]) = (a + b, a - b)
        }
      }
      half *= 2
    }
    var result = [Double](repeating: 0, count: coreSize)
    for run in stride(from: start, to: start + blockSize, by: coreSize) {
      for column in 0..<coreSize { result[column] = 0 }
      for inner in 0..<coreSize {
        let value = row[run + inner] * factor
        for column in 0..<coreSize { result[column] += value * core[inner * coreSize + column] }
      }
      for column in 0..<coreSize { row[run + column] = result[column] }
    }
  }

  /// The columns of a weight, in runs of `size`, turned: `W R`. What reads `x R` instead of `x` then computes the same.
  public func columnsRotated(_ weights: FloatMatrix, pool: ThreadPool) -> FloatMatrix {
    let columns = weights.columns
    let parts = RowChunks.map(rows: weights.rows, pool: pool) { rows in
      var result: [Float] = []
      result.reserveCapacity(rows.count * columns)
      var run = [Double](repeating: 0, count: size)
      for start in stride(from: rows.lowerBound * columns, to: rows.upperBound * columns, by: size) {
        for index in 0..<size { run[index] = Double(weights.values[start + index]) }
        rotate(&run)
        for value in run { result.append(Float(value)) }
      }
      return result
    }
    var result = weights
    result.values = parts.flatMap { $0 }
    return result
  }

  /// The rows of a weight, in runs of `size`, turned: `Rᵀ W`, whose products are `y R` instead of `y`.
  public func rowsRotated(_ weights: FloatMatrix, pool: ThreadPool) throws(TensorCoreError) -> FloatMatrix {
    try columnsRotated(weights.transposed(), pool: pool).transposed()
  }
}

extension FloatMatrix {
  fileprivate func transposed() throws(TensorCoreError) -> FloatMatrix {
    var turned = [Float](repeating: 0, count: values.count)
    for row in 0..<rows {
      for column in 0..<columns { turned[column * rows + row] = values[row * columns + column] }
    }
    return try FloatMatrix(rows: columns, columns: rows, values: turned)
  }
}
