import Codecs
import Kernels
import TensorCore

/// The loop of GPTQ over the columns of some rows. Rows do not depend on each other, so chunks of rows run in
/// parallel and each result is a function of its rows alone.
///
/// Working values are kept transposed, `[step][row]`, so that the work on one column is contiguous.
struct GPTQColumnLoop {
  let method: GPTQ
  let codec: any ColumnwiseCodec
  let layout: ColumnLayout
  /// Dead columns are zero.
  let weights: FloatMatrix
  let sharedScale: Float?
  /// The whole matrix, rounded, where rows share parameters.
  let whole: FittedRows?
  let hessian: Hessian
  let diagonal: [Float]
  let order: ColumnOrder
  /// Upper factor of the inverse, in `order`, row-major.
  let inverse: [Float]

  /// What became of some rows.
  struct Part: Sendable {
    var rows: FittedRows
    var error: Double
    var roundingError: Double
    var roundedRowCount: Int
  }

  private var columns: Int { weights.columns }
  private var gridCount: Int { layout.gridCount(columns: columns) }
  private var fitsAreStatic: Bool { method.staticGroups || !order.keepsFits || whole != nil }

  /// Steps between two updates of all remaining columns. No fit begins inside a block unless all of it lies in that
  /// block: its parameters are chosen from values that are up to date.
  private var blocks: [Range<Int>] {
    let wanted = max(1, method.blockSize)
    var blocks: [Range<Int>] = []
    var step = 0
    while step < columns {
      var end = step
      if fitsAreStatic {
        end = min(step + wanted, columns)
      } else {
        while end < columns, end - step < wanted {
          let fit = fitColumns(order.columns[end] / layout.fitLength)
          guard end == step || end + fit.count - step <= wanted else { break }
          end += fit.count
        }
      }
      for start in stride(from: step, to: end, by: wanted) { blocks.append(start..<min(start + wanted, end)) }
      step = end
    }
    return blocks
  }

  private func fitColumns(_ fit: Int) -> Range<Int> {
    fit * layout.fitLength..<min((fit + 1) * layout.fitLength, columns)
  }

  func run(rows: Range<Int>) throws(CodecError) -> Part {
    let live = weights.selecting(rows: rows)
    let rounded = try round(live, rows)
    var state = State(loop: self, live: live)
    if fitsAreStatic {
      state.grids.set(rounded.grids, first: 0)
      state.fits[0] = rounded.fits.first
    }
    var begun = Set<Int>()
    for block in blocks {
      try roundBlock(block, &state, &begun, live)
      updateRemaining(block, &state)
    }
    descend(&state, live)
    return try keepBetter(state, rounded, live)
  }

  /// Sweeps of coordinate descent on the codes found; groups with free scales are refined later, scales and all.
  private func descend(_ state: inout State, _ live: FloatMatrix) {
    guard method.refinementSweeps > 0,
      !(codec is any UniformGroupCodec && codec.levels.areSteps && layout.fitLength == layout.gridLength)
    else { return }
    var errors = [Float](repeating: 0, count: live.values.count)
    for column in 0..<columns {
      for row in 0..<live.rows {
        errors[column * live.rows + row] =
          live.values[row * columns + column] - state.rounded[column * live.rows + row]
      }
    }
    let descent = CoordinateDescent(hessian: hessian, layout: layout, blockSize: 64)
    var current = CoordinateDescent.State(
      rowCount: live.rows, errors: errors, codes: state.codes, rounded: state.rounded, grids: state.grids)
    for _ in 0..<method.refinementSweeps {
      guard descent.pass(&current) > 0 else { break }
    }
    state.codes = current.codes
    state.rounded = current.rounded
  }

  /// Plain rounding of the rows.
  private struct Rounded {
    var fits: [EncodedMatrix]
    var grids: [Grid]
    var codes: [UInt8]
    var residual: [Float]
  }

  private func round(_ live: FloatMatrix, _ rows: Range<Int>) throws(CodecError) -> Rounded {
    let fit: EncodedMatrix
    var range = 0..<rows.count
    if let whole = whole?.fits.first {
      (fit, range) = (whole, rows)
    } else {
      fit = try codec.fit(live, sharedScale: sharedScale, importance: diagonal, search: method.scaleSearch)
    }
    let grids = codec.grids(of: fit)[range.lowerBound * gridCount..<range.upperBound * gridCount]
    let codes = (whole?.codes ?? codec.codes(of: fit))[
      range.lowerBound * columns..<range.upperBound * columns]
    var residual = [Float](repeating: 0, count: live.values.count)
    unsafe residual.withUnsafeMutableBufferPointer { target in
      unsafe codec.decode(fit, rows: range, into: target)
    }
    for index in residual.indices { residual[index] = live.values[index] - residual[index] }
    return Rounded(fits: [fit], grids: Array(grids), codes: Array(codes), residual: residual)
  }

  struct State {
    let rowCount: Int
    /// `[step][row]`.
    var values: [Float]
    /// `[column][row]`.
    var codes: [UInt8]
    /// What the codes stand for, `[column][row]`.
    var rounded: [Float]
    var grids: GridRows
    /// Parameters; one alone when they are static.
    var fits: [EncodedMatrix?]
    /// `[step in block][row]`.
    var errors: [Float]

