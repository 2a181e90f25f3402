import Architectures
import Codecs
import GGUF
import OrderedCollections
import TensorCore

/// Weights that files may hold in several tensors.
extension GGUFWeights {
  /// The weight out of its tensors, by the numbers of their parts.
  /// - Throws: ``PipelineError/weight(_:reason:)`` when they do not belong together.
  func joined(_ parts: [Int: GGUFTensor], _ name: String) throws -> Weight {
    parts.keys.contains(where: { $0 < 0 }) ? try joinedHeads(parts, name) : try joinedRows(parts, name)
  }

  /// Queries, keys and values one after the other. Parts of one type keep their bits; of several, they become float32.
  private func joinedRows(_ parts: [Int: GGUFTensor], _ name: String) throws -> Weight {
    let entries = (0..<3).compactMap { parts[$0] }
    guard entries.count == 3, Set(entries.map { $0.shape.dimensions.dropFirst() }).count == 1 else {
      let found = entries.map { "\($0.name) \($0.shape)" }.joined(separator: ", ")
      throw PipelineError.weight(name, reason: "wants queries, keys and values of one width, not \(found)")
    }
    let weights = try entries.map { entry in
      try weight(entry, checkpoint.bytes(of: entry.name), entry.shape, scale: scale(entry, 0))
    }
    let matrices = weights.compactMap { if case .encoded(let matrix) = $0 { matrix } else { nil } }
    if matrices.count == 3, Set(matrices.map(\.codec.canonicalName)).count == 1 {
      return .encoded(try EncodedMatrix.joined(rows: matrices))
    }
    let rows = entries.reduce(0) { $0 + $1.shape.dimensions[0] }
    let shape = try Shape([rows] + entries[0].shape.dimensions.dropFirst())
    let region = unsafe MemoryRegion.deferred(byteCount: try Checked.product(shape.elementCount, 4)) {
      target in
      let floats = unsafe target.assumingMemoryBound(to: Float.self)
      var start = 0
      for weight in weights {
        let count = weight.shape.elementCount
        let part = unsafe UnsafeMutableBufferPointer(rebasing: floats[start..<start + count])
        // Shapes and types were checked when the file was opened.
        try? unsafe weight.decode(rows: 0..<weight.shape.rows, into: part)
        start += count
      }
    }
    return .dense(try Tensor(elementType: .f32, shape: shape, region: region))
  }

  /// A projection to keys and values out of the two tensors of newer files, keys `[heads, in, out]`, values `[heads, out, in]`:
  /// the rows of all keys, then those of all values. It is put together when it is first read.
  private func joinedHeads(_ parts: [Int: GGUFTensor], _ name: String) throws -> Weight {
    guard let keys = parts[GGUFTransform.keys], let values = parts[GGUFTransform.values],
      keys.shape.rank == 3, values.shape.rank == 3,
      keys.shape.dimensions[0] == values.shape.dimensions[0],
      keys.shape.dimensions[1] == values.shape.dimensions[2]
    else {
      let found = parts.values.map { "\($0.name) \($0.shape)" }.sorted().joined(separator: ", ")
      throw PipelineError.weight(
        name, reason: "wants tensors of keys [heads, in, out] and values [heads, out, in], not \(found)")
    }
    let (heads, columns) = (keys.shape.dimensions[0], keys.shape.dimensions[1])
    let (keyRows, valueRows) = (keys.shape.dimensions[2], values.shape.dimensions[1])
    let whole = try [keys, values].map { entry in
      let shape = try Shape([heads * entry.shape.dimensions[1], entry.shape.dimensions[2]])
      return try weight(entry, checkpoint.bytes(of: entry.name), shape, scale: scale(entry, 0))
    }
    let count = try Checked.product(Checked.product(heads, keyRows + valueRows), columns)
    let region = unsafe MemoryRegion.deferred(byteCount: try Checked.product(count, 4)) { target in
      let floats = unsafe target.assumingMemoryBound(to: Float.self)
      // Both were checked when the file was opened.
      guard let matrices = try? whole.map({ try $0.decoded().values }) else { return }
      for head in 0..<heads {
        for column in 0..<columns {
          for row in 0..<keyRows {
            unsafe floats[(head * keyRows + row) * columns + column] =
              matrices[0][(head * columns + column) * keyRows + row]
          }
        }
      }
      let start = heads * keyRows * columns
      for index in matrices[1].indices { unsafe floats[start + index] = matrices[1][index] }
    }
    let shape = try Shape([heads * (keyRows + valueRows), columns])
    return .dense(try Tensor(elementType: .f32, shape: shape, region: region))
  }
}

extension GGUFTransform {
  /// Numbers of the parts of a projection to keys and values.
  static let (keys, values) = (-1, -2)

  /// The number of a part, for tensors that make a weight only with others.
  var partNumber: Int? {
    switch self {
    case .fusedPart(let number): number
    case .headRows(let isTransposed): isTransposed ? Self.keys : Self.values
    default: nil
    }
  }
}
