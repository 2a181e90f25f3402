extension Tensor {
  /// The tensor whose entry `i` along the outermost dimension is entry `order[i]` of this one, made when its bytes are
  /// first asked for.
  /// - Throws: ``TensorCoreError`` unless the tensor has rows of whole bytes and `order` names rows of it.
  public func selecting(rows order: [Int]) throws(TensorCoreError) -> Tensor {
    guard let count = shape.dimensions.first, elementType.bitWidth % 8 == 0 else {
      throw .shapeMismatch(expected: "rows of whole bytes", found: "\(elementType.name) \(shape)")
    }
    guard order.allSatisfy({ (0..<count).contains($0) }) else {
      throw .shapeMismatch(expected: "rows below \(count)", found: "\(order.max() ?? 0)")
    }
    let width = count == 0 ? 0 : byteCount / count
    let selected = try Shape([order.count] + shape.dimensions.dropFirst())
    let region = unsafe MemoryRegion.deferred(byteCount: order.count * width) { [self] target in
      unsafe withBytes { source in
        for (index, row) in order.enumerated() {
          unsafe UnsafeMutableRawBufferPointer(rebasing: target[index * width..<(index + 1) * width])
            .copyMemory(from: UnsafeRawBufferPointer(rebasing: source[row * width..<(row + 1) * width]))
        }
      }
    }
    return try Tensor(elementType: elementType, shape: selected, region: region)
  }

  /// Some entries along the outermost dimension, as a view.
  /// - Throws: ``TensorCoreError`` unless there are such entries of whole bytes.
  public func slice(rows: Range<Int>) throws(TensorCoreError) -> Tensor {
    guard let count = shape.dimensions.first, rows.lowerBound >= 0, rows.upperBound <= count,
      count == 0 || byteCount % count == 0
    else { throw .shapeMismatch(expected: "rows \(rows)", found: "\(shape)") }
    return try Tensor(
      elementType: elementType, shape: Shape([rows.count] + shape.dimensions.dropFirst()), region: region,
      byteOffset: byteOffset + rows.lowerBound * (count == 0 ? 0 : byteCount / count))
  }

  /// Entry `index` along the outermost dimension, as a view.
  /// - Throws: ``TensorCoreError`` unless there is such an entry of whole bytes.
  public func entry(_ index: Int) throws(TensorCoreError) -> Tensor {
    guard let count = shape.dimensions.first, (0..<count).contains(index), byteCount % count == 0 else {
      throw .shapeMismatch(expected: "an entry \(index)", found: "\(shape)")
    }
    return try Tensor(
      elementType: elementType, shape: Shape(Array(shape.dimensions.dropFirst())), region: region,
      byteOffset: byteOffset + index * (byteCount / count))
  }
}
