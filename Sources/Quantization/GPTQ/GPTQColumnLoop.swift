import Codecs
import Kernels
import TensorCore

/// The loop of GPTQ over the columns of some rows. Rows do not depend on each other, so chunks of rows run in
/// parallel and each result is a function of its rows alone.
///
/// Working values are kept transposed, `[column][row]`, so that the work on one column is contiguous.
struct GPTQColumnLoop {
  let method: GPTQ
  let codec: any GridCodec
  let weights: FloatMatrix
  let hessian: Hessian
  let order: ColumnOrder
  /// Upper factor of the inverse, in `order`, row-major.
  let inverse: [Float]

  /// What became of some rows.
  struct Part: Sendable {
    var codes: [UInt8]
    var grids: [Grid]
    var error: Double
    var roundingError: Double
    var roundedRowCount: Int
  }

  private var columns: Int { weights.columns }
  private var groupLength: Int { codec.groupLength(columns: columns) }
  private var groupCount: Int { Checked.ceilingQuotient(columns, groupLength) }

  /// No group begins inside a block that began before it, unless all of it lies in that block: its scale is chosen from
  /// values that are up to date. Blocks hold whole groups, or long groups are cut into blocks.
  private var blocks: [Range<Int>] {
    let length = groupLength
    let wanted = max(1, method.blockSize)
    let whole = length <= 1024 ? Checked.ceilingQuotient(wanted, length) * length : wanted
    var blocks: [Range<Int>] = []
    while let start = blocks.last?.upperBound ?? (columns > 0 ? 0 : nil), start < columns {
      let groupEnd = length <= 1024 ? columns : (start / length + 1) * length
      blocks.append(start..<min(start + whole, groupEnd, columns))
    }
    return blocks
  }

  func run(rows: Range<Int>) -> Part {
    var rounded = GridRounding(codec: codec, columns: columns).round(
      weights.values.span, rows: rows, importance: hessian.diagonal, search: method.scaleSearch)
    clearDeadColumns(&rounded, rowCount: rows.count)
    let blocks = blocks
    var state = State(loop: self, rows: rows, blockLength: blocks.map(\.count).max() ?? 0)
    if method.staticGroups || !order.isNatural { state.grids = rounded.grids }
    for block in blocks {
      roundBlock(block, &state)
      updateRemaining(block, &state)
    }
    return keepBetter(state, rounded, rows)
  }

  private func clearDeadColumns(_ part: inout GridRounding.Part, rowCount: Int) {
    for column in 0..<columns where order.dead[column] {
      for row in 0..<rowCount {
        part.codes[row * columns + column] = UInt8(part.grids[row * groupCount + column / groupLength].zero)
      }
    }
  }

  private struct State {
    let rowCount: Int
    /// `[step][row]`, dead columns zero.
    var values: [Float]
    /// `[row][column]` in natural order.
    var codes: [UInt8]
    /// `[row][group]`.
    var grids: [Grid]
    /// `[step in block][row]`.
    var errors: [Float]

    init(loop: GPTQColumnLoop, rows: Range<Int>, blockLength: Int) {
      rowCount = rows.count
      let columns = loop.columns
      values = [Float](repeating: 0, count: columns * rows.count)
      for (step, column) in loop.order.columns.enumerated() where !loop.order.dead[column] {
        for row in 0..<rows.count {
          values[step * rows.count + row] = loop.weights.values[(rows.lowerBound + row) * columns + column]
        }
      }
      codes = [UInt8](repeating: 0, count: columns * rows.count)
      grids = [Grid](
        repeating: Grid(scale: 1, zero: 0, maximumCode: 1), count: rows.count * loop.groupCount)
      errors = [Float](repeating: 0, count: blockLength * rows.count)
    }
  }

  private func roundBlock(_ block: Range<Int>, _ state: inout State) {
    let rowCount = state.rowCount
    let fixedGrids = method.staticGroups || !order.isNatural
    for step in block {
      let column = order.columns[step]
      if !fixedGrids, column % groupLength == 0 { fitGroup(column / groupLength, &state) }
      let diagonal = 1 / inverse[step * columns + step]
      for row in 0..<rowCount {
        let grid = state.grids[row * groupCount + column / groupLength]
        let value = state.values[step * rowCount + row]
        let code = grid.code(value)
        state.codes[row * columns + column] = UInt8(code)
        state.errors[(step - block.lowerBound) * rowCount + row] = (value - grid.value(code)) * diagonal
      }
      compensate(step, in: block, &state)
    }
  }

