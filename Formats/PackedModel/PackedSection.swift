import SafeIO
import TensorCore

/// How the bytes of a section are stored.
public enum PackedCompression: String, Sendable {
  /// As they are; used in place.
  case none
  /// One Zstandard frame.
  case zstd
}

/// What is done to the bytes of a section before compression, and undone after.
public enum PackedTransform: String, Sendable {
  /// Nothing.
  case none
  /// The high bytes of all 16-bit values, then the low bytes: exponents of bfloat16 compress well when they are together.
  case bf16Planes = "bf16_planes"
}

/// Where a section lies and what it is.
public struct PackedSectionDescriptor: Sendable, Equatable {
  /// Unique name.
  public let name: String
  /// What the section holds, a word of the model format.
  public let kind: String
  /// Offset in the file, a multiple of 64.
  public let offset: Int
  /// Bytes in the file.
  public let storedByteCount: Int
  /// Bytes after decompression.
  public let byteCount: Int
  /// How the bytes are stored.
  public let compression: PackedCompression
  /// What was done before compression.
  public let transform: PackedTransform
  /// SHA-256 of the stored bytes.
  public let digest: SHA256Digest
}

/// Bytes of a section: a part of a region that is kept alive.
public struct PackedBytes: Sendable {
  /// The region.
  public let region: MemoryRegion
  /// The part of it.
  public let range: Range<Int>

  /// A part of a region, all of it by default.
  public init(_ region: MemoryRegion, range: Range<Int>? = nil) {
    self.region = region
    self.range = (range ?? 0..<region.byteCount).clamped(to: 0..<region.byteCount)
  }

  /// The bytes of a tensor.
  public init(_ tensor: Tensor) {
    self.init(tensor.region, range: tensor.byteOffset..<tensor.byteOffset + tensor.byteCount)
  }

  /// Number of bytes.
  public var byteCount: Int { range.count }

  /// A copy of the bytes.
  public var array: [UInt8] { unsafe region.withBytes { unsafe Array($0[range]) } }

  /// The bytes as a tensor that looks at them.
  /// - Throws: `TensorCoreError` when they are not as many as type and shape need.
  public func tensor(_ elementType: ElementType, _ shape: Shape) throws(TensorCoreError) -> Tensor {
    let expected = try elementType.byteCount(elements: shape.elementCount)
    guard expected == byteCount else { throw .byteCountMismatch(expected: expected, found: byteCount) }
    return try Tensor(elementType: elementType, shape: shape, region: region, byteOffset: range.lowerBound)
  }
}

/// A section to write.
public struct PackedSectionInput: Sendable {
  /// Unique name.
  public var name: String
  /// What the section holds.
  public var kind: String
  /// Number of bytes, before compression.
  public var byteCount: Int
  /// Makes the bytes when their turn comes; the pieces are written one after another.
  public var load: @Sendable () throws -> [PackedBytes]
  /// How to store the bytes; ones that do not shrink are stored as they are.
  public var compression: PackedCompression
  /// What to do before compression.
  public var transform: PackedTransform

  /// A section that is made when its turn comes.
  public init(
    name: String, kind: String, byteCount: Int, compression: PackedCompression = .none,
    transform: PackedTransform = .none, load: @escaping @Sendable () throws -> [PackedBytes]
  ) {
    self.name = name
    self.kind = kind
    self.byteCount = byteCount
    self.load = load
    self.compression = compression
    self.transform = transform
  }

  /// A section of bytes that are there.
  public init(
    name: String, kind: String, content: [PackedBytes], compression: PackedCompression = .none,
    transform: PackedTransform = .none
  ) {
    let byteCount = content.reduce(0) { $0 + $1.byteCount }
    self.init(name: name, kind: kind, byteCount: byteCount, compression: compression, transform: transform) {
      content
    }
  }

  /// A section of bytes that are there.
  public init(
    name: String, kind: String, bytes: [UInt8], compression: PackedCompression = .none,
    transform: PackedTransform = .none
  ) {
    self.init(
      name: name, kind: kind, content: [PackedBytes(MemoryRegion(copying: bytes))], compression: compression,
      transform: transform)
  }
}
