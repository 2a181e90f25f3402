import TensorCore

/// Reads little-endian values from bytes in memory; every step is checked and every error carries the offset.
@safe
public struct ByteReader {
  /// The bytes that are read.
  public let region: MemoryRegion
  /// The name of the file, for errors.
  public let file: String?
  private let bytes: UnsafeRawBufferPointer
  private let end: Int
  /// Offset in the region of what comes next.
  public private(set) var offset: Int

  /// Reads `range` of `region`, all of it by default.
  public init(_ region: MemoryRegion, range: Range<Int>? = nil, file: String? = nil) {
    let range = (range ?? 0..<region.byteCount).clamped(to: 0..<region.byteCount)
    self.region = region
    unsafe self.bytes = unsafe region.unsafeBytes
    self.offset = range.lowerBound
    self.end = range.upperBound
    self.file = file
  }

  /// Reads a copy of `bytes`.
  public init(_ bytes: [UInt8], file: String? = nil) {
    self.init(MemoryRegion(copying: bytes), file: file)
  }

  /// Bytes that are left.
  public var remaining: Int { end - offset }

  /// Reads an integer in little-endian order.
  /// - Throws: ``SafeIOError/truncated(file:offset:needed:available:)``.
  public mutating func readLittleEndian<Integer: FixedWidthInteger & BitwiseCopyable>(
    _ type: Integer.Type = Integer.self
  ) throws(SafeIOError) -> Integer {
    let start = try advance(MemoryLayout<Integer>.size)
    return Integer(littleEndian: unsafe bytes.loadUnaligned(fromByteOffset: start, as: Integer.self))
  }

  /// Reads a float32.
  /// - Throws: ``SafeIOError/truncated(file:offset:needed:available:)``.
  public mutating func readFloat() throws(SafeIOError) -> Float {
    Float(bitPattern: try readLittleEndian(UInt32.self))
  }

  /// Reads a float64.
  /// - Throws: ``SafeIOError/truncated(file:offset:needed:available:)``.
  public mutating func readDouble() throws(SafeIOError) -> Double {
    Double(bitPattern: try readLittleEndian(UInt64.self))
  }

  /// Reads `count` bytes.
  /// - Throws: ``SafeIOError/truncated(file:offset:needed:available:)``.
  public mutating func readBytes(_ count: Int) throws(SafeIOError) -> [UInt8] {
    let start = try advance(count)
    return unsafe Array(bytes[start..<start + count])
  }

  /// Reads `count` bytes of UTF-8.
  /// - Throws: ``SafeIOError/truncated(file:offset:needed:available:)``, or `.malformed` when it is not UTF-8.
  public mutating func readText(_ count: Int) throws(SafeIOError) -> String {
    let start = try advance(count)
    let part = unsafe UnsafeRawBufferPointer(rebasing: bytes[start..<start + count])
    if let text = unsafe String(validating: part, as: UTF8.self) { return text }
    let place = start + (unsafe UTF8Text.validPrefix(of: part))
    throw .malformed(file: file, offset: place, problem: "the text is not UTF-8")
  }

  /// Passes over `count` bytes and tells where they begin.
  /// - Throws: ``SafeIOError/truncated(file:offset:needed:available:)``, also for a negative count.
  @discardableResult
  public mutating func skip(_ count: Int) throws(SafeIOError) -> Range<Int> {
    let start = try advance(count)
    return start..<start + count
  }

  /// Passes over bytes until the offset is a multiple of `alignment`, which must be positive.
  /// - Throws: ``SafeIOError/truncated(file:offset:needed:available:)``.
  public mutating func align(to alignment: Int) throws(SafeIOError) {
    guard alignment > 0 else {
      throw .malformed(file: file, offset: offset, problem: "an alignment of \(alignment)")
    }
    let rest = offset % alignment
    if rest != 0 { try skip(alignment - rest) }
  }

  /// Checks that `count` entries of at least `minimumByteCount` bytes each can still follow, before room is made for them.
  /// - Throws: ``SafeIOError/truncated(file:offset:needed:available:)``.
  public func require(count: UInt64, minimumByteCount: Int) throws(SafeIOError) -> Int {
    let possible = remaining / max(minimumByteCount, 1)
    guard count <= UInt64(possible) else {
      let needed = count.multipliedReportingOverflow(by: UInt64(max(minimumByteCount, 1)))
      throw .truncated(
        file: file, offset: offset, needed: needed.overflow ? .max : Int(clamping: needed.partialValue),
        available: remaining)
    }
    return Int(count)
  }

  private mutating func advance(_ count: Int) throws(SafeIOError) -> Int {
    guard count >= 0, count <= remaining else {
      throw .truncated(file: file, offset: offset, needed: count, available: remaining)
    }
    defer { offset += count }
    return offset
  }
}
