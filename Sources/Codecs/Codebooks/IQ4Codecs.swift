import TensorCore

/// The values of IQ4_NL and IQ4_XS: 16 steps that lie closer together near zero.
enum IQ4Levels {
  static let values: [Float] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
  ]
  static let table = LevelTable(values: values)

  /// Writes 32 codes as 16 bytes: code `i` low, code `i + 16` high.
  static func pack(
    _ values: Span<Float>, scale: Float, _ workspace: inout BlockWorkspace,
    into bytes: inout MutableSpan<UInt8>,
    at offset: Int
  ) {
    if workspace.codes.count < 32 { workspace.codes = [UInt8](repeating: 0, count: 32) }
    var places = workspace.codes.mutableSpan
    table.places(values, scale: scale, into: &places)
    for index in 0..<16 { bytes[offset + index] = places[index] | places[index + 16] << 4 }
  }

  static func unpack(
    _ block: Span<UInt8>, at offset: Int, scale: Float, into target: inout MutableSpan<Float>, at first: Int
  ) {
    let values = values.span
    for index in 0..<16 {
      let byte = block[offset + index]
      target[first + index] = scale * values[Int(byte & 15)]
      target[first + index + 16] = scale * values[Int(byte >> 4)]
    }
  }
}

/// GGML's IQ4_NL, 4.5 bits: 32 values in 18 bytes, `d` f16 and 4-bit codes of a table of 16 values.
///
/// The encoder minimizes the weighted squared error; its scale may be negative, which mirrors the table.
public struct IQ4NLCodec: BlockwiseCodec, Hashable {
  /// Creates the codec.
  public init() {}
  /// The name.
  public var canonicalName: String { "iq4_nl" }
  /// Values of a block.
  public var blockLength: Int { 32 }
  /// Bytes of a block.
  public var blockByteCount: Int { 18 }

  func decodeBlock(_ block: Span<UInt8>, into target: inout MutableSpan<Float>) {
    IQ4Levels.unpack(block, at: 2, scale: block.half(at: 0), into: &target, at: 0)
  }

  func encodeBlock(
    _ values: Span<Float>, weights: Span<Float>, search: ScaleSearch, workspace: inout BlockWorkspace,
    into block: inout MutableSpan<UInt8>
  ) {
    let scale: Float
    switch search {
    case .extremes: scale = IQ4Levels.table.extremeScale(values)
    case .leastSquares: scale = IQ4Levels.table.bestFit(values, weights, &workspace).scale
    }
    let stored = Float16(scale)
    block.store(half: stored, at: 0)
    IQ4Levels.pack(values, scale: Float(stored), &workspace, into: &block, at: 2)
  }
}

/// GGML's IQ4_XS, 4.25 bits: 256 values in 136 bytes.
///
/// `d` f16; a word with the upper two bits of eight 6-bit scales; four bytes with their lower four; 128 bytes of codes as in
/// IQ4_NL. The scale of 32 values is `d * (s - 32)`.
public struct IQ4XSCodec: BlockwiseCodec, Hashable {
  /// Creates the codec.
  public init() {}
  /// The name.
  public var canonicalName: String { "iq4_xs" }
  /// Values of a block.
  public var blockLength: Int { 256 }
  /// Bytes of a block.
  public var blockByteCount: Int { 136 }

  func decodeBlock(_ block: Span<UInt8>, into target: inout MutableSpan<Float>) {
    let scale = block.half(at: 0)
    let high = block.word16(at: 2)
    for part in 0..<8 {
      let low = (block[4 + part / 2] >> UInt8(4 * (part % 2))) & 15
      let step = Int(low) | Int((high >> UInt16(2 * part)) & 3) << 4
      IQ4Levels.unpack(
        block, at: 8 + 16 * part, scale: scale * Float(step - 32), into: &target, at: 32 * part)
    }
  }

  func encodeBlock(
    _ values: Span<Float>, weights: Span<Float>, search: ScaleSearch, workspace: inout BlockWorkspace,
    into block: inout MutableSpan<UInt8>
  ) {
    var solver = IQ4XSSolver(workspace: workspace)
    solver.solve(values, weights, search)
    workspace = solver.workspace
    block.store(half: Float16(solver.scale), at: 0)
    var high: UInt16 = 0
    for part in 0..<8 {
      let step = solver.steps[part] + 32
      block[4 + part / 2] |= UInt8(step & 15) << UInt8(4 * (part % 2))
      high |= UInt16(step >> 4) << UInt16(2 * part)
      IQ4Levels.pack(
        values.extracting(32 * part..<32 * part + 32), scale: solver.scale * Float(solver.steps[part]),
        &workspace,
        into: &block, at: 8 + 16 * part)
    }
    block.store(high, at: 2)
  }
}

