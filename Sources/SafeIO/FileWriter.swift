import Glibc
import TensorCore

/// Steps of writing at which a test can make the system fail.
package enum WriteStep: Sendable { case create, allocate, write, synchronize, rename }

/// Failures that tests inject.
package struct WriteFaults: Sendable {
  /// Asked before each step; an errno value makes the step fail.
  package var code: @Sendable (WriteStep) -> Int32?

  /// Asks `code` before each step, on the thread that takes it.
  package init(_ code: @escaping @Sendable (WriteStep) -> Int32?) { self.code = code }

  /// Nothing is injected.
  package static var none: WriteFaults { WriteFaults { _ in nil } }
}

/// Writes to an open file; every write is checked, short writes are continued.
public struct FileWriter: ~Copyable {
  private let descriptor: Int32
  private let path: String
  private let faults: WriteFaults
  private var buffer: [UInt8] = []
  private let capacity = 1 << 18
  /// Bytes written so far.
  public private(set) var position = 0

  init(descriptor: Int32, path: String, faults: WriteFaults) {
    self.descriptor = descriptor
    self.faults = faults
    self.path = path
  }

  /// Writes bytes.
  /// - Throws: ``SafeIOError/writeFailed(file:operation:code:)``.
  public mutating func write(_ bytes: [UInt8]) throws(SafeIOError) {
    if bytes.count < capacity / 4 {
      buffer.append(contentsOf: bytes)
      position += bytes.count
      if buffer.count >= capacity { try flush() }
      return
    }
    try write(MemoryRegion(copying: bytes))
  }

  /// Writes text as UTF-8.
  /// - Throws: ``SafeIOError/writeFailed(file:operation:code:)``.
  public mutating func write(_ text: String) throws(SafeIOError) { try write(Array(text.utf8)) }

  /// Writes an integer in little-endian order.
  /// - Throws: ``SafeIOError/writeFailed(file:operation:code:)``.
  public mutating func writeLittleEndian(_ value: some FixedWidthInteger) throws(SafeIOError) {
    let bits = value.littleEndian
    try write((0..<bits.bitWidth / 8).map { UInt8(truncatingIfNeeded: bits >> ($0 * 8)) })
  }

  /// Writes bytes of a region, all of them by default, without a copy.
  /// - Throws: ``SafeIOError/writeFailed(file:operation:code:)``.
  public mutating func write(_ region: MemoryRegion, range: Range<Int>? = nil) throws(SafeIOError) {
    let range = (range ?? 0..<region.byteCount).clamped(to: 0..<region.byteCount)
    try unsafe write(UnsafeRawBufferPointer(rebasing: region.unsafeBytes[range]))
    withExtendedLifetime(region) {}
  }

  /// Writes the bytes of a tensor without a copy.
  /// - Throws: ``SafeIOError/writeFailed(file:operation:code:)``.
  public mutating func write(_ tensor: Tensor) throws(SafeIOError) {
    try write(tensor.region, range: tensor.byteOffset..<tensor.byteOffset + tensor.byteCount)
  }

  /// Writes bytes in memory without a copy.
  /// - Throws: ``SafeIOError/writeFailed(file:operation:code:)``.
  public mutating func write(_ bytes: UnsafeRawBufferPointer) throws(SafeIOError) {
    try flush()
    try unsafe writeNow(bytes)
    position += bytes.count
  }

  /// Writes `byte` until the position is a multiple of `alignment`, which must be positive.
  /// - Throws: ``SafeIOError/writeFailed(file:operation:code:)``.
  public mutating func pad(toMultipleOf alignment: Int, with byte: UInt8 = 0) throws(SafeIOError) {
    let rest = position % alignment
    if rest != 0 { try write([UInt8](repeating: byte, count: alignment - rest)) }
  }

  /// Writes bytes over some that were written before; the position stays.
  /// - Throws: ``SafeIOError/writeFailed(file:operation:code:)``.
  public mutating func overwrite(at offset: Int, with bytes: [UInt8]) throws(SafeIOError) {
    precondition(offset >= 0 && offset + bytes.count <= position, "only written bytes can be written over")
    try flush()
    guard lseek(descriptor, off_t(offset), SEEK_SET) >= 0 else {
      throw .writeFailed(file: path, operation: "seek", code: errno)
    }
    buffer = bytes
    try flush()
    guard lseek(descriptor, off_t(position), SEEK_SET) >= 0 else {
      throw .writeFailed(file: path, operation: "seek", code: errno)
    }
  }

  /// Sets the next `byteCount` bytes aside and lets `body` write them, in any order and from any thread.
  /// - Returns: bytes that were written; where nothing was, the file has what it had.
  /// - Throws: ``SafeIOError/writeFailed(file:operation:code:)``, and what `body` throws.
  public mutating func writeRange(byteCount: Int, _ body: (RangeWriter) throws -> Void) throws -> Int {
    precondition(byteCount >= 0, "a range has no negative length")
    try flush()
    let start = lseek(descriptor, 0, SEEK_CUR)
    guard start >= 0 else { throw SafeIOError.writeFailed(file: path, operation: "seek", code: errno) }
    let range = RangeWriter(
      descriptor: descriptor, path: path, start: Int(start), byteCount: byteCount, faults: faults)
    try body(range)
    guard lseek(descriptor, start + off_t(byteCount), SEEK_SET) >= 0 else {
      throw SafeIOError.writeFailed(file: path, operation: "seek", code: errno)
    }
    position += byteCount
    return range.writtenByteCount
  }

  mutating func flush() throws(SafeIOError) {
    guard !buffer.isEmpty else { return }
    let pending = buffer
    buffer.removeAll(keepingCapacity: true)
    let result: Result<Void, SafeIOError> = unsafe pending.withUnsafeBytes { bytes in
      do throws(SafeIOError) { return .success(try unsafe writeNow(bytes)) } catch { return .failure(error) }
    }
    try result.get()
  }

  private func writeNow(_ bytes: UnsafeRawBufferPointer) throws(SafeIOError) {
    try unsafe writeAll(bytes, path: path, faults: faults) { (rest, _) in
      unsafe Glibc.write(descriptor, rest.baseAddress, rest.count)
    }
  }
}
