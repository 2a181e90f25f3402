/// At most 16 ascending values that 4-bit codes stand for, and the search for the scale that fits them to weights.
struct LevelTable: Sendable {
  /// Ascending; the last is repeated up to 16.
  let levels: [Float]
  /// Halfway between neighbours: what lies above belongs to the upper one. 15 of them.
  let bounds: [Float]
  /// The stored code of each place.
  let codes: [UInt8]
  /// Places that hold the lowest and the highest level.
  private let extremes: [Float]

  /// - Parameter values: the value of each code, in the order of the codes; of equal values the first code is used.
  init(values: [Float]) {
    var order: [Int] = []
    for code in values.indices where !order.contains(where: { values[$0] == values[code] }) {
      order.append(code)
    }
    order.sort { values[$0] < values[$1] }
    let highest = order[order.count - 1]
    let padded = order + [Int](repeating: highest, count: 16 - order.count)
    levels = padded.map { values[$0] }
    bounds = (0..<15).map { index in
      index + 1 < order.count ? (values[order[index]] + values[order[index + 1]]) / 2 : .infinity
    }
    codes = padded.map { UInt8($0) }
    extremes = [values[order[0]], values[highest]]
  }

  /// A scale for some values, and how good it is.
  struct Fit {
    /// Scale; negative where the table is better mirrored.
    var scale: Float
    /// Sum of `w v v` of the levels: how steeply the error grows away from the scale.
    var square: Float
    /// How much less the error is than with all levels zero.
    var gain: Float
  }

  /// The scale that maps the largest value to an end of the table.
  func extremeScale(_ values: Span<Float>) -> Float {
    var largest: Float = 0
    for index in values.indices where abs(values[index]) > abs(largest) { largest = values[index] }
    return extremes[0] == -extremes[1] ? abs(largest) / extremes[1] : largest / extremes[0]
  }

  /// The scale of least weighted squared error: trial scales that map the largest value to places around both ends of the
  /// table, then closed-form refinements for the levels found.
  /// - Parameter values: a multiple of 16 of them.
  func bestFit(_ values: Span<Float>, _ weights: Span<Float>, _ workspace: inout BlockWorkspace) -> Fit {
    let start = extremeScale(values)
    guard start != 0, (1 / start).isFinite else { return Fit(scale: 0, square: 0, gain: 0) }
    // Sums of larger numbers may leave the range of float32.
    guard abs(start) < 0x1p48 else { return Fit(scale: start, square: 1, gain: 0) }
    workspace.factors.removeAll(keepingCapacity: true)
    for mirror in extremes[0] == -extremes[1] ? [1] : [1, extremes[1] / extremes[0]] {
      for step in 0..<13 { workspace.factors.append(mirror / start * (0.76 + 0.06 * Float(step))) }
    }
    var best = Fit(scale: 0, square: 0, gain: 0)
    guard var factor = improve(&best, values, weights, &workspace) else { return best }
    workspace.factors.removeAll(keepingCapacity: true)
    for step: Float in [0.97, 0.985, 1.015, 1.03] { workspace.factors.append(factor * step) }
    factor = improve(&best, values, weights, &workspace) ?? factor
    for _ in 0..<2 where best.scale != 0 {
      workspace.factors.removeAll(keepingCapacity: true)
      workspace.factors.append(1 / best.scale)
      guard improve(&best, values, weights, &workspace) != nil else { break }
    }
    return best
  }

  /// Tries the factors in the workspace; the one that made `best` better, if any.
  private func improve(
    _ best: inout Fit, _ values: Span<Float>, _ weights: Span<Float>, _ workspace: inout BlockWorkspace
  ) -> Float? {
    var winner: Float?
    let factors = workspace.factors
    CodebookKernels.best.sums(values, weights, levels: self, factors: factors, &workspace)
    for index in factors.indices {
      let (cross, square) = (workspace.cross[index], workspace.square[index])
      guard square > 0 else { continue }
      let gain = cross * cross / square
      if gain > best.gain {
        best = Fit(scale: cross / square, square: square, gain: gain)
        winner = factors[index]
      }
    }
    return winner
  }

  /// The gain of each scale, levels chosen anew.
  func gains(
    _ scales: [Float], _ values: Span<Float>, _ weights: Span<Float>, _ workspace: inout BlockWorkspace
  ) -> [Fit] {
    let factors = scales.map { $0 == 0 ? 0 : 1 / $0 }
    CodebookKernels.best.sums(values, weights, levels: self, factors: factors, &workspace)
    return scales.indices.map { index in
      let (scale, cross, square) = (scales[index], workspace.cross[index], workspace.square[index])
      return Fit(
        scale: square > 0 ? cross / square : scale, square: square,
        gain: 2 * scale * cross - scale * scale * square)
    }
  }

  /// The places in the table of values under a scale; the code of place `p` is `codes[p]`.
  func places(_ values: Span<Float>, scale: Float, into places: inout MutableSpan<UInt8>) {
    CodebookKernels.best.codes(
      values, levels: self, factor: scale == 0 || !(1 / scale).isFinite ? 0 : 1 / scale, into: &places)
  }
}
