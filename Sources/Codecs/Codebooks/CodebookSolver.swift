import CKernels
import TensorCore

/// Chooses signs, codebook entries and scales of one block by weighted squared error.
///
/// With `cross = sum w x g` and `square = sum w g g` of a codebook entry, the error at scale `s` is a constant minus the gain
/// `2 s cross - s s square`. Both sums do not depend on the scale, so they are computed once for every group and entry;
/// trying a scale is then a pass over them, and every entry of the codebook is tried.
struct CodebookSolver {
  /// What is stored.
  struct Solution {
    var scale: Float
    var scales: [Int]
    var entries: [Int]
    var gain: Float
  }

  private let grid: CodebookGrid
  private let groupsPerPart: Int
  private let partCount: Int
  private let unit: Float
  private let largest: [Float]
  /// Sign bits of every 8 values.
  let signs: [UInt8]
  var workspace: BlockWorkspace
  private let kernels = CodebookKernels.best

  init(
    _ values: Span<Float>, _ weights: Span<Float>, grid: CodebookGrid, partLength: Int, hasEvenSigns: Bool,
    unit: Float, workspace: BlockWorkspace
  ) {
    self.grid = grid
    self.unit = unit
    self.workspace = workspace
    groupsPerPart = partLength / grid.dimensions
    partCount = values.count / partLength
    var signs: [UInt8] = []
    var magnitudes = [Float](repeating: 0, count: values.count)
    for octet in 0..<values.count / 8 {
      signs.append(
        CodebookSolver.signs(
          values.extracting(8 * octet..<8 * octet + 8), weights.extracting(8 * octet..<8 * octet + 8),
          even: hasEvenSigns))
      for index in 0..<8 {
        let value = values[8 * octet + index]
        magnitudes[8 * octet + index] = signs[octet] >> UInt8(index) & 1 == 0 ? value : -value
      }
    }
    self.signs = signs
    largest = (0..<partCount).map { part in
      (part * partLength..<(part + 1) * partLength).reduce(0) { max($0, abs(magnitudes[$1])) }
    }
    let count = values.count / grid.dimensions * grid.entries
    if self.workspace.cross.count < count {
      self.workspace.cross = [Float](repeating: 0, count: count)
      self.workspace.square = self.workspace.cross
    }
    kernels.sums(magnitudes.span, weights, grid: grid, &self.workspace)
  }

  /// The signs of 8 values; where they must be even in number, the one that matters least is wrong when they are not.
  private static func signs(_ values: Span<Float>, _ weights: Span<Float>, even: Bool) -> UInt8 {
    var bits: UInt8 = 0
    var cheapest = 0
    for index in 0..<8 {
      if values[index] < 0 { bits |= 1 << UInt8(index) }
      if weights[index] * abs(values[index]) < weights[cheapest] * abs(values[cheapest]) { cheapest = index }
    }
    return even && bits.nonzeroBitCount % 2 == 1 ? bits ^ 1 << UInt8(cheapest) : bits
  }

  mutating func solve(_ search: ScaleSearch) -> Solution {
    // Sums of larger numbers may leave the range of float32.
    if let extreme = largest.max(), extreme > 0x1p48 { return nothing(scale: .infinity) }
    let ideal = (0..<partCount).map { idealScale($0, search) }
    let strongest = ideal.map(\.scale).max() ?? 0
    guard strongest > 0 else { return nothing(scale: 0) }
    let start = commonScale(ideal, strongest)
    guard start.isFinite else { return nothing(scale: start) }
    var best = solution(at: start, ideal.map(\.scale))
    if case .leastSquares = search {
      for _ in 0..<2 {
        let refined = solution(at: refinedScale(best), ideal.map(\.scale))
        guard refined.gain > best.gain else { break }
        best = refined
      }
    }
    return best
  }

  /// The first entries under a scale; an infinite one, which f16 cannot hold, is refused when the block is whole.
  private func nothing(scale: Float) -> Solution {
    Solution(
      scale: scale, scales: [Int](repeating: 0, count: partCount),
      entries: [Int](repeating: 0, count: partCount * groupsPerPart), gain: 0)
  }

