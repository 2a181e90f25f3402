import Codecs
import TensorCore

/// Refines some rows of a layer; rows do not depend on each other.
struct RowRefinement {
  private let grids: GridMatrix
  private let columns: Int
  private let groups: Int
  private let fit: ScaleFit
  private let descent: CoordinateDescent
  private var state: CoordinateDescent.State

  struct Part: Sendable {
    var codes: [UInt8]
    var scales: [Float]
    var errorBefore: Double
    var errorAfter: Double
  }

  init(grids matrix: GridMatrix, rows: Range<Int>, weights: FloatMatrix, hessian: Hessian) {
    let (count, columns, groups) = (rows.count, matrix.columns, matrix.groupCount)
    grids = matrix
    self.columns = columns
    self.groups = groups
    func transposed<Value>(_ values: [Value], zero: Value) -> [Value] {
      var result = [Value](repeating: zero, count: columns * count)
      for (index, row) in rows.enumerated() {
        for column in 0..<columns { result[column * count + index] = values[row * columns + column] }
      }
      return result
    }
    let target = transposed(weights.values, zero: 0)
    var gridRows = GridRows(rowCount: count, gridCount: groups, levels: .steps)
    gridRows.set(matrix.grids(rows: rows), first: 0)
    fit = ScaleFit(hessian: hessian, groupLength: matrix.groupLength, target: target, rowCount: count)
    descent = CoordinateDescent(
      hessian: hessian, layout: ColumnLayout(fitLength: matrix.groupLength, gridLength: matrix.groupLength),
      blockSize: 64)
    state = CoordinateDescent.State(
      rowCount: count, errors: target, codes: transposed(matrix.codes, zero: 0), rounded: target,
      grids: gridRows)
    decode(0..<count)
  }

  /// Sweeps and fits. Sweeps never make a row worse; a fit that does, because scales are rounded to be stored, is undone.
  mutating func run(sweeps: Int, rounds: Int) -> Part {
    var energies = descent.energies(of: state)
    let before = energies.reduce(0, +)
    for _ in 0..<rounds {
      for _ in 0..<sweeps { guard descent.pass(&state) > 0 else { break } }
      energies = descent.energies(of: state)
      let swept = state.grids
      fitScales()
      let fitted = descent.energies(of: state)
      let undone = fitted.indices.filter { fitted[$0] >= energies[$0] }
      for row in undone {
        for group in 0..<groups {
          let place = group * state.rowCount + row
          state.grids.setScale(swept.scales[place], at: place)
        }
      }
      decode(undone)
      for row in fitted.indices { energies[row] = min(energies[row], fitted[row]) }
    }
    return part(errorBefore: before, errorAfter: energies.reduce(0, +))
  }

  private mutating func fitScales() {
    let scales = fit.scales(codes: state.codes, grids: state.grids)
    for (place, scale) in scales.enumerated() {
      let old = state.grids.scales[place]
      guard let scale, let stored = grids.storable(scale), (stored < 0) == (old < 0) else { continue }
      state.grids.setScale(stored, at: place)
    }
    decode(0..<state.rowCount)
  }

  /// Computes what the codes of some rows stand for, and what that leaves of the weights.
  private mutating func decode(_ rows: some Sequence<Int>) {
    for column in 0..<columns {
      for row in rows {
        let place = column * state.rowCount + row
        let value = state.grids.value(state.codes[place], grid: column / grids.groupLength, row: row)
        state.rounded[place] = value
        state.errors[place] = fit.target[place] - value
      }
    }
  }

  private func part(errorBefore: Double, errorAfter: Double) -> Part {
    let count = state.rowCount
    var part = Part(
      codes: [UInt8](repeating: 0, count: state.codes.count),
      scales: [Float](repeating: 0, count: groups * count), errorBefore: errorBefore, errorAfter: errorAfter)
    for row in 0..<count {
      for column in 0..<columns { part.codes[row * columns + column] = state.codes[column * count + row] }
      for group in 0..<groups { part.scales[row * groups + group] = state.grids.scales[group * count + row] }
    }
    return part
  }
}
