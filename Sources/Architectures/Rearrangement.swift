import Codecs
import GraphIR
import TensorCore

/// How a tensor of the checkpoint becomes the constant of the same name in the graph; exact, since only places change.
public enum Rearrangement: Sendable, Equatable {
  /// The checkpoint holds `[in, out]`; encoded matrices, which are `[out, in]` always, stay as they are.
  case transposed
  /// Row `i` of the constant is row `order[i]` of the tensor; a permutation.
  case rows([Int])

  /// The constant. Rows and columns of plain tensors are moved when they are first read.
  /// - Throws: `TensorCoreError`, `CodecError`.
  public func applied(to weight: Weight) throws -> Weight {
    switch (self, weight) {
    case (.transposed, .dense(let tensor)): .dense(try tensor.transposed())
    case (.transposed, .encoded): weight
    case (.rows(let order), .dense(let tensor)): .dense(try tensor.selecting(rows: order))
    case (.rows(let order), .encoded(let matrix)): .encoded(try matrix.selecting(rows: order))
    }
  }

  /// The tensor that the checkpoint would hold for a constant.
  /// - Throws: `TensorCoreError`, `CodecError`.
  public func undone(on weight: Weight) throws -> Weight {
    guard case .rows(let order) = self else { return try applied(to: weight) }
    var inverse = [Int](repeating: 0, count: order.count)
    for (place, row) in order.enumerated() { inverse[row] = place }
    return try Rearrangement.rows(inverse).applied(to: weight)
  }

  /// The type of the constant.
  func applied(to type: ConstantType) -> ConstantType {
    guard self == .transposed, ElementType.allCases.contains(where: { $0.name == type.encoding }) else {
      return type
    }
    return ConstantType(type.encoding, type.dimensions.reversed())
  }
}