/// Chooses the scales of one block of IQ4_XS.
struct IQ4XSSolver {
  /// The f16 scale of the block.
  private(set) var scale: Float = 0
  /// Signed scale of every 32 values, -32...31.
  private(set) var steps = [Int](repeating: 0, count: 8)
  var workspace: BlockWorkspace
  private let table = IQ4Levels.table

  init(workspace: BlockWorkspace) { self.workspace = workspace }

  mutating func solve(_ values: Span<Float>, _ weights: Span<Float>, _ search: ScaleSearch) {
    guard case .leastSquares = search else { return solveExtremes(values) }
    let ideal = (0..<8).map { part in
      table.bestFit(
        values.extracting(32 * part..<32 * part + 32), weights.extracting(32 * part..<32 * part + 32),
        &workspace)
    }
    scale = commonScale(ideal)
    guard scale != 0, scale.isFinite else { return }
    var best = choose(values, weights, ideal)
    for _ in 0..<2 {
      guard best.square > 0 else { return }
      let candidate = Float(Float16(best.cross / best.square))
      guard candidate != 0, candidate != scale else { return }
      let before = (scale, steps)
      scale = candidate
      let again = choose(values, weights, ideal)
      guard again.gain > best.gain else {
        (scale, steps) = before
        return
      }
      best = again
    }
  }

  /// As the largest value of every 32 demands, the greatest scale at step -32.
  private mutating func solveExtremes(_ values: Span<Float>) {
    let ideal = (0..<8).map { table.extremeScale(values.extracting(32 * $0..<32 * $0 + 32)) }
    let strongest = ideal.max { abs($0) < abs($1) } ?? 0
    scale = Float(Float16(-strongest / 32))
    guard scale != 0, scale.isFinite else { return }
    steps = ideal.map { nearestStep($0) }
  }

  private func nearestStep(_ ideal: Float) -> Int {
    let steps = ideal / scale
    return steps.isNaN ? 0 : Int(min(31, max(-32, steps)).rounded())
  }

  /// The f16 scale whose multiples come nearest to the scales of the parts.
  private func commonScale(_ ideal: [LevelTable.Fit]) -> Float {
    let strongest = ideal.map(\.scale).max { abs($0) < abs($1) } ?? 0
    var best: Float = 0
    var bestCost = Float.infinity
    for index in 0..<96 {
      let divisor = (20 + 0.26 * Float(index / 2)) * (index % 2 == 0 ? -1 : 1)
      let candidate = Float(Float16(strongest / divisor))
      guard candidate != 0 else { continue }
      let inverse = 1 / candidate
      var cost: Float = 0
      for part in ideal {
        let steps = min(31, max(-32, roundToEven(part.scale * inverse)))
        let difference = part.scale - candidate * steps
        cost += part.square * difference * difference
      }
      if cost < bestCost { (best, bestCost) = (candidate, cost) }
    }
    // Too large for f16: infinite, which is refused when the block is whole.
    return bestCost.isFinite ? best : Float(Float16(strongest / 32))
  }

  /// Chooses the step of every part among the three nearest, and sums up what the next common scale is found from.
  private mutating func choose(
    _ values: Span<Float>, _ weights: Span<Float>, _ ideal: [LevelTable.Fit]
  ) -> (gain: Float, cross: Float, square: Float) {
    var total: (gain: Float, cross: Float, square: Float) = (0, 0, 0)
    for part in 0..<8 {
      let near = nearestStep(ideal[part].scale)
      let candidates = Array(max(-32, near - 1)...min(31, near + 1))
      let fits = table.gains(
        candidates.map { scale * Float($0) }, values.extracting(32 * part..<32 * part + 32),
        weights.extracting(32 * part..<32 * part + 32), &workspace)
      var best = 0
      for index in fits.indices where fits[index].gain > fits[best].gain { best = index }
      steps[part] = candidates[best]
      let step = Float(candidates[best])
      total.gain += fits[best].gain
      total.cross += step * fits[best].scale * fits[best].square
      total.square += step * step * fits[best].square
    }
    return total
  }
}
