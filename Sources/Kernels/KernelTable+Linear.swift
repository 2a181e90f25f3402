import CKernels
import Codecs

extension KernelTable {
  /// Tokens that are worked through together, so that their columns stay in the second cache.
  static let tokenBlock = 192

  /// Up to this many tokens, reading the weights is what takes the time of a linear layer: each thread reads a part that lies in one
  /// piece, from its beginning to its end.
  public static let fewTokens = 4

  /// Panels that are multiplied with one token at a time.
  static let panelsTogether = 4

  /// A linear layer: `y[t] = w * x[t] + bias`.
  ///
  /// - Parameters:
  ///   - x: `[T, columns]`.
  ///   - w: `[rows, columns]`.
  ///   - bias: `rows` values, or nil.
  ///   - activation: what results go through, or nil.
  ///   - y: `[T, rows]`; must not overlap `x`.
  ///   - activations: what `x` is rounded to before. int8 and codes are multiplied as integers, all else as floats.
  ///   - simulates: whether rounded activations become floats again and are multiplied as floats: the plain way, which
  ///     integer arithmetic equals up to the rounding of float sums.
  ///   - workspace: scratch of the caller.
  ///   - pool: threads.
  ///
  /// Float32: one fused multiply-add per product in order of the columns, then the bias. Int8: exact integer sums per
  /// block, then `acc = fma(sum, weight scale * activation scale, acc)` in order of the blocks, then the bias.
  public func linear(
    _ x: Rows, _ w: PanelMatrix, bias: UnsafePointer<Float>? = nil, then activation: Activation? = nil,
    into y: Rows, activations: InputQuantization = .float32, simulates: Bool = false, workspace: Workspace,
    pool: ThreadPool
  ) {
    unsafe precondition(
      x.columns == w.columns && y.columns == w.rows && x.rows == y.rows, "shapes of a linear layer")
    if activations.scheme.kind == .int8, w.encoding.isQuantized, !simulates {
      return unsafe integerLinear(
        x, w, bias: bias, then: activation, into: y, activations, workspace, pool)
    }
    if activations.scheme.kind != .float32 {
      let rounded = unsafe workspace.roundedRows(x.rows, columns: x.columns)
      unsafe roundActivations(
        x, to: activations, blockLength: w.blockLength > 0 ? w.blockLength : 128, into: rounded,
        workspace: workspace, pool: pool)
      return unsafe linear(
        rounded, w, bias: bias, then: activation, into: y, workspace: workspace, pool: pool)
    }
    unsafe run(product(x, w, bias: bias, workspace, pool), w, then: activation, into: y, workspace, pool)
    withExtendedLifetime(w.storage) {}
  }

  /// Makes all parts of a product.
  private func run(
    _ product: PanelProduct, _ w: PanelMatrix, then activation: Activation?, into y: Rows,
    _ workspace: Workspace?, _ pool: ThreadPool
  ) {
    workspace?.reserve(threadCount: pool.threadCount, floatCount: product.scratch)
    let finish = unsafe activation.flatMap { unsafe self.function(for: $0) }
    if unsafe y.rows <= KernelTable.fewTokens {
      let tokens = unsafe 0..<y.rows
      return pool.runShares(of: w.panelCount, unit: KernelTable.panelsTogether) { panels, isLast, worker in
        unsafe product.part(
          panels.lowerBound, panels.count, tokens, y.pointer, y.stride, worker,
          isLast ? pool.expectedPlace(worker) : nil)
        unsafe apply(finish, y, panels, tokens)
      }
    }
    let blocks = unsafe TaskGrid(
      panels: w.panelCount, tokens: y.rows, tokenBlock: KernelTable.tokenBlock, threads: pool.threadCount)
    pool.run(taskCount: blocks.count) { task, worker in
      let (panels, tokens) = blocks[task]
      unsafe product.part(
        panels.lowerBound, panels.count, tokens, y[tokens.lowerBound], y.stride, worker, nil)
      unsafe apply(finish, y, panels, tokens)
    }
  }

  /// Floats that a thread needs to multiply a block of tokens.
  static func linearScratch(tokens: Int, _ pool: ThreadPool) -> Int {
    let grid = TaskGrid(panels: 1, tokens: tokens, tokenBlock: tokenBlock, threads: pool.threadCount)
    return Int(CK_LINEAR_SCRATCH) + Int(CK_LINEAR_TOKEN_SCRATCH) * max(grid.tokensPerBlock, 1)
  }

  /// The same from activations that were quantized before with the block length of `w`.
  /// - Parameter first: the row of `x` that belongs to the first one of `y`.
  public func linear(
    _ x: QuantizedRows, first: Int = 0, _ w: PanelMatrix, bias: UnsafePointer<Float>? = nil,
    then activation: Activation? = nil,
    into y: Rows, pool: ThreadPool
  ) {
    unsafe precondition(
      x.columns == w.columns && y.columns == w.rows && x.rows >= first + y.rows, "shapes of a linear layer")
    unsafe run(product(x, first: first, w, bias: bias, pool), w, then: activation, into: y, nil, pool)
    withExtendedLifetime((w.storage, x)) {}
  }

