import CKernels
import OrderedCollections
import TensorCore

extension GGMLCodec {
  /// Rounds a matrix; see ``Codec``.
  public func encode(
    _ matrix: FloatMatrix, importance: [Float]?, search: ScaleSearch
  ) throws(CodecError) -> EncodedMatrix {
    try unsafe encoded(rows: matrix.rows, columns: matrix.columns) { (target) throws(CodecError) in
      try unsafe encode(matrix, importance: importance, search: search, into: target)
    }
  }

  /// Rounds rows of a tensor, converting a few at a time; see ``Codec``.
  public func encode(
    rows: Range<Int>, of tensor: Tensor, importance: [Float]?, search: ScaleSearch
  ) throws(CodecError) -> EncodedMatrix {
    try unsafe encoded(rows: rows.count, columns: tensor.shape.columns) { (target) throws(CodecError) in
      try unsafe encode(rows: rows, of: tensor, importance: importance, search: search, into: target)
    }
  }

  /// Rounds rows of a tensor to bytes that are there; see ``BlockCodec``.
  public func encode(
    rows: Range<Int>, of tensor: Tensor, importance: [Float]?, search: ScaleSearch,
    into target: UnsafeMutableRawBufferPointer
  ) throws(CodecError) {
    let columns = tensor.shape.columns
    precondition(rows.lowerBound >= 0 && rows.upperBound <= tensor.shape.rows, "rows out of range")
    guard [.f32, .bf16, .f16].contains(tensor.elementType) else {
      let values: FloatMatrix
      do throws(TensorCoreError) {
        values = try FloatMatrix(
          rows: rows.count, columns: columns,
          values: tensor.floats(elements: rows.lowerBound * columns..<rows.upperBound * columns))
      } catch {
        throw .invalidParameters(codec: canonicalName, reason: error.diagnostic.message)
      }
      return try unsafe encode(values, importance: importance, search: search, into: target)
    }
    try unsafe tensor.withBytes { (bytes) throws(CodecError) in
      let source = unsafe RowSource(bytes, tensor.elementType, columns: columns, kernels: kernels)
      try unsafe encode(
        source, rows: rows, columns: columns, importance: importance, search: search, into: target)
    }
  }

  private func encode(
    _ matrix: FloatMatrix, importance: [Float]?, search: ScaleSearch,
    into target: UnsafeMutableRawBufferPointer
  ) throws(CodecError) {
    try unsafe matrix.values.withUnsafeBufferPointer { (values) throws(CodecError) in
      let bytes = UnsafeRawBufferPointer(values)
      let source = unsafe RowSource(bytes, .f32, columns: matrix.columns, kernels: kernels)
      try unsafe encode(
        source, rows: 0..<matrix.rows, columns: matrix.columns, importance: importance, search: search,
        into: target)
    }
  }

  /// A matrix whose blocks `fill` writes.
  private func encoded(
    rows: Int, columns: Int, fill: (UnsafeMutableRawBufferPointer) throws(CodecError) -> Void
  ) throws(CodecError) -> EncodedMatrix {
    try requireWholeBlocks(columns)
    let rowBytes = rowByteCount(columns: columns)
    let region = try unsafe MemoryRegion(byteCount: rows * rowBytes, fill: fill)
    let plane: Tensor
    do throws(TensorCoreError) {
      plane = try Tensor(elementType: .u8, shape: Shape([rows, rowBytes]), region: region)
    } catch {
      throw .invalidParameters(codec: canonicalName, reason: error.diagnostic.message)
    }
    return try EncodedMatrix(codec: self, rows: rows, columns: columns, planes: ["blocks": plane])
  }

  private func requireWholeBlocks(_ columns: Int) throws(CodecError) {
    guard columns % blockLength == 0 else {
      throw .invalidParameters(
        codec: canonicalName, reason: "\(columns) columns are not whole blocks of \(blockLength)")
    }
  }

