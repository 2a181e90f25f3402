import CKernels

extension KernelTable {
  /// What activations are after they were rounded: codes times scales, as floats.
  func round(
    _ x: Rows, to precision: ActivationPrecision, blockLength: Int, into y: Rows, _ workspace: Workspace,
    _ pool: ThreadPool
  ) {
    if let length = unsafe precision.floatGroup(columns: x.columns) {
      guard let function = unsafe functions.round_e4m3 else { return }
      return unsafe forEachRow(x.rows, columns: x.columns, pool) { row in
        unsafe function(x[row], x.columns, length, y[row])
      }
    }
    let quantized = workspace.activations
    unsafe quantizeActivations(
      x, blockLength: blockLength, hasTokenScales: precision.hasTokenScales, threshold: precision.threshold,
      into: quantized, pool: pool)
    unsafe forEachRow(x.rows, columns: x.columns, pool) { row in
      let values = quantized.decoded(row: row)
      for column in values.indices {
        let value = unsafe x[row][column]
        let isOutlier = precision.threshold > 0 && !(value.magnitude < precision.threshold)
        unsafe y[row][column] = isOutlier ? value : values[column]
      }
    }
  }

  /// Adds the products with numbers of at least a magnitude, which were left out of the codes.
  func addOutliers(
    _ x: Rows, _ w: PanelMatrix, threshold: Float, then activation: Activation? = nil, into y: Rows,
    pool: ThreadPool
  ) {
    guard let function = unsafe w.encoding == .q8 ? functions.outliers_q8 : functions.outliers_q4 else {
      return
    }
    let view = unsafe w.view
    let panels = w.panelCount
    let finish = unsafe activation.flatMap { unsafe self.function(for: $0) }
    unsafe forEachRow(x.rows, columns: x.columns, pool) { row in
      var view = unsafe view
      unsafe function(&view, x[row], threshold, y[row], 0, panels)
      if let finish = unsafe finish { unsafe finish(y[row], y[row], y.columns) }
    }
    withExtendedLifetime(w.storage) {}
  }
}