  /// Sends what a task has made through a function, while it is in the cache.
  private func apply(_ function: ck_unary_fn?, _ y: Rows, _ panels: Range<Int>, _ tokens: Range<Int>) {
    guard let function = unsafe function else { return }
    let first = panels.lowerBound * Int(CK_PANEL)
    let count = unsafe min(panels.upperBound * Int(CK_PANEL), y.columns) - first
    for token in tokens { unsafe function(y[token] + first, y[token] + first, count) }
  }

  /// Rounds activations to int8 in blocks of `blockLength` columns (32, 64 or 128), of which several may share a scale.
  ///
  /// A dynamic `scale = absmax / 127` (7 for 4 bits), codes are value / scale to nearest even, at most that in magnitude. Blocks whose scale
  /// would not be a normal number become zero; blocks that share their scale with infinities or NaN get the scale NaN, which
  /// reaches the result.
  /// - Parameter input: what shares a scale, and the static one. Numbers beyond its threshold become zero, and so does NaN
  ///   when there is one.
  public func quantizeActivations(
    _ x: Rows, blockLength: Int, as input: InputQuantization = InputQuantization(.int8Block),
    into target: QuantizedRows, pool: ThreadPool
  ) {
    precondition([32, 64, 128].contains(blockLength), "block length")
    let rounder = unsafe RowRounder(
      RowRounding(input, blockLength: blockLength, into: target), rows: x.rows, columns: x.columns, functions)
    unsafe forEachRow(x.rows, columns: x.columns, pool) { row in unsafe rounder.round(x[row], row) }
  }

  /// Rows of an embedding table: `y[i] = w[ids[i]]`; ids outside the table give zeros.
  public func embedding(
    _ ids: UnsafePointer<Int32>, count: Int, _ w: PanelMatrix, into y: Rows, pool: ThreadPool
  ) {
    unsafe precondition(y.rows == count && y.columns == w.columns, "shapes of an embedding")
    forEachRow(count, columns: w.columns, pool) { row in
      let id = unsafe Int(ids[row])
      if id >= 0 && id < w.rows {
        unsafe w.decodeRow(id, into: y[row])
      } else {
        unsafe y[row].update(repeating: 0, count: y.columns)
      }
    }
  }

  func linearFunction(_ encoding: PanelEncoding) -> ck_linear_f32_fn {
    let functions = unsafe self.functions.linear_f32
    let function: ck_linear_f32_fn? =
      switch encoding {
      case .f32: unsafe functions.0
      case .bf16: unsafe functions.1
      case .f16: unsafe functions.2
      case .q8: unsafe functions.3
      case .q4: unsafe functions.4
      case .e4m3: unsafe functions.5
      case .compactBF16: unsafe functions.6
      }
    guard let function = unsafe function else { preconditionFailure("every table has every linear kernel") }
    return unsafe function
  }
}

/// Cuts a linear layer into tasks: groups of panels times blocks of tokens.
struct TaskGrid {
  /// First panels of the groups, then the number of all panels.
  private let starts: [Int]
  let tokensPerBlock: Int
  private let tokens: Int
  private let blocks: Int

  init(panels: Int, tokens: Int, tokenBlock: Int, threads: Int) {
    self.tokens = tokens
    let blockCount = max(1, (tokens + tokenBlock - 1) / tokenBlock)
    // Whole register tiles of every instruction set.
    tokensPerBlock = (tokens + blockCount * 12 - 1) / (blockCount * 12) * 12
    blocks = tokens == 0 ? 0 : (tokens + tokensPerBlock - 1) / tokensPerBlock
    starts = TaskGrid.even(panels, blocks, threads)
  }

  /// Several groups a thread, which even out what the system takes away.
  private static func even(_ panels: Int, _ blocks: Int, _ threads: Int) -> [Int] {
    let wanted = threads == 1 ? 1 : max(1, threads * 8 / max(blocks, 1))
    let perGroup = (panels + wanted - 1) / max(wanted, 1)
    return Array(stride(from: 0, to: panels, by: max(4, (perGroup + 3) / 4 * 4))) + [panels]
  }

  private var groups: Int { starts.count - 1 }

  /// Tasks.
  var count: Int { groups * blocks }

  /// Panels and tokens of a task; tasks of one block of tokens follow each other.
  subscript(task: Int) -> (panels: Range<Int>, tokens: Range<Int>) {
    let group = task % groups
    let block = task / groups
    let firstToken = block * tokensPerBlock
    return (
      starts[group]..<starts[group + 1],
      firstToken..<min(firstToken + tokensPerBlock, tokens)
    )
  }
}
