import Codecs
import Kernels
import TensorCore

/// Improves codes one column at a time under the second moment of the inputs, with the parameters as they are: each code
/// becomes the best one given all others. The output error `e H eᵀ` of a row never grows.
///
/// The best value of column `j` is `q + (e H)_j / H_jj`, rounded to the grid (Behdin et al. 2023, "QuantEase",
/// arXiv 2309.01885, equation 5). Columns go in blocks: the products with the second moment are computed anew for a
/// block and kept up to date inside of it, so that a pass costs one matrix product of the layer's size.
struct CoordinateDescent {
  let hessian: Hessian
  let layout: ColumnLayout
  let blockSize: Int

  /// What is improved, all `[column][row]`.
  struct State {
    let rowCount: Int
    /// Weights less what the codes stand for.
    var errors: [Float]
    var codes: [UInt8]
    var rounded: [Float]
    var grids: GridRows
  }

  /// `e H eᵀ` of each row.
  func energies(of state: State) -> [Double] {
    var products = [Float](repeating: 0, count: state.errors.count)
    fillGradient(&products, 0..<hessian.size, state)
    var sums = [Double](repeating: 0, count: state.rowCount)
    for column in 0..<hessian.size {
      for row in 0..<state.rowCount {
        let place = column * state.rowCount + row
        sums[row] += Double(products[place]) * Double(state.errors[place])
      }
    }
    return sums
  }

  /// Makes one pass over all columns.
  /// - Returns: how many codes changed.
  func pass(_ state: inout State) -> Int {
    let columns = hessian.size
    var changed = 0
    var gradient = [Float](repeating: 0, count: min(blockSize, columns) * state.rowCount)
    for start in stride(from: 0, to: columns, by: blockSize) {
      let block = start..<min(start + blockSize, columns)
      fillGradient(&gradient, block, state)
      changed += improve(block, &gradient, &state)
    }
    return changed
  }

  /// `H E` for the columns of a block, `[column in block][row]`.
  private func fillGradient(_ gradient: inout [Float], _ block: Range<Int>, _ state: State) {
    let columns = hessian.size
    unsafe hessian.values.withUnsafeBufferPointer { moments in
      unsafe state.errors.withUnsafeBufferPointer { errors in
        unsafe gradient.withUnsafeMutableBufferPointer { gradient in
          guard let moments = moments.baseAddress, let errors = errors.baseAddress,
            let target = gradient.baseAddress
          else { return }
          unsafe BLAS.multiply(
            moments + block.lowerBound * columns, lda: columns, errors, ldb: state.rowCount, m: block.count,
            n: state.rowCount, k: columns, into: target, ldc: state.rowCount)
        }
      }
    }
  }

  private func improve(_ block: Range<Int>, _ gradient: inout [Float], _ state: inout State) -> Int {
    let (columns, rowCount) = (hessian.size, state.rowCount)
    var wanted = [Float](repeating: 0, count: rowCount)
    var values = wanted
    var steps = wanted
    var codes = [UInt8](repeating: 0, count: rowCount)
    var changed = 0
    for column in block {
      let curvature = hessian.values[column * columns + column]
      guard curvature > 0 else { continue }
      let (base, offset) = (column * rowCount, (column - block.lowerBound) * rowCount)
      for row in 0..<rowCount {
        wanted[row] = state.rounded[base + row] + gradient[offset + row] / curvature
      }
      unsafe wanted.withUnsafeBufferPointer { wanted in
        unsafe codes.withUnsafeMutableBufferPointer { codes in
          unsafe values.withUnsafeMutableBufferPointer { values in
            guard let wanted = wanted.baseAddress, let codes = codes.baseAddress,
              let values = values.baseAddress
            else { return }
            unsafe state.grids.round(wanted, grid: column / layout.gridLength, codes: codes, rounded: values)
          }
        }
      }
      var moved = 0
      for row in 0..<rowCount {
        let step = values[row] - state.rounded[base + row]
        steps[row] = step
        moved += step != 0 ? 1 : 0
        state.rounded[base + row] = values[row]
        state.errors[base + row] -= step
        state.codes[base + row] = codes[row]
      }
      guard moved > 0 else { continue }
      changed += moved
      propagate(steps, column, block, &gradient)
    }
    return changed
  }

  /// Takes the step of a column out of the products of those behind it in the block.
  private func propagate(_ steps: [Float], _ column: Int, _ block: Range<Int>, _ gradient: inout [Float]) {
    let (columns, rowCount) = (hessian.size, steps.count)
    unsafe steps.withUnsafeBufferPointer { steps in
      unsafe gradient.withUnsafeMutableBufferPointer { gradient in
        for later in column + 1..<max(block.upperBound, column + 1) {
          let factor = hessian.values[column * columns + later]
          let base = (later - block.lowerBound) * rowCount
          for row in 0..<rowCount { unsafe gradient[base &+ row] -= factor * steps[row] }
        }
      }
    }
  }
}
