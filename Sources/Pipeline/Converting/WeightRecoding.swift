import Codecs
import Kernels
import Synchronization
import TensorCore

/// How a weight is stored anew.
public enum WeightRecoding: Sendable {
  /// As plain numbers.
  case dense(ElementType)
  /// In another codec that holds the same values, or nearly.
  case bridge(CodecBridge)
  /// Rounded to the nearest values of a codec.
  case round(any Codec, search: ScaleSearch)

  /// Element type or codec of the result.
  public var encodingName: String {
    switch self {
    case .dense(let type): type.name
    case .bridge(let bridge): bridge.target.canonicalName
    case .round(let codec, _): codec.canonicalName
    }
  }

  /// Bytes of the result for a weight of this shape.
  func byteCount(_ shape: Shape) -> Int {
    switch self {
    case .dense(let type): (try? type.byteCount(elements: shape.elementCount)) ?? 0
    case .bridge(let bridge): Self.byteCount(bridge.target, shape)
    case .round(let codec, _): Self.byteCount(codec, shape)
    }
  }

  private static func byteCount(_ codec: any Codec, _ shape: Shape) -> Int {
    Int((codec.bitsPerWeight(columns: shape.columns) * Double(shape.elementCount) / 8).rounded())
  }

  /// Stores a weight anew.
  /// - Parameter firstRow: the row of a larger weight that this one begins with, for errors.
  /// - Throws: ``PipelineError/weight(_:reason:)`` and ``PipelineError/encoding(weight:_:)`` for values that the type or the
  ///   codec cannot hold; `CodecError`, `TensorCoreError`.
  public func apply(
    to weight: Weight, named name: String, firstRow: Int = 0, pool: ThreadPool
  ) throws -> Weight {
    switch (self, weight) {
    case (.dense(let type), _):
      return .dense(try Self.dense(weight, type, name: name, firstRow: firstRow, pool: pool))
    case (.bridge(let bridge), .encoded(let matrix)):
      return .encoded(try bridge.convert(matrix))
    case (.round(let codec, let search), .dense(let tensor)):
      do {
        return .encoded(try Self.round(tensor, to: codec, search: search, pool: pool))
      } catch let error as CodecError {
        throw PipelineError.encoding(weight: name, error.movedDown(byRows: firstRow))
      }
    case (.bridge, .dense), (.round, .encoded):
      throw PipelineError.weight(name, reason: "is \(weight.encodingName), which is not what was planned for")
    }
  }

  /// Rounds a tensor, in parallel where the codec allows.
  private static func round(
    _ tensor: Tensor, to codec: any Codec, search: ScaleSearch, pool: ThreadPool
  ) throws -> EncodedMatrix {
    guard codec.isRowwise, RowTasks.ranges(tensor.shape).count > 1 else {
      return try codec.encode(rows: 0..<tensor.shape.rows, of: tensor, importance: nil, search: search)
    }
    let parts = try pool.mapRows(of: tensor.shape) { rows in
      do throws(CodecError) {
        return try codec.encode(rows: rows, of: tensor, importance: nil, search: search)
      } catch {
        throw error.movedDown(byRows: rows.lowerBound)
      }
    }
    return try EncodedMatrix.joined(rows: parts)
  }

  private static func dense(
    _ weight: Weight, _ type: ElementType, name: String, firstRow: Int, pool: ThreadPool
  ) throws -> Tensor {
    let columns = weight.shape.columns
    let width = type.bitWidth / 8
    let byteCount = try type.byteCount(elements: weight.shape.rows * columns)
    let region = try unsafe MemoryRegion(byteCount: byteCount) { target in
      _ = try pool.mapRows(of: weight.shape) { range in
        var values = [Float](repeating: 0, count: range.count * columns)
        try unsafe values.withUnsafeMutableBufferPointer { try unsafe weight.decode(rows: range, into: $0) }
        let part = unsafe UnsafeMutableRawBufferPointer(
          rebasing: target[range.lowerBound * columns * width..<range.upperBound * columns * width])
        if let index = unsafe store(values, as: type, in: part) {
          throw PipelineError.weight(
            name,
            reason:
              "has \(values[index]) in row \(firstRow + range.lowerBound + index / columns), column \(index % columns), which \(type.name) cannot hold"
          )
        }
      }
    }
    return try Tensor(elementType: type, shape: weight.shape, region: region)
  }

  /// Writes values; gives the index of the first finite one that became infinite.
  private static func store(
    _ values: [Float], as type: ElementType, in target: UnsafeMutableRawBufferPointer
  ) -> Int? {
    var overflow: Int?
    for index in values.indices {
      let value = values[index]
      switch type {
      case .f16:
        let half = Float16(value)
        if half.isInfinite, value.isFinite, overflow == nil { overflow = index }
        unsafe target.storeBytes(of: half.bitPattern, toByteOffset: 2 * index, as: UInt16.self)
      case .bf16:
        unsafe target.storeBytes(of: SmallFloat.bfloat16(value), toByteOffset: 2 * index, as: UInt16.self)
      default:
        unsafe target.storeBytes(of: value.bitPattern, toByteOffset: 4 * index, as: UInt32.self)
      }
    }
    return overflow
  }
}

/// How the weights of a model are stored anew, and the threads that do it.
struct WeightRecodings: Sendable {
  /// By name; weights without one stay as they are.
  let entries: [String: WeightRecoding]
  /// The threads.
  let pool: ThreadPool
  /// Told when a weight's turn comes.
  var progress: @Sendable (_ name: String) throws -> Void = { _ in }

  /// A weight as it is to be stored.
  /// - Throws: as ``WeightRecoding/apply(to:named:firstRow:pool:)``.
  func apply(to weight: Weight, named name: String, firstRow: Int = 0) throws -> Weight {
    guard let entry = entries[name] else { return weight }
    return try entry.apply(to: weight, named: name, firstRow: firstRow, pool: pool)
  }
}

extension ThreadPool {
  /// Runs tasks on all threads and gives their results in the order of the tasks.
  /// - Throws: what the first task in that order throws; the others run to their end.
  func map<Result: Sendable>(count: Int, _ task: (Int) throws -> Result) throws -> [Result] {
    let results = Mutex<[Swift.Result<Result, any Error>?]>(Array(repeating: nil, count: count))
    run(taskCount: count) { index in
      let result = Swift.Result { try task(index) }
      results.withLock { $0[index] = result }
    }
    return try results.withLock { try $0.compactMap { try $0?.get() } }
  }
}
