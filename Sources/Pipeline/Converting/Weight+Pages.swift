import Codecs
import OrderedCollections
import TensorCore

extension Weight {
  /// Says that rows will not be needed for a while; see `MemoryRegion.discard(_:)`.
  func releasePages(rows: Range<Int>) {
    let count = max(shape.rows, 1)
    switch self {
    case .dense(let tensor): Self.release(tensor, rows, of: count)
    case .encoded(let matrix):
      for plane in matrix.planes.values { Self.release(plane, rows, of: count) }
    }
  }

  private static func release(_ tensor: Tensor, _ rows: Range<Int>, of count: Int) {
    let width = tensor.byteCount / count
    let start = tensor.byteOffset + rows.lowerBound * width
    tensor.region.discard(start..<start + rows.count * width)
  }
}
