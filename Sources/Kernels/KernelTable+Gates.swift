import CKernels
import Codecs

extension KernelTable {
  /// What a gate and a factor become.
  public enum GatedProduct: Sendable, Equatable {
    /// `silu(gate) * up`.
    case swiglu
    /// `gelu(gate) * up`.
    case geglu(GELU)
    /// `g * u + g`, `g = gelu(min(gate, limit))` with a logistic function, `u` is `up` limited on both sides.
    case limited(Float)
  }

  /// `y = product(gate, up)`, element by element; `y` may be `gate`.
  public func gatedProduct(
    gate: Rows, up: Rows, _ product: GatedProduct, into y: Rows, pool: ThreadPool
  ) {
    unsafe requireSame(gate, up)
    unsafe requireSame(gate, y)
    unsafe forEachRow(gate.rows, columns: gate.columns, pool) { row in
      unsafe apply(product, gate: gate[row], up: up[row], into: y[row], count: gate.columns)
    }
  }

  /// A linear layer that makes gates with the first half of its rows and factors with the second, and their product:
  /// `y[t] = product(gate(w) * x[t] + bias, up(w) * x[t] + bias)`, with the bits of the layer and the product one by one.
  ///
  /// Each task makes a few columns of both and multiplies them while they are in its cache.
  /// - Parameters:
  ///   - w: `[2 * n, columns]`.
  ///   - bias: `2 * n` values, or nil.
  ///   - y: `[T, n]`; must not overlap `x`.
  public func linearGated(
    _ x: Rows, _ w: PanelMatrix, bias: UnsafePointer<Float>? = nil, product: GatedProduct, into y: Rows,
    activations: InputQuantization = .float32, simulates: Bool = false, workspace: Workspace,
    pool: ThreadPool
  ) {
    unsafe precondition(
      x.columns == w.columns && 2 * y.columns == w.rows && x.rows == y.rows, "shapes of a gated layer")
    let isInteger = activations.scheme.kind == .int8 && w.encoding.isQuantized && !simulates
    let hasOutliers = activations.scheme.outlierThreshold > 0 || !activations.outlierColumns.isEmpty
    if isInteger, hasOutliers || !KernelTable.canGate(w) {
      // Outliers come after all products.
      return unsafe linearThenGated(
        x, w, bias: bias, product: product, into: y, activations, workspace, pool)
    }
    if isInteger {
      unsafe quantizeActivations(
        x, blockLength: w.blockLength, as: activations, into: workspace.activations, pool: pool)
      return unsafe linearGated(
        workspace.activations, w, bias: bias, product: product, into: y, workspace: workspace, pool: pool)
    }
    if activations.scheme.kind != .float32 {
      let rounded = unsafe workspace.roundedRows(x.rows, columns: x.columns)
      unsafe roundActivations(
        x, to: activations, blockLength: w.blockLength > 0 ? w.blockLength : 128, into: rounded,
        workspace: workspace, pool: pool)
      return unsafe linearGated(
        rounded, w, bias: bias, product: product, into: y, workspace: workspace, pool: pool)
    }
    guard KernelTable.canGate(w) else {
      return unsafe linearThenGated(
        x, w, bias: bias, product: product, into: y, .float32, workspace, pool)
    }
    let products = unsafe self.product(x, w, bias: bias, workspace, pool)
    unsafe gated(products, w, product, into: y, workspace, pool, panelsAtOnce: 16)
    withExtendedLifetime(w.storage) {}
  }

  /// The same from activations that were quantized before with the block length of `w`.
  /// - Parameter first: the row of `x` that belongs to the first one of `y`.
  public func linearGated(
    _ x: QuantizedRows, first: Int = 0, _ w: PanelMatrix, bias: UnsafePointer<Float>? = nil,
    product: GatedProduct, into y: Rows, workspace: Workspace, pool: ThreadPool
  ) {
    unsafe precondition(
      x.columns == w.columns && 2 * y.columns == w.rows && x.rows >= first + y.rows,
      "shapes of a gated layer")
    guard KernelTable.canGate(w) else {
      let both = unsafe workspace.gatedRows(y.rows, columns: w.rows)
      unsafe linear(x, first: first, w, bias: bias, into: both, pool: pool)
      return unsafe gatedProduct(
        gate: both.columns(0..<y.columns), up: both.columns(y.columns..<w.rows), product, into: y, pool: pool)
    }
    let products = unsafe self.product(x, first: first, w, bias: bias, pool)
    unsafe gated(
      products, w, product, into: y, workspace, pool, panelsAtOnce: KernelTable.panelsTogether)
    withExtendedLifetime((w.storage, x)) {}
  }

  /// Whether gates and factors lie in panels of their own.
  private static func canGate(_ w: PanelMatrix) -> Bool { w.rows % (2 * PanelMatrix.panelRows) == 0 }