  private func encode(
    _ source: RowSource, rows: Range<Int>, columns: Int, importance: [Float]?, search: ScaleSearch,
    into target: UnsafeMutableRawBufferPointer
  ) throws(CodecError) {
    try requireWholeBlocks(columns)
    let weights = try normalized(importance, columns: columns)
    let rowBytes = rowByteCount(columns: columns)
    precondition(target.count == rows.count * rowBytes, "the target must hold the blocks")
    // As many rows at a time as stay in a core's nearest cache, which they are read from several times.
    let step = max(1, 4096 / max(columns, 1))
    try unsafe withUnsafeTemporaryAllocation(of: Float.self, capacity: min(step, rows.count) * columns) {
      (scratch) throws(CodecError) in
      for start in stride(from: rows.lowerBound, to: rows.upperBound, by: step) {
        let chunk = start..<min(start + step, rows.upperBound)
        let place = (chunk.lowerBound - rows.lowerBound) * rowBytes
        let part = unsafe UnsafeMutableRawBufferPointer(
          rebasing: target[place..<place + chunk.count * rowBytes])
        let values = unsafe source.floats(of: chunk, scratch: scratch)
        try unsafe encode(
          values, firstRow: chunk.lowerBound - rows.lowerBound, columns: columns, importance: weights,
          search: search, into: part)
      }
    }
  }

  private func encode(
    _ values: UnsafeBufferPointer<Float>, firstRow: Int, columns: Int, importance: [Float]?,
    search: ScaleSearch,
    into target: UnsafeMutableRawBufferPointer
  ) throws(CodecError) {
    guard let x = values.baseAddress,
      let blocks = unsafe target.baseAddress?.assumingMemoryBound(to: UInt8.self)
    else { return }
    guard let magnitude = unsafe kernels.largestMagnitude(x, count: values.count) else {
      let bad = unsafe values.firstIndex { !$0.isFinite } ?? 0
      throw .nonFinite(row: firstRow + bad / columns, column: bad % columns, value: unsafe values[bad])
    }
    let count = values.count / blockLength
    let isSearch = search != .extremes || blockLength == 256
    unsafe (importance ?? []).withUnsafeBufferPointer { weights in
      unsafe kernels.encode(
        format,
        unsafe ck_block_task(
          x: x, importance: importance == nil ? nil : weights.baseAddress, count: count,
          period: columns / blockLength, search: isSearch ? 1 : 0, blocks: blocks))
    }
    if isSearch, magnitude > largestMagnitude {
      try unsafe refuseMagnitudes(values, firstRow: firstRow, columns: columns)
    }
    try unsafe checkFactors(
      UnsafeRawBufferPointer(target), count: count, firstRow: firstRow, columns: columns)
  }

  /// The largest value that a factor of f16 reaches.
  private var largestMagnitude: Float { Float(Float16.greatestFiniteMagnitude) * largestMultiple }

  /// Names the first value that no factor of f16 reaches: a search would clip it and stay finite.
  private func refuseMagnitudes(
    _ values: UnsafeBufferPointer<Float>, firstRow: Int, columns: Int
  ) throws(CodecError) {
    for index in values.indices where unsafe abs(values[index]) > largestMagnitude {
      throw .scaleOverflow(
        row: firstRow + index / columns, group: index % columns / blockLength,
        scale: unsafe abs(values[index]) / largestMultiple, type: .f16)
    }
  }

  /// What the factor of a block is multiplied with at most.
  private var largestMultiple: Float {
    switch format {
    case .q4_0: 8
    case .q4_1: 16
    case .q5_0: 16
    case .q5_1: 32
    case .q8_0: 128
    case .q2_k: 15 * 4
    case .q3_k: 32 * 4
    case .q4_k: 63 * 16
    case .q5_k: 63 * 32
    case .q6_k: 128 * 32
    }
  }