  /// The scale of a part on its own, and how steeply the error grows away from it.
  private func idealScale(_ part: Int, _ search: ScaleSearch) -> (scale: Float, square: Float) {
    let start = largest[part] / (grid.values.max() ?? 1)
    guard start > 0 else { return (0, 0) }
    var best = fit(part, start)
    guard case .leastSquares = search else { return (best.scale, best.square) }
    for step in 0..<12 where step != 4 {
      let candidate = fit(part, start * (0.6 + 0.1 * Float(step)))
      if candidate.gain > best.gain { best = candidate }
    }
    for _ in 0..<3 {
      let candidate = fit(part, best.scale)
      guard candidate.gain > best.gain else { break }
      best = candidate
    }
    return (best.scale, best.square)
  }

  /// The best entries at a scale, and the best scale for these entries.
  private func fit(_ part: Int, _ scale: Float) -> (scale: Float, square: Float, gain: Float) {
    var cross: Float = 0
    var square: Float = 0
    for group in part * groupsPerPart..<(part + 1) * groupsPerPart {
      let entry = kernels.best(workspace, group: group, entries: grid.entries, scale: scale).entry
      cross += workspace.cross[group * grid.entries + entry]
      square += workspace.square[group * grid.entries + entry]
    }
    guard square > 0, cross > 0 else { return (0, square, 0) }
    return (cross / square, square, cross * cross / square)
  }

  /// The f16 scale whose odd multiples come nearest to the scales of the parts.
  private func commonScale(_ ideal: [(scale: Float, square: Float)], _ strongest: Float) -> Float {
    var best: Float = 0
    var bestCost = Float.infinity
    for step in 0..<40 {
      let scale = Float(Float16(strongest / (unit * (35 - 0.375 * Float(step)))))
      guard scale > 0 else { continue }
      let cost = ideal.reduce(Float(0)) { cost, part in
        let difference = part.scale - scale * unit * Float(2 * nearestScale(part.scale, scale) + 1)
        return cost + part.square * difference * difference
      }
      if cost < bestCost { (best, bestCost) = (scale, cost) }
    }
    if bestCost.isFinite { return best }
    return max(Float(Float16(strongest / (unit * 31))), Float(Float16.leastNonzeroMagnitude))
  }

  private func nearestScale(_ ideal: Float, _ scale: Float) -> Int {
    let steps = (ideal / (scale * unit) - 1) / 2
    return steps > 0 ? min(15, Int(min(steps, 16).rounded())) : 0
  }

  /// Scales of the parts and entries, given the common scale.
  private func solution(at scale: Float, _ ideal: [Float]) -> Solution {
    var result = Solution(scale: scale, scales: [], entries: [], gain: 0)
    for part in 0..<partCount {
      let near = nearestScale(ideal[part], scale)
      var best = (scale: near, gain: -Float.infinity, entries: [Int]())
      for candidate in max(0, near - 1)...min(15, near + 1) {
        let step = scale * unit * Float(2 * candidate + 1)
        var gain: Float = 0
        var entries: [Int] = []
        for group in part * groupsPerPart..<(part + 1) * groupsPerPart {
          let found = kernels.best(workspace, group: group, entries: grid.entries, scale: step)
          gain += found.gain
          entries.append(found.entry)
        }
        if gain > best.gain { best = (candidate, gain, entries) }
      }
      result.scales.append(best.scale)
      result.entries += best.entries
      result.gain += best.gain
    }
    return result
  }

  /// The least-squares common scale of a solution, as f16.
  private func refinedScale(_ solution: Solution) -> Float {
    var cross: Float = 0
    var square: Float = 0
    for (group, entry) in solution.entries.enumerated() {
      let step = unit * Float(2 * solution.scales[group / groupsPerPart] + 1)
      cross += step * workspace.cross[group * grid.entries + entry]
      square += step * step * workspace.square[group * grid.entries + entry]
    }
    guard square > 0, cross > 0 else { return solution.scale }
    return Float(Float16(cross / square))
  }
}
