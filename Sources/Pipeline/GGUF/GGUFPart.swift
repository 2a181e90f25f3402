import Codecs
import GGUF
import OrderedCollections
import TensorCore

/// A weight that becomes a tensor of a file, or one of several that do: rows go by in pieces, so that no whole matrix
/// that was moved or stored anew is in memory.
struct GGUFPart: Sendable {
  /// The weight, as it is before it is stored anew.
  let weight: Weight
  /// Its name in the checkpoint.
  let name: String
  /// Row `i` of the file is row `order[i]` of the weight; nil: rows stay where they are.
  let order: [Int]?

  private static let pieceElements = 1 << 22

  init(_ weight: Weight, name: String, order: [Int]? = nil) {
    self.weight = weight
    self.name = name
    self.order = order
  }

  /// A tensor of one weight, or of several of the same kind one after the other, which get one more dimension.
  static func source(
    _ parts: [GGUFPart], recodings: WeightRecodings?, name: String
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
    let shape = try Shape(parts.count > 1 ? [parts.count] + inner : inner)
    return GGUFTensorSource(type: type, shape: shape) { write in
      for part in parts { try part.write(as: type, recodings, write) }
    }
  }

  /// How the weight is stored in the file. Vectors are F32, whatever they were.
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
    if weight.shape.rank < 2 { elementType = .f32 }
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
    as type: GGUFTensorType, _ recodings: WeightRecodings?, _ write: (Tensor) throws -> Void
  ) throws {
    let (rows, columns) = (weight.shape.rows, weight.shape.columns)
    let step = max(1, Self.pieceElements / max(columns, 1))
    // While a piece is made, the one before it is written.
    var ready: Tensor?
    func flush() throws {
      if let tensor = ready { try write(tensor) }
      ready = nil
    }
    for start in stride(from: 0, to: rows, by: step) {
      let range = start..<min(start + step, rows)
      var piece = try rowsOfWeight(range)
      if let recodings, isRecoded(recodings) {
        piece = try recodings.apply(to: piece, named: name, alongside: flush)
      }
      try flush()
      switch piece {
      case .encoded(let matrix): ready = try GGUFBlocks.bytes(of: matrix, rows: 0..<matrix.rows)
      case .dense(let tensor) where tensor.elementType == type.elementType: ready = tensor
      case .dense(let tensor): ready = try Tensor(tensor.floats(), shape: tensor.shape)
      }
      // A piece of the file itself is written before its pages are given up.
      if !isRecoded(recodings) { try flush() }
      weight.releasePages(rows: order == nil ? range : 0..<0)
    }
    try flush()
    weight.releasePages(rows: 0..<rows)
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
