import Codecs

/// Grids of some rows as the work on one column wants them: `[grid][row]`, each number in an array of its own.
struct GridRows {
  let rowCount: Int
  private(set) var scales: [Float]
  private(set) var inverses: [Float]
  private(set) var zeros: [Float]
  private(set) var offsets: [Float]
  private(set) var maximumCodes: [Float]
  let levels: CodeLevels

  init(rowCount: Int, gridCount: Int, levels: CodeLevels) {
    self.rowCount = rowCount
    self.levels = levels
    scales = [Float](repeating: 0, count: rowCount * gridCount)
    inverses = scales
    zeros = scales
    offsets = scales
    maximumCodes = scales
  }

  /// Takes over grids, `[row][grid]`, of which the first is number `first`.
  mutating func set(_ grids: [Grid], first: Int) {
    let count = grids.count / max(rowCount, 1)
    for row in 0..<rowCount {
      for index in 0..<count {
        let grid = grids[row * count + index]
        let place = (first + index) * rowCount + row
        setScale(grid.scale, at: place)
        zeros[place] = grid.zero
        offsets[place] = grid.offset
        maximumCodes[place] = grid.maximumCode
      }
    }
  }

  /// Replaces the scale at a place, `grid * rowCount + row`.
  mutating func setScale(_ scale: Float, at place: Int) {
    scales[place] = scale
    let inverse = 1 / scale
    inverses[place] = scale != 0 && inverse.isFinite ? inverse : 0
  }

  /// Rounds a value of each row on grid number `grid`, writing codes and what they stand for.
  func round(
    _ values: UnsafePointer<Float>, grid: Int, codes: UnsafeMutablePointer<UInt8>,
    rounded: UnsafeMutablePointer<Float>
  ) {
    let start = grid * rowCount
    unsafe scales.withUnsafeBufferPointer { scales in
      unsafe inverses.withUnsafeBufferPointer { inverses in
        guard levels.areSteps else {
          for row in 0..<rowCount {
            let place = levels.place(unsafe values[row] * inverses[start &+ row])
            unsafe codes[row] = UInt8(truncatingIfNeeded: place)
            unsafe rounded[row] = scales[start &+ row] * levels.values[place]
          }
          return
        }
        unsafe roundSteps(values, start, scales, inverses, codes, rounded)
      }
    }
  }

  private func roundSteps(
    _ values: UnsafePointer<Float>, _ start: Int, _ scales: UnsafeBufferPointer<Float>,
    _ inverses: UnsafeBufferPointer<Float>, _ codes: UnsafeMutablePointer<UInt8>,
    _ rounded: UnsafeMutablePointer<Float>
  ) {
    let magic: Float = 12_582_912
    unsafe zeros.withUnsafeBufferPointer { zeros in
      unsafe offsets.withUnsafeBufferPointer { offsets in
        unsafe maximumCodes.withUnsafeBufferPointer { maximumCodes in
          for row in 0..<rowCount {
            let (zero, offset) = unsafe (zeros[start &+ row], offsets[start &+ row])
            let steps = unsafe (values[row] - offset) * inverses[start &+ row]
            // Clamped before it is rounded, so that the sum with the large number cannot lose bits; NaN becomes the lowest.
            let clamped = unsafe min(maximumCodes[start &+ row] - zero, max(-zero, steps))
            let step = (clamped + magic) - magic
            unsafe codes[row] = UInt8(truncatingIfNeeded: Int32(step + zero))
            unsafe rounded[row] = scales[start &+ row] * step + offset
          }
        }
      }
    }
  }

  /// The value of a code.
  func value(_ code: UInt8, grid: Int, row: Int) -> Float {
    let place = grid * rowCount + row
    guard levels.areSteps else { return scales[place] * levels.values[Int(code)] }
    return scales[place] * (Float(code) - zeros[place]) + offsets[place]
  }
}

extension CodeLevels {
  /// The place of the level nearest to `value`; 0 for NaN.
  @inline(__always)
  func place(_ value: Float) -> Int {
    if bounds.count <= 16 {
      var place = 0
      for index in bounds.indices where value > bounds[index] { place += 1 }
      return place
    }
    var (low, high) = (0, bounds.count)
    while low < high {
      let middle = (low + high) / 2
      if value > bounds[middle] { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
