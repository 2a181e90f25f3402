import CKernels

extension KernelTable {
  /// Bytes that a thread fetches at most: less than half of the second caches that are common, of which others need the rest.
  private static let expectedByteCount = 192 << 10

  /// What each thread of a pool reads first when one row is multiplied with a matrix: where the tasks begin that threads take first.
  /// - Parameter isGated: whether the rows are gates and factors, of which tasks read both.
  public static func expectations(
    of w: PanelMatrix, isGated: Bool, pool: ThreadPool
  ) -> [ThreadPool.Expectation] {
    let view = unsafe w.view
    guard let start = unsafe view.bytes else { return [] }
    let base = UInt(bitPattern: start)
    let panelBytes = unsafe Int(view.panel_bytes)
    let panels = isGated ? w.panelCount / 2 : w.panelCount
    let grid = TaskGrid(panels: panels, tokens: 1, tokenBlock: tokenBlock, threads: pool.threadCount)
    return (0..<min(pool.threadCount, grid.count)).map { task in
      let range = grid[task].panels
      let place = base + UInt(range.lowerBound * panelBytes)
      let byteCount = min(range.count * panelBytes * (isGated ? 2 : 1), expectedByteCount)
      // The halves of one task, or its gates and its factors.
      let other = isGated ? UInt(panels * panelBytes) : UInt(byteCount / 2)
      return ThreadPool.Expectation(places: (place, place + other), byteCount: byteCount)
    }
  }
}
