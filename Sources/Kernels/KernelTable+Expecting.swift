import CKernels

extension KernelTable {
  /// Bytes that a thread fetches at most: less than half of the second caches that are common, of which others need the rest.
  private static let expectedByteCount = 192 << 10

  /// What each thread of a pool reads first when one row is multiplied with a matrix: where its share begins.
  /// - Parameter isGated: whether the rows are gates and factors, of which tasks read both.
  public static func expectations(
    of w: PanelMatrix, isGated: Bool, pool: ThreadPool
  ) -> [ThreadPool.Expectation] {
    let view = unsafe w.view
    guard let start = unsafe view.bytes else { return [] }
    let base = UInt(bitPattern: start)
    let panelBytes = unsafe Int(view.panel_bytes)
    let panels = isGated ? w.panelCount / 2 : w.panelCount
    guard panels > 0 else { return [] }
    return (0..<pool.threadCount).map { worker in
      let range = pool.share(of: panels, unit: panelsTogether, worker)
      let place = base + UInt(range.lowerBound * panelBytes)
      let byteCount = min(range.count * panelBytes * (isGated ? 2 : 1), expectedByteCount)
      // The halves of what is fetched, or gates and factors.
      let other = isGated ? UInt(panels * panelBytes) : UInt(byteCount / 2)
      return ThreadPool.Expectation(places: (place, place + other), byteCount: byteCount)
    }
  }
}