    init(loop: GPTQColumnLoop, live: FloatMatrix) {
      rowCount = live.rows
      let columns = loop.columns
      values = [Float](repeating: 0, count: live.values.count)
      for (step, column) in loop.order.columns.enumerated() {
        for row in 0..<live.rows { values[step * live.rows + row] = live.values[row * columns + column] }
      }
      codes = [UInt8](repeating: 0, count: values.count)
      rounded = [Float](repeating: 0, count: values.count)
      grids = GridRows(rowCount: live.rows, gridCount: loop.gridCount, levels: loop.codec.levels)
      fits = Array(
        repeating: nil,
        count: loop.fitsAreStatic ? 1 : Checked.ceilingQuotient(columns, loop.layout.fitLength))
      errors = [Float](repeating: 0, count: max(1, loop.method.blockSize) * live.rows)
    }
  }

  private func roundBlock(
    _ block: Range<Int>, _ state: inout State, _ begun: inout Set<Int>, _ live: FloatMatrix
  ) throws(CodecError) {
    let rowCount = state.rowCount
    for step in block {
      let column = order.columns[step]
      let fit = column / layout.fitLength
      if !fitsAreStatic, begun.insert(fit).inserted {
        try chooseParameters(fit, firstStep: step, &state, live)
      }
      let grids = state.grids
      unsafe state.codes.withUnsafeMutableBufferPointer { codes in
        unsafe state.rounded.withUnsafeMutableBufferPointer { rounded in
          unsafe state.values.withUnsafeBufferPointer { values in
            unsafe state.errors.withUnsafeMutableBufferPointer { errors in
              guard let codes = codes.baseAddress, let rounded = rounded.baseAddress,
                let values = values.baseAddress, let errors = errors.baseAddress
              else { return }
              let place = column * rowCount
              unsafe grids.round(
                values + step * rowCount, grid: column / layout.gridLength, codes: codes + place,
                rounded: rounded + place)
              let diagonal = 1 / inverse[step * columns + step]
              let error = unsafe errors + (step - block.lowerBound) * rowCount
              for row in 0..<rowCount {
                unsafe error[row] = (values[step * rowCount + row] - rounded[place + row]) * diagonal
              }
            }
          }
        }
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

  /// Fits parameters to the values of a fit as they are now. The weight of an error is what it costs after the columns
  /// behind it have compensated it: `1 / U²` (Frantar et al. 2022, equation 3), the diagonal of the second moment if asked.
  private func chooseParameters(
    _ fit: Int, firstStep: Int, _ state: inout State, _ live: FloatMatrix
  ) throws(CodecError) {
    let range = fitColumns(fit)
    let rowCount = state.rowCount
    var part = FloatMatrix(zeros: rowCount, range.count)
    var weights = [Float](repeating: 0, count: range.count)
    for step in firstStep..<firstStep + range.count {
      let column = order.columns[step] - range.lowerBound
      for row in 0..<rowCount {
        part.values[row * range.count + column] = state.values[step * rowCount + row]
      }
      let factor = inverse[step * columns + step]
      weights[column] = method.fitWeights == .factor ? 1 / (factor * factor) : diagonal[order.columns[step]]
    }
    let fitted = try fitted(part, range, weights, live: live)
    state.grids.set(codec.grids(of: fitted), first: range.lowerBound / layout.gridLength)
    state.fits[fit] = fitted
  }

  /// Compensation can push weights beyond what scales reach; parameters are then those of the weights themselves, and the
  /// rows are compared with rounding as all are.
  private func fitted(
    _ part: FloatMatrix, _ range: Range<Int>, _ importance: [Float], live: FloatMatrix
  ) throws(CodecError) -> EncodedMatrix {
    do throws(CodecError) {
      return try codec.fit(
        part, sharedScale: sharedScale, importance: importance, search: method.scaleSearch)
    } catch {
      var original = FloatMatrix(zeros: live.rows, range.count)
      for row in 0..<live.rows {
        for column in range { original[row, column - range.lowerBound] = live[row, column] }
      }
      return try codec.fit(
        original, sharedScale: sharedScale, importance: importance, search: method.scaleSearch)
    }
  }

  /// Takes for every row whichever of GPTQ and rounding has the smaller output error; rounding when GPTQ's values
  /// or scales left the range of float32.
  private func keepBetter(_ state: State, _ rounded: Rounded, _ live: FloatMatrix) throws(CodecError) -> Part
  {
    let rowCount = live.rows
    var found = FittedRows(
      fits: state.fits.compactMap { $0 }, codes: [UInt8](repeating: 0, count: state.codes.count))
    var residual = live.values
    for column in 0..<columns {
      for row in 0..<rowCount {
        found.codes[row * columns + column] = state.codes[column * rowCount + row]
        residual[row * columns + column] -= state.rounded[column * rowCount + row]
      }
    }
    let form = QuadraticForm(hessian: hessian, importance: nil)
    let errors = form.energies(residual, columns: columns)
    let plain = form.energies(rounded.residual, columns: columns)
    let worse = (0..<rowCount).filter { !(errors[$0] <= plain[$0]) }
    let error = (0..<rowCount).reduce(0.0) { $0 + (errors[$1] <= plain[$1] ? errors[$1] : plain[$1]) }
    if whole != nil || worse.isEmpty {
      for row in worse {
        found.codes.replaceSubrange(
          row * columns..<(row + 1) * columns, with: rounded.codes[row * columns..<(row + 1) * columns])
      }
    } else {
      let choices = [
        try found.assembled(by: codec, rows: rowCount, columns: columns),
        try codec.assemble(rounded.fits, rows: rowCount, columns: columns, codes: rounded.codes),
      ]
      let joined = try EncodedMatrix.joined(rows: choices)
        .selecting(rows: (0..<rowCount).map { worse.contains($0) ? $0 + rowCount : $0 })
      found = FittedRows(fits: [joined], codes: codec.codes(of: joined))
    }
    return Part(rows: found, error: error, roundingError: plain.reduce(0, +), roundedRowCount: worse.count)
  }
}
