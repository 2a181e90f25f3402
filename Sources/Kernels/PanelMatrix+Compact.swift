import CKernels
import Codecs
import TensorCore

extension PackingPlan {
  /// Makes plain bf16 panels compact where that takes clearly fewer bytes: where rows have few exponents far below their largest one.
  ///
  /// Elements that are far below are exceptions, for which every panel has as much room as the fullest one needs, and each costs the
  /// product with one token as much as some columns do. One in 32 columns of a panel is the limit; trained weights have about one in a
  /// thousand.
  mutating func makeCompact(_ weights: [Weight]) {
    guard encoding == .bf16, let columns = weights.first?.shape.columns,
      let most = PackingPlan.exceptionCount(weights, columns: columns, limit: columns / 32)
    else { return }
    let room = PanelLayout.padded(most * MemoryLayout<ck_exception>.size)
    guard PanelLayout.compactByteCount(columns: columns) + room <= columns * 28 else { return }
    (encoding, exceptionByteCount) = (.compactBF16, room)
  }

  /// Exceptions of the fullest panel; nil when they are more than `limit`.
  private static func exceptionCount(_ weights: [Weight], columns: Int, limit: Int) -> Int? {
    var most = 0
    var inPanel = 0
    var row = 0
    for weight in weights {
      guard case .dense(let tensor) = weight else { return nil }
      let fits = unsafe tensor.withBytes { bytes in
        guard let start = unsafe bytes.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return true }
        for index in 0..<tensor.shape.rows {
          if row % PanelMatrix.panelRows == 0 { inPanel = 0 }
          inPanel += unsafe ck_count_exceptions(start + index * columns * 2, columns)
          if inPanel > limit { return false }
          most = max(most, inPanel)
          row += 1
        }
        return true
      }
      guard fits else { return nil }
    }
    return most
  }
}

extension PanelLayout {
  /// Bytes of a compact panel without exceptions.
  static func compactByteCount(columns: Int) -> Int {
    Int(CK_COMPACT_HEADER) + Checked.ceilingQuotient(columns, 8) * compactStep
  }

  /// Bytes of eight columns of a compact panel.
  static let compactStep = 192

  /// The bytes for exceptions in each panel of a matrix of `byteCount` bytes; this layout has none.
  /// - Throws: ``KernelsError/storageSize(expected:found:)``.
  func exceptionByteCount(of byteCount: Int) throws(KernelsError) -> Int {
    let rest = byteCount - self.byteCount
    guard rest != 0 else { return 0 }
    guard rest > 0, panelCount > 0, rest % (64 * panelCount) == 0 else {
      throw .storageSize(expected: self.byteCount, found: byteCount)
    }
    return rest / panelCount
  }
}

extension PanelMatrix {
  /// Looks at the exceptions of compact panels that come from outside.
  /// - Throws: ``KernelsError/invalidLayout(_:)``.
  func checkExceptions() throws(KernelsError) {
    guard encoding == .compactBF16 else { return }
    var view = unsafe view
    let damaged = unsafe ck_damaged_compact(&view)
    withExtendedLifetime(storage) {}
    guard damaged < 0 else {
      throw .invalidLayout(
        "the exceptions of panel \(damaged) do not fit, lie outside of it or are not in order")
    }
  }
}
