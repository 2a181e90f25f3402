import CKernels
import Codecs

extension KernelTable {
  /// What activations are after they were rounded: codes times scales, as floats; outliers stay.
  ///
  /// - Parameters:
  ///   - blockLength: columns that share a scale in the weights, for ``ActivationScheme/Granularity/block``.
  ///   - y: as large as `x`, and not `x`.
  public func roundActivations(
    _ x: Rows, to input: InputQuantization, blockLength: Int = 128, into y: Rows, workspace: Workspace,
    pool: ThreadPool
  ) {
    guard !input.outlierColumns.isEmpty else {
      return unsafe roundAll(x, to: input, blockLength: blockLength, into: y, workspace, pool)
    }
    let parts = unsafe workspace.separated(x, columns: input.outlierColumns)
    unsafe roundAll(parts.rest, to: input, blockLength: blockLength, into: y, workspace, pool)
    for row in unsafe 0..<x.rows {
      for column in input.outlierColumns { unsafe y[row][column] = x[row][column] }
    }
  }

  private func roundAll(
    _ x: Rows, to input: InputQuantization, blockLength: Int, into y: Rows, _ workspace: Workspace,
    _ pool: ThreadPool
  ) {
    let scheme = input.scheme
    switch scheme.kind {
    case .float32:
      for row in unsafe 0..<x.rows { unsafe y[row].update(from: x[row], count: x.columns) }
    case .fp8:
      guard let function = unsafe functions.round_e4m3 else { return }
      let length = unsafe scheme.scaleColumns(of: x.columns, block: blockLength)
      unsafe forEachRow(x.rows, columns: x.columns, pool) { row in
        unsafe function(x[row], x.columns, length, input.scale ?? 0, y[row])
      }
    case .int8:
      let quantized = workspace.activations
      unsafe quantizeActivations(x, blockLength: blockLength, as: input, into: quantized, pool: pool)
      let threshold = scheme.outlierThreshold
      unsafe forEachRow(x.rows, columns: x.columns, pool) { row in
        let values = quantized.decoded(row: row)
        for column in values.indices {
          let value = unsafe x[row][column]
          let isOutlier = threshold > 0 && !(value.magnitude < threshold)
          unsafe y[row][column] = isOutlier ? value : values[column]
        }
      }
    }
  }

  /// A linear layer over codes with integer products; `activation` comes after the outliers.
  func integerLinear(
    _ x: Rows, _ w: PanelMatrix, bias: UnsafePointer<Float>?, then activation: Activation?, into y: Rows,
    _ input: InputQuantization, _ workspace: Workspace, _ pool: ThreadPool
  ) {
    let threshold = input.scheme.outlierThreshold
    guard threshold > 0 || !input.outlierColumns.isEmpty else {
      unsafe quantizeActivations(
        x, blockLength: w.blockLength, as: input, into: workspace.activations, pool: pool)
      return unsafe linear(workspace.activations, w, bias: bias, then: activation, into: y, pool: pool)
    }
    var (rest, outliers) = unsafe (x, x)
    if !input.outlierColumns.isEmpty {
      unsafe (rest, outliers) = workspace.separated(x, columns: input.outlierColumns)
    }
    unsafe quantizeActivations(
      rest, blockLength: w.blockLength, as: input, into: workspace.activations, pool: pool)
    unsafe linear(workspace.activations, w, bias: bias, into: y, pool: pool)
    if !input.outlierColumns.isEmpty {
      unsafe addOutliers(outliers, w, threshold: .leastNonzeroMagnitude, into: y, pool: pool)
    }
    if threshold > 0 {
      unsafe countOutliers(rest, threshold: threshold, workspace, pool)
      unsafe addOutliers(rest, w, threshold: threshold, into: y, pool: pool)
    }
    guard let finish = unsafe activation.flatMap({ unsafe function(for: $0) }) else { return }
    unsafe forEachRow(y.rows, columns: y.columns, pool) { row in unsafe finish(y[row], y[row], y.columns) }
  }

  private func countOutliers(_ x: Rows, threshold: Float, _ workspace: Workspace, _ pool: ThreadPool) {
    unsafe withUnsafeTemporaryAllocation(of: Int.self, capacity: max(x.rows, 1)) { counts in
      let first = counts.baseAddress
      unsafe forEachRow(x.rows, columns: x.columns, pool) { row in
        var count = 0
        // As the kernels see it: NaN reaches every threshold.
        for column in unsafe 0..<x.columns where unsafe !(x[row][column].magnitude < threshold) { count += 1 }
        unsafe first?[row] = count
      }
      for row in unsafe 0..<x.rows { workspace.outlierCount += unsafe counts[row] }
    }
    workspace.outlierCandidates += unsafe x.rows * x.columns
  }

  /// Adds the products with numbers of at least a magnitude, which were left out of the codes.
  private func addOutliers(
    _ x: Rows, _ w: PanelMatrix, threshold: Float, into y: Rows, pool: ThreadPool
  ) {
    guard let function = unsafe w.encoding == .q8 ? functions.outliers_q8 : functions.outliers_q4 else {
      return
    }
    let view = unsafe w.view
    let panels = w.panelCount
    unsafe forEachRow(x.rows, columns: x.columns, pool) { row in
      var view = unsafe view
      unsafe function(&view, x[row], threshold, y[row], 0, panels)
    }
    withExtendedLifetime(w.storage) {}
  }
}

extension Workspace {
  /// The rows without some columns, and those columns alone: zeros take the place of the others.
  func separated(_ x: Rows, columns: [Int]) -> (rest: Rows, outliers: Rows) {
    let parts = unsafe separatedRows(x.rows, columns: x.columns)
    for row in unsafe 0..<x.rows {
      unsafe parts.rest[row].update(from: x[row], count: x.columns)
      unsafe parts.outliers[row].update(repeating: 0, count: x.columns)
      for column in columns {
        unsafe parts.outliers[row][column] = x[row][column]
        unsafe parts.rest[row][column] = 0
      }
    }
    return unsafe parts
  }
}