  private func linearThenGated(
    _ x: Rows, _ w: PanelMatrix, bias: UnsafePointer<Float>?, product: GatedProduct, into y: Rows,
    _ activations: InputQuantization, _ workspace: Workspace, _ pool: ThreadPool
  ) {
    let both = unsafe workspace.gatedRows(x.rows, columns: w.rows)
    unsafe linear(
      x, w, bias: bias, into: both, activations: activations, workspace: workspace, pool: pool)
    unsafe gatedProduct(
      gate: both.columns(0..<y.columns), up: both.columns(y.columns..<w.rows), product, into: y, pool: pool)
  }

  /// Makes gates and factors with `products` and joins them, in tasks.
  /// - Parameter panelsAtOnce: panels of each half that a task multiplies before it joins them, which stay in the cache with all tokens.
  private func gated(
    _ products: PanelProduct, _ w: PanelMatrix, _ product: GatedProduct, into y: Rows, _ workspace: Workspace,
    _ pool: ThreadPool, panelsAtOnce: Int
  ) {
    let half = w.panelCount / 2
    let grid = unsafe TaskGrid(
      panels: half, tokens: y.rows, tokenBlock: KernelTable.tokenBlock, threads: pool.threadCount)
    let stride = panelsAtOnce * PanelMatrix.panelRows
    let room = grid.tokensPerBlock * stride
    workspace.reserve(threadCount: pool.threadCount, floatCount: products.scratch + 2 * room)
    /// Gates and factors of some panels by turns; behind the last ones the thread reads what is `after` them.
    func join(_ panels: Range<Int>, _ tokens: Range<Int>, _ worker: Int, _ after: UnsafePointer<UInt8>?) {
      let gate = unsafe workspace.scratch(worker) + products.scratch
      let up = unsafe gate + room
      for panel in Swift.stride(from: panels.lowerBound, to: panels.upperBound, by: panelsAtOnce) {
        let count = min(panelsAtOnce, panels.upperBound - panel)
        let column = panel * PanelMatrix.panelRows
        let isLast = panel + count == panels.upperBound
        unsafe products.part(
          panel, count, tokens, gate - column, stride, worker, products.start(ofPanel: half + panel))
        unsafe products.part(
          half + panel, count, tokens, up - column - y.columns, stride, worker,
          isLast ? after : products.start(ofPanel: panel + count))
        for (row, token) in tokens.enumerated() {
          unsafe apply(
            product, gate: gate + row * stride, up: up + row * stride, into: y[token] + column,
            count: count * PanelMatrix.panelRows)
        }
      }
    }
    if unsafe y.rows <= KernelTable.fewTokens {
      let tokens = unsafe 0..<y.rows
      return pool.runShares(of: half, unit: KernelTable.panelsTogether) { panels, isLast, worker in
        let next = unsafe isLast ? pool.expectedPlace(worker) : products.start(ofPanel: panels.upperBound)
        unsafe join(panels, tokens, worker, next)
      }
    }
    pool.run(taskCount: grid.count) { task, worker in
      let (panels, tokens) = grid[task]
      join(panels, tokens, worker, nil)
    }
  }

  /// The product of `count` gates and factors; `y` may be `gate`.
  func apply(
    _ product: GatedProduct, gate: UnsafePointer<Float>, up: UnsafePointer<Float>,
    into y: UnsafeMutablePointer<Float>, count: Int
  ) {
    switch product {
    case .swiglu:
      if let function = unsafe functions.swiglu { unsafe function(gate, up, y, count) }
    case .geglu(let kind):
      guard let activate = unsafe function(for: .gelu(kind)), let multiply = unsafe functions.multiply else {
        return
      }
      unsafe activate(gate, y, count)
      unsafe multiply(y, up, y, count)
    case .limited(let limit): unsafe applyLimited(limit, gate, up, y, count)
    }
  }

  private func applyLimited(
    _ limit: Float, _ gate: UnsafePointer<Float>, _ up: UnsafePointer<Float>,
    _ y: UnsafeMutablePointer<Float>, _ count: Int
  ) {
    guard let clamp = unsafe functions.clamp, let activate = unsafe functions.gelu_sigmoid,
      let multiply = unsafe functions.multiply, let add = unsafe functions.add
    else { return }
    let length = 256
    unsafe withUnsafeTemporaryAllocation(of: Float.self, capacity: 2 * length) { buffer in
      guard let open = buffer.baseAddress else { return }
      let factor = unsafe open + length
      for start in stride(from: 0, to: count, by: length) {
        let part = min(length, count - start)
        unsafe clamp(gate + start, -.greatestFiniteMagnitude, limit, open, part)
        unsafe activate(open, open, part)
        unsafe clamp(up + start, -limit, limit, factor, part)
        unsafe multiply(open, factor, factor, part)
        unsafe add(factor, open, y + start, part)
      }
    }
  }
}
