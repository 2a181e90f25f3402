import TensorCore

/// Squared errors of rows over the squares of what the rows should be.
///
/// The few tokens that models give values a hundred times larger than all others (Sun et al. 2024, "Massive Activations in Large
/// Language Models", arXiv 2402.17762) would otherwise be most of the error, although the next norm divides by their size.
package enum RelativeError {
  /// Sum over rows of `|output - target|² / |target|²`; rows that should be zero count nothing.
  package static func sum(_ output: FloatMatrix, _ target: FloatMatrix) -> Double {
    (0..<output.rows).reduce(0.0) { sum, row in
      let range = row * output.columns..<(row + 1) * output.columns
      let size = squares(target, range)
      guard size != 0 else { return sum }
      var error = 0.0
      for index in range {
        let difference = Double(output.values[index]) - Double(target.values[index])
        error += difference * difference
      }
      return sum + error / size
    }
  }

  /// `factor` times the gradient of ``sum(_:_:)`` with respect to the output.
  package static func gradient(
    _ output: FloatMatrix, _ target: FloatMatrix, factor: Double = 1
  ) -> FloatMatrix {
    var result = output
    for row in 0..<output.rows {
      let range = row * output.columns..<(row + 1) * output.columns
      let size = squares(target, range)
      let scale = size == 0 ? 0 : Float(2 * factor / size)
      for index in range { result.values[index] = scale * (output.values[index] - target.values[index]) }
    }
    return result
  }

  private static func squares(_ matrix: FloatMatrix, _ range: Range<Int>) -> Double {
    range.reduce(0.0) { $0 + Double(matrix.values[$1]) * Double(matrix.values[$1]) }
  }
}
