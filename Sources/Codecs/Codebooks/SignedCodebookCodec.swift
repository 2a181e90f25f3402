import TensorCore

/// The IQ2 and IQ3 types of GGML: 256 values as signs, entries of a codebook of magnitudes, and a scale of four bits for
/// every 16 or 32 values under one f16 scale.
///
/// A value is `d * unit * (2 s + 1) * magnitude`, negative where its sign bit is set.
protocol SignedCodebookCodec: BlockwiseCodec {
  /// The magnitudes.
  var grid: CodebookGrid { get }
  /// What the scales are whole, odd multiples of.
  var unit: Float { get }
  /// Values that share a scale.
  var partLength: Int { get }
  /// Whether the number of minus signs of every 8 values is even.
  var hasEvenSigns: Bool { get }

  /// The entry of a group of as many values as the codebook has dimensions.
  func entry(_ group: Int, of block: Span<UInt8>) -> Int
  /// The signs of 8 values.
  func signs(_ octet: Int, of block: Span<UInt8>) -> UInt8
  /// The scale of a part, 0...15.
  func scale(_ part: Int, of block: Span<UInt8>) -> Int

  /// Sets an entry in a block of zeros.
  func store(entry: Int, _ group: Int, in block: inout MutableSpan<UInt8>)
  /// Sets signs, even in number where they must be, in a block of zeros.
  func store(signs: UInt8, _ octet: Int, in block: inout MutableSpan<UInt8>)
  /// Sets a scale in a block of zeros.
  func store(scale: Int, _ part: Int, in block: inout MutableSpan<UInt8>)
}

extension SignedCodebookCodec {
  /// Values of a block.
  public var blockLength: Int { 256 }

  func decodeBlock(_ block: Span<UInt8>, into target: inout MutableSpan<Float>) {
    let base = block.half(at: 0) * unit
    let grid = grid
    let values = grid.values.span
    let groupsPerOctet = 8 / grid.dimensions
    for octet in 0..<32 {
      let step = base * Float(2 * scale(8 * octet / partLength, of: block) + 1)
      let signs = UInt32(signs(octet, of: block))
      for part in 0..<groupsPerOctet {
        let entry = entry(octet * groupsPerOctet + part, of: block) * grid.dimensions
        let first = part * grid.dimensions
        for index in 0..<grid.dimensions {
          let sign = (signs << UInt32(31 - first - index)) & 0x8000_0000
          let magnitude = step * values[entry + index]
          target[8 * octet + first + index] = Float(bitPattern: magnitude.bitPattern ^ sign)
        }
      }
    }
  }

  func encodeBlock(
    _ values: Span<Float>, weights: Span<Float>, search: ScaleSearch, workspace: inout BlockWorkspace,
    into block: inout MutableSpan<UInt8>
  ) {
    var solver = CodebookSolver(
      values, weights, grid: grid, partLength: partLength, hasEvenSigns: hasEvenSigns, unit: unit,
      workspace: workspace)
    let solution = solver.solve(search)
    workspace = solver.workspace
    block.store(half: Float16(solution.scale), at: 0)
    for (part, scale) in solution.scales.enumerated() { store(scale: scale, part, in: &block) }
    for (group, entry) in solution.entries.enumerated() { store(entry: entry, group, in: &block) }
    for (octet, signs) in solver.signs.enumerated() { store(signs: signs, octet, in: &block) }
  }
}
