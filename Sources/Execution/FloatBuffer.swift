/// Scratch floats that grow and are never shrunk; contents are lost when they grow. Aligned to 64 bytes.
@safe
final class FloatBuffer {
  private var storage: UnsafeMutableRawBufferPointer?
  /// Floats that fit.
  private(set) var capacity = 0

  /// Makes room for `count` floats.
  func reserve(_ count: Int) {
    let isEmpty = unsafe storage == nil
    guard isEmpty || count > capacity else { return }
    unsafe storage?.deallocate()
    unsafe storage = UnsafeMutableRawBufferPointer.allocate(
      byteCount: max(count, 1) * MemoryLayout<Float>.stride, alignment: 64)
    capacity = count
  }

  deinit { unsafe storage?.deallocate() }

  /// The first float; only after ``reserve(_:)``.
  var start: UnsafeMutablePointer<Float> {
    guard let base = unsafe storage?.baseAddress else { preconditionFailure("nothing was reserved") }
    return unsafe base.assumingMemoryBound(to: Float.self)
  }

  /// The first `count` floats.
  func prefix(_ count: Int) -> UnsafeBufferPointer<Float> {
    precondition(count <= capacity)
    guard count > 0 else { return unsafe UnsafeBufferPointer(start: nil, count: 0) }
    return unsafe UnsafeBufferPointer(start: start, count: count)
  }
}
