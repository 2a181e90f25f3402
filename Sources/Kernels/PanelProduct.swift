import CKernels

/// The products of a matrix in panels with some rows, of which tasks make parts.
///
/// The matrix and the rows must live until all parts are made.
@safe
struct PanelProduct {
  /// Makes the products of `panelCount` panels with `tokens`; `target` is where panel 0 would lie for the first of these, in rows
  /// `stride` floats apart. `after` is what the thread reads next, to be fetched meanwhile; nil for the panels behind these.
  typealias Part = (
    _ firstPanel: Int, _ panelCount: Int, _ tokens: Range<Int>, _ target: UnsafeMutablePointer<Float>,
    _ stride: Int, _ worker: Int, _ after: UnsafePointer<UInt8>?
  ) -> Void

  let part: Part
  /// Floats of each thread's scratch that it uses.
  let scratch: Int
  fileprivate let panels: ck_panels

  /// Where a panel begins.
  func start(ofPanel panel: Int) -> UnsafePointer<UInt8>? {
    unsafe panels.bytes.map { unsafe $0 + panel * panels.panel_bytes }
  }
}

extension KernelTable {
  /// Products with floats.
  func product(
    _ x: Rows, _ w: PanelMatrix, bias: UnsafePointer<Float>?, _ workspace: Workspace, _ pool: ThreadPool
  ) -> PanelProduct {
    let function = unsafe linearFunction(w.encoding)
    let view = unsafe w.view
    return unsafe PanelProduct(
      part: { panel, count, tokens, target, stride, worker, after in
        var panels = unsafe view
        unsafe panels.after = after
        unsafe function(
          &panels, x[tokens.lowerBound], x.stride, tokens.count, bias, target, stride, panel, count,
          workspace.scratch(worker))
      }, scratch: KernelTable.linearScratch(tokens: x.rows, pool), panels: view)
  }

  /// Products with codes of the block length of `w`.
  /// - Parameter first: the row that belongs to the first token.
  func product(
    _ x: QuantizedRows, first: Int, _ w: PanelMatrix, bias: UnsafePointer<Float>?, _ pool: ThreadPool
  ) -> PanelProduct {
    precondition(w.encoding.isQuantized && w.blockLength == x.blockLength, "blocks of a linear layer")
    let kernels = unsafe functions.linear_i8
    if w.encoding == .q8 { unsafe x.fit(functions.fit, pool: pool) }
    let view = unsafe w.view
    let source = unsafe x.view
    guard let function = unsafe w.encoding == .q8 ? kernels.3 : kernels.4 else {
      preconditionFailure("every table has every linear kernel")
    }
    return unsafe PanelProduct(
      part: { panel, count, tokens, target, stride, _, after in
        var panels = unsafe view
        unsafe panels.after = after
        var rows = unsafe source.rows(from: first + tokens.lowerBound)
        unsafe function(&panels, &rows, tokens.count, bias, target, stride, panel, count)
      }, scratch: 0, panels: view)
  }
}
