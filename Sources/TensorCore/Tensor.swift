/// An immutable row-major tensor: element type, shape, and the bytes of a region that it looks at.
public struct Tensor: Sendable {
  /// Type of the stored elements.
  public let elementType: ElementType
  /// Dimensions, outermost first.
  public let shape: Shape
  /// The region that holds the bytes.
  public let region: MemoryRegion
  /// Where the first element lies in the region.
  public let byteOffset: Int
  /// Bytes of all elements.
  public let byteCount: Int

  /// Looks at bytes of `region` from `byteOffset`; any alignment.
  /// - Throws: ``TensorCoreError`` when the elements do not lie inside the region.
  public init(
    elementType: ElementType, shape: Shape, region: MemoryRegion, byteOffset: Int = 0
  ) throws(TensorCoreError) {
    let byteCount = try elementType.byteCount(elements: shape.elementCount)
    let end = try Checked.sum(byteOffset, byteCount)
    guard end <= region.byteCount else {
      throw .byteCountMismatch(expected: end, found: region.byteCount)
    }
    self.elementType = elementType
    self.shape = shape
    self.region = region
    self.byteOffset = byteOffset
    self.byteCount = byteCount
  }

  /// A float32 tensor that owns a copy of `values`.
  /// - Throws: ``TensorCoreError/byteCountMismatch(expected:found:)`` when the count is not the shape's.
  public init(_ values: [Float], shape: Shape) throws(TensorCoreError) {
    try self.init(copying: values, elementType: .f32, shape: shape)
  }

  /// An int32 tensor that owns a copy of `values`.
  /// - Throws: ``TensorCoreError/byteCountMismatch(expected:found:)`` when the count is not the shape's.
  public init(_ values: [Int32], shape: Shape) throws(TensorCoreError) {
    try self.init(copying: values, elementType: .i32, shape: shape)
  }

  /// A tensor of any type that owns a copy of its bytes.
  /// - Throws: ``TensorCoreError/byteCountMismatch(expected:found:)`` when the count is not the shape's.
  public init(bytes: [UInt8], elementType: ElementType, shape: Shape) throws(TensorCoreError) {
    try self.init(copying: bytes, elementType: elementType, shape: shape)
  }

  private init<Element: BitwiseCopyable>(
    copying values: [Element], elementType: ElementType, shape: Shape
  ) throws(TensorCoreError) {
    let byteCount = values.count * MemoryLayout<Element>.stride
    let expected = try elementType.byteCount(elements: shape.elementCount)
    guard byteCount == expected else {
      throw .byteCountMismatch(expected: expected, found: byteCount)
    }
    let region = unsafe MemoryRegion(byteCount: byteCount) { target in
      unsafe values.withUnsafeBytes { source in
        unsafe target.copyMemory(from: source)
      }
    }
    try self.init(elementType: elementType, shape: shape, region: region)
  }

  /// Runs `body` on the tensor's bytes.
  public func withBytes<Result, E: Error>(
    _ body: (UnsafeRawBufferPointer) throws(E) -> Result
  ) throws(E) -> Result {
    let bytes = unsafe UnsafeRawBufferPointer(
      rebasing: region.unsafeBytes[byteOffset..<byteOffset + byteCount])
    let result = try unsafe body(bytes)
    withExtendedLifetime(region) {}
    return result
  }

  /// The same bytes under another shape.
  /// - Throws: ``TensorCoreError/shapeMismatch(expected:found:)`` when the element counts differ.
  public func reshaped(to shape: Shape) throws(TensorCoreError) -> Tensor {
    guard shape.elementCount == self.shape.elementCount else {
      throw .shapeMismatch(expected: "\(self.shape.elementCount) elements", found: "\(shape)")
    }
    return try Tensor(elementType: elementType, shape: shape, region: region, byteOffset: byteOffset)
  }

  /// Every element as float32.
  /// - Throws: ``TensorCoreError/unsupportedElementType(_:purpose:)`` for types without a float value.
  public func floats() throws(TensorCoreError) -> [Float] {
    try floats(elements: 0..<shape.elementCount)
  }

  /// A range of elements, in row-major order, as float32.
  /// - Throws: ``TensorCoreError/unsupportedElementType(_:purpose:)`` for types without a float value.
  public func floats(elements range: Range<Int>) throws(TensorCoreError) -> [Float] {
    var result = [Float](repeating: 0, count: range.count)
    var failure: TensorCoreError?
    unsafe result.withUnsafeMutableBufferPointer { target in
      do throws(TensorCoreError) { try unsafe decode(elements: range, into: target) } catch {
        failure = error
      }
    }
    if let failure { throw failure }
    return result
  }

  /// Writes a range of elements as float32 to `target`, which must hold as many; exact but for f64, i32
  /// and wider.
  /// - Throws: ``TensorCoreError/unsupportedElementType(_:purpose:)`` for types without a float value.
  public func decode(
    elements range: Range<Int>, into target: UnsafeMutableBufferPointer<Float>
  ) throws(TensorCoreError) {
    precondition(
      range.lowerBound >= 0 && range.upperBound <= shape.elementCount && target.count >= range.count)
    guard let decoder = ElementDecoder(elementType) else {
      throw .unsupportedElementType(elementType, purpose: "arithmetic")
    }
    let width = elementType.bitWidth / 8
    unsafe withBytes { bytes in
      unsafe decoder.decode(
        UnsafeRawBufferPointer(rebasing: bytes[range.lowerBound * width..<range.upperBound * width]),
        into: target)
    }
  }

  /// Integer elements widened to `Int64`.
  /// - Throws: ``TensorCoreError/unsupportedElementType(_:purpose:)`` for types that are not integers,
  ///   ``TensorCoreError/overflow(_:)`` when an unsigned element does not fit.
  public func integers() throws(TensorCoreError) -> [Int64] {
    let count = shape.elementCount
    func load<T: FixedWidthInteger & BitwiseCopyable>(_: T.Type) -> [Int64] {
      unsafe withBytes { bytes in
        (0..<count).map { index in
          let offset = index * MemoryLayout<T>.size
          return Int64(truncatingIfNeeded: unsafe bytes.loadUnaligned(fromByteOffset: offset, as: T.self))
        }
      }
    }
    switch elementType {
    case .bool, .u8: return load(UInt8.self)
    case .i8: return load(Int8.self)
    case .i16: return load(Int16.self)
    case .u16: return load(UInt16.self)
    case .i32: return load(Int32.self)
    case .u32: return load(UInt32.self)
    case .i64: return load(Int64.self)
    case .u64:
      let values = load(UInt64.self)
      guard let large = values.first(where: { $0 < 0 }) else { return values }
      throw .overflow("\(UInt64(bitPattern: large)) as Int64")
    default: throw .unsupportedElementType(elementType, purpose: "integers")
    }
  }
}
