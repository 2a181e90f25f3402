extension Tensor {
  /// The matrix with rows and columns exchanged, made when its bytes are first asked for.
  /// - Throws: ``TensorCoreError/shapeMismatch(expected:found:)`` unless it is a matrix of whole-byte elements.
  public func transposed() throws(TensorCoreError) -> Tensor {
    guard shape.rank == 2, elementType.bitWidth % 8 == 0 else {
      throw .shapeMismatch(expected: "a matrix of whole bytes", found: "\(elementType.name) \(shape)")
    }
    let (rows, columns) = (shape.dimensions[0], shape.dimensions[1])
    let region = unsafe MemoryRegion.deferred(byteCount: byteCount) { [self] target in
      unsafe withBytes { source in
        switch elementType.bitWidth {
        case 8: unsafe Tensor.transpose(source, rows, columns, as: UInt8.self, into: target)
        case 16: unsafe Tensor.transpose(source, rows, columns, as: UInt16.self, into: target)
        case 32: unsafe Tensor.transpose(source, rows, columns, as: UInt32.self, into: target)
        default: unsafe Tensor.transpose(source, rows, columns, as: UInt64.self, into: target)
        }
      }
    }
    return try Tensor(elementType: elementType, shape: Shape([columns, rows]), region: region)
  }

  /// Squares of 32 by 32 elements, so that lines of both sides stay in the cache.
  private static func transpose<Element: BitwiseCopyable>(
    _ source: UnsafeRawBufferPointer, _ rows: Int, _ columns: Int, as type: Element.Type,
    into target: UnsafeMutableRawBufferPointer
  ) {
    let width = MemoryLayout<Element>.size
    for top in stride(from: 0, to: rows, by: 32) {
      for left in stride(from: 0, to: columns, by: 32) {
        for column in left..<min(left + 32, columns) {
          for row in top..<min(top + 32, rows) {
            let value = unsafe source.loadUnaligned(
              fromByteOffset: (row * columns + column) * width, as: type)
            unsafe target.storeBytes(of: value, toByteOffset: (column * rows + row) * width, as: type)
          }
        }
      }
    }
  }

  /// The same bytes as elements of another type.
  /// - Throws: ``TensorCoreError`` when the elements do not lie inside the tensor.
  public func reinterpreted(as elementType: ElementType, shape: Shape) throws(TensorCoreError) -> Tensor {
    let count = try elementType.byteCount(elements: shape.elementCount)
    guard count == byteCount else { throw .byteCountMismatch(expected: count, found: byteCount) }
    return try Tensor(elementType: elementType, shape: shape, region: region, byteOffset: byteOffset)
  }
}
