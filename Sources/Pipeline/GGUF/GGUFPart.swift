import Codecs
import GGUF
import OrderedCollections
import TensorCore

/// A weight that becomes a tensor of a file, or one of several that do: threads take some rows each, store them anew and
/// write them, so that no whole matrix that was moved or stored anew is in memory.
struct GGUFPart: Sendable {
  /// The weight, as it is before it is stored anew.
  let weight: Weight
  /// Its name in the checkpoint.
  let name: String
  /// Row `i` of the file is row `order[i]` of the weight; nil: rows stay where they are.
  let order: [Int]?
  /// Whether the file has its values in F32 whatever they were, if it is not quantized.
  let isPrecise: Bool

  /// Stored names, behind the layer's number, of matrices that loaders want in F32 like vectors.
  private static let preciseNames = ["_norm.weight", "ffn_gate_inp.weight", "position_embd.weight"]

  /// - Parameter stored: the name of the tensor in the file.
  init(_ weight: Weight, name: String, stored: String, order: [Int]? = nil) {
    self.weight = weight
    self.name = name
    self.order = order
    isPrecise = weight.shape.rank < 2 || Self.preciseNames.contains(where: stored.hasSuffix)
  }

  /// A tensor of one weight, or of several of the same kind one after the other.
  /// - Parameter isStack: whether the tensor has one more dimension, which counts the weights.
  static func source(
    _ parts: [GGUFPart], recodings: WeightRecodings?, name: String, isStack: Bool = false
  ) throws -> GGUFTensorSource {
    guard let first = parts.first else { throw PipelineError.weight(name, reason: "there is no weight") }
    let type = try first.type(recodings)
    for part in parts {
      guard part.weight.shape == first.weight.shape, try part.type(recodings) == type else {
        throw PipelineError.weight(name, reason: "experts differ in shape or type")
      }
      if parts.count > 1, case .encoded(let matrix) = part.weight, matrix.planes["global_scale"] != nil {
        throw PipelineError.weight(name, reason: "experts with scales of their own are not written")
      }
    }
    let inner = first.weight.shape.dimensions
    let shape = try Shape(isStack ? [parts.count] + inner : inner)
    let partBytes = try type.byteCount(first.weight.shape)
    return .inAnyOrder(type: type, shape: shape) { place in
      try recodings?.progress(name)
      for (index, part) in parts.enumerated() {
        try part.write(as: type, recodings, to: place, at: index * partBytes, byteCount: partBytes)
      }
    }
  }

  /// How the weight is stored in the file.
  private func type(_ recodings: WeightRecodings?) throws -> GGUFTensorType {
    let recoding = isRecoded(recodings) ? recodings?.entries[name] : nil
    let codec: (any Codec)? =
      switch (recoding, weight) {
      case (.round(let codec, _), _): codec
      case (.bridge(let bridge), _): bridge.target
      case (.dense, _), (nil, .dense): nil
      case (nil, .encoded(let matrix)): matrix.codec
      }
    if let codec {
      if let reason = GGUFBlocks.refusal(codec, columns: weight.shape.columns) {
        throw PipelineError.weight(name, reason: "gguf cannot hold \(codec.canonicalName): \(reason)")
      }
      if let type = GGUFBlocks.type(of: codec) { return type }
    }
    var elementType = ElementType.f32
    if case .dense(let type) = recoding { elementType = type }
    if recoding == nil, case .dense(let tensor) = weight, [.f16, .bf16].contains(tensor.elementType) {
      elementType = tensor.elementType
    }
    if isPrecise { elementType = .f32 }
    guard let type = GGUFTensorType.all.first(where: { $0.elementType == elementType }) else {
      throw PipelineError.weight(name, reason: "GGUF has no type \(elementType.name)")
    }
    return type
  }

  /// A weight that was stored anew as a whole is not stored anew again.
  private func isRecoded(_ recodings: WeightRecodings?) -> Bool {
    if case .round = recodings?.entries[name], case .encoded = weight { return false }
    return recodings?.entries[name] != nil
  }

  private func write(
    as type: GGUFTensorType, _ recodings: WeightRecodings?, to place: GGUFTensorPlace, at start: Int,
    byteCount: Int
  ) throws {
    let isMovedVector = order != nil && weight.shape.rank == 1
    let rows = isMovedVector ? weight.shape.elementCount : weight.shape.rows
    let columns = isMovedVector ? 1 : weight.shape.columns
    guard rows > 0 else { return }
    let width = byteCount / rows
    func write(_ range: Range<Int>) throws {
      try self.write(
        range, as: type, recodings, to: place, at: start + range.lowerBound * width, width: width)
    }
    func release(_ range: Range<Int>) { weight.releasePages(rows: order == nil ? range : 0..<0) }
    let shape = try Shape([rows, columns])
    if let pool = recodings?.pool {
      _ = try pool.mapRows(of: shape, write, release: release)
    } else {
      for range in RowTasks.ranges(shape) {
        try write(range)
        release(range)
      }
    }
    weight.releasePages(rows: 0..<weight.shape.rows)
  }

  /// Writes some rows of `width` bytes each.
  private func write(
    _ rows: Range<Int>, as type: GGUFTensorType, _ recodings: WeightRecodings?, to place: GGUFTensorPlace,
    at offset: Int, width: Int
  ) throws {
    if isRecoded(recodings), case .round(let codec, let search) = recodings?.entries[name],
      case .dense(let tensor) = weight, let codec = codec as? any BlockCodec
    {
      let source = try order.map { try tensor.selecting(rows: Array($0[rows])) } ?? tensor
      return try unsafe withUnsafeTemporaryAllocation(byteCount: rows.count * width, alignment: 64) {
        target in
        do throws(CodecError) {
          try unsafe codec.encode(
            rows: order == nil ? rows : 0..<rows.count, of: source, importance: nil, search: search,
            into: target)
        } catch {
          throw PipelineError.encoding(
            weight: name, error.movedDown(byRows: order == nil ? rows.lowerBound : 0))
        }
        try unsafe place.write(UnsafeRawBufferPointer(target), at: offset)
      }
    }
    var piece = try rowsOfWeight(rows)
    if let recodings, isRecoded(recodings) {
      piece = try recodings.apply(to: piece, named: name, firstRow: rows.lowerBound)
    }
    let bytes: Tensor
    switch piece {
    case .encoded(let matrix): bytes = try GGUFBlocks.bytes(of: matrix, rows: 0..<matrix.rows)
    case .dense(let tensor) where tensor.elementType == type.elementType: bytes = tensor
    case .dense(let tensor): bytes = try Tensor(tensor.floats(), shape: tensor.shape)
    }
    try unsafe bytes.withBytes { try unsafe place.write($0, at: offset) }
  }

  private func rowsOfWeight(_ range: Range<Int>) throws -> Weight {
    if let order { return try weight.selecting(rows: Array(order[range])) }
    if range == 0..<weight.shape.rows { return weight }
    switch weight {
    case .dense(let tensor): return .dense(try tensor.slice(rows: range))
    case .encoded(let matrix): return .encoded(try matrix.selecting(rows: Array(range)))
    }
  }
}