  /// Refuses factors that are too large for f16.
  private func checkFactors(
    _ blocks: UnsafeRawBufferPointer, count: Int, firstRow: Int, columns: Int
  ) throws(CodecError) {
    let offsets = format.factorOffsets
    let size = blockByteCount
    var largest: UInt16 = 0
    for offset in offsets {
      for block in 0..<count {
        let bits = unsafe blocks.loadUnaligned(fromByteOffset: block &* size &+ offset, as: UInt16.self)
        largest = max(largest, bits & 0x7C00)
      }
    }
    guard largest == 0x7C00 else { return }
    for block in 0..<count {
      for offset in offsets {
        let bits = unsafe blocks.loadUnaligned(fromByteOffset: block &* size &+ offset, as: UInt16.self)
        guard bits & 0x7C00 == 0x7C00 else { continue }
        let perRow = columns / blockLength
        throw .scaleOverflow(
          row: firstRow + block / perRow, group: block % perRow, scale: Float(Float16(bitPattern: bits)),
          type: .f16)
      }
    }
  }

  /// Importance with the mean 1, so that neither sums overflow nor they vanish; nil when all columns weigh the same.
  private func normalized(_ importance: [Float]?, columns: Int) throws(CodecError) -> [Float]? {
    try check(importance, columns: columns)
    guard let importance, let first = importance.first, importance.contains(where: { $0 != first }) else {
      return nil
    }
    let mean = importance.reduce(0.0) { $0 + Double($1) } / Double(importance.count)
    return importance.map { Float(Double($0) / mean) }
  }
}

extension Codec {
  /// Refuses importance of the wrong length, or that is negative or not finite.
  func check(_ importance: [Float]?, columns: Int) throws(CodecError) {
    guard let importance else { return }
    guard importance.count == columns else {
      throw .invalidParameters(
        codec: canonicalName, reason: "importance of \(importance.count) inputs for \(columns) columns")
    }
    guard importance.allSatisfy({ $0.isFinite && $0 >= 0 }) else {
      throw .invalidParameters(codec: canonicalName, reason: "importance is negative or not finite")
    }
  }
}

/// Rows of f32, bf16 or f16 elements at any address, read as float32.
@safe
private struct RowSource {
  private let bytes: UnsafeRawBufferPointer
  private let type: ElementType
  private let columns: Int
  private let kernels: BlockKernels

  init(_ bytes: UnsafeRawBufferPointer, _ type: ElementType, columns: Int, kernels: BlockKernels) {
    unsafe self.bytes = unsafe bytes
    self.type = type
    self.columns = columns
    self.kernels = kernels
  }

  /// The values of rows, where they lie or in `scratch`.
  func floats(of rows: Range<Int>, scratch: UnsafeMutableBufferPointer<Float>) -> UnsafeBufferPointer<Float> {
    let width = type == .f32 ? 4 : 2
    let range = rows.lowerBound * columns * width..<rows.upperBound * columns * width
    let part = unsafe UnsafeRawBufferPointer(rebasing: bytes[range])
    let count = rows.count * columns
    guard let source = part.baseAddress, let target = scratch.baseAddress, count > 0 else {
      return unsafe UnsafeBufferPointer(start: nil, count: 0)
    }
    if type == .f32 {
      guard UInt(bitPattern: source) % 4 != 0 else {
        return unsafe UnsafeBufferPointer(start: source.assumingMemoryBound(to: Float.self), count: count)
      }
      unsafe UnsafeMutableRawBufferPointer(scratch).copyMemory(from: part)
    } else if type == .bf16 {
      unsafe kernels.widen(bf16: source.assumingMemoryBound(to: UInt16.self), into: target, count: count)
    } else {
      unsafe kernels.widen(f16: source.assumingMemoryBound(to: UInt16.self), into: target, count: count)
    }
    return unsafe UnsafeBufferPointer(start: UnsafePointer(target), count: count)
  }
}
