/// A small symmetric positive definite system in float64.
enum PositiveSystem {
  /// Solves `matrix * x = side`, row-major; nil when the matrix is not positive definite.
  static func solve(_ matrix: [Double], _ side: [Double]) -> [Double]? {
    let size = side.count
    var factor = matrix
    var result = side
    for column in 0..<size {
      var diagonal = factor[column * size + column]
      for index in 0..<column { diagonal -= factor[column * size + index] * factor[column * size + index] }
      guard diagonal > 0 else { return nil }
      diagonal = diagonal.squareRoot()
      factor[column * size + column] = diagonal
      for row in column + 1..<max(size, column + 1) {
        var sum = factor[row * size + column]
        for index in 0..<column { sum -= factor[row * size + index] * factor[column * size + index] }
        factor[row * size + column] = sum / diagonal
      }
    }
    for row in 0..<size {
      for index in 0..<row { result[row] -= factor[row * size + index] * result[index] }
      result[row] /= factor[row * size + row]
    }
    for row in (0..<size).reversed() {
      for index in row + 1..<max(size, row + 1) { result[row] -= factor[index * size + row] * result[index] }
      result[row] /= factor[row * size + row]
    }
    return result
  }
}