  /// Subtracts the error of `step` from the columns of the block that are still to come.
  private func compensate(_ step: Int, in block: Range<Int>, _ state: inout State) {
    let rowCount = state.rowCount
    unsafe state.errors.withUnsafeBufferPointer { errors in
      unsafe state.values.withUnsafeMutableBufferPointer { values in
        let error = (step - block.lowerBound) * rowCount
        for later in step + 1..<max(block.upperBound, step + 1) {
          let factor = inverse[step * columns + later]
          let base = later * rowCount
          for row in 0..<rowCount { unsafe values[base &+ row] -= factor * errors[error &+ row] }
        }
      }
    }
  }

  /// Subtracts the errors of a block from all columns after it, in one matrix product.
  private func updateRemaining(_ block: Range<Int>, _ state: inout State) {
    let remaining = columns - block.upperBound
    guard remaining > 0 else { return }
    let rowCount = state.rowCount
    unsafe inverse.withUnsafeBufferPointer { inverse in
      unsafe state.errors.withUnsafeBufferPointer { errors in
        unsafe state.values.withUnsafeMutableBufferPointer { values in
          guard let factor = inverse.baseAddress, let error = errors.baseAddress,
            let target = values.baseAddress
          else { return }
          unsafe BLAS.multiply(
            factor + block.lowerBound * columns + block.upperBound, lda: columns, transposingA: true, error,
            ldb: rowCount, m: remaining, n: rowCount, k: block.count, alpha: -1, beta: 1,
            into: target + block.upperBound * rowCount, ldc: rowCount)
        }
      }
    }
  }

  private func fitGroup(_ group: Int, _ state: inout State) {
    let range = group * groupLength..<min((group + 1) * groupLength, columns)
    let diagonal = hessian.diagonalSlice(range)
    var values = [Float](repeating: 0, count: range.count)
    for row in 0..<state.rowCount {
      for (index, column) in range.enumerated() {
        values[index] = state.values[column * state.rowCount + row]
      }
      state.grids[row * groupCount + group] = codec.fitGrid(
        values.span, importance: diagonal.span, search: method.scaleSearch)
    }
  }

  /// Takes for every row whichever of GPTQ and rounding has the smaller output error; rounding when GPTQ's values
  /// or scales left the range of float32.
  private func keepBetter(_ state: State, _ rounded: GridRounding.Part, _ rows: Range<Int>) -> Part {
    let form = QuadraticForm(hessian: hessian, importance: nil)
    let found = form.energies(residual(state.codes, state.grids, rows), columns: columns)
    let plain = form.energies(residual(rounded.codes, rounded.grids, rows), columns: columns)
    var part = Part(
      codes: state.codes, grids: state.grids, error: 0, roundingError: plain.reduce(0, +), roundedRowCount: 0)
    for row in 0..<rows.count {
      if found[row] <= plain[row] {
        part.error += found[row]
        continue
      }
      part.error += plain[row]
      part.roundedRowCount += 1
      part.codes.replaceSubrange(
        row * columns..<(row + 1) * columns, with: rounded.codes[row * columns..<(row + 1) * columns])
      part.grids.replaceSubrange(
        row * groupCount..<(row + 1) * groupCount,
        with: rounded.grids[row * groupCount..<(row + 1) * groupCount])
    }
    return part
  }

  private func residual(_ codes: [UInt8], _ grids: [Grid], _ rows: Range<Int>) -> [Float] {
    var residual = [Float](repeating: 0, count: codes.count)
    for row in 0..<rows.count {
      for column in 0..<columns {
        let grid = grids[row * groupCount + column / groupLength]
        let index = row * columns + column
        residual[index] =
          weights.values[(rows.lowerBound + row) * columns + column] - grid.value(Float(codes[index]))
      }
    }
    return residual
  }
}

extension Hessian {
  /// Mean squares of a range of inputs.
  func diagonalSlice(_ range: Range<Int>) -> [Float] { range.map { values[$0 * size + $0] } }
}
