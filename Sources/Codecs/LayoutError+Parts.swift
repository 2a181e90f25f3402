import OrderedCollections
import TensorCore

extension NamedLayout {
  /// A tensor of a checkpoint that must be a matrix of one of these types, of a possible size.
  /// - Throws: ``LayoutError/tensor(name:problem:expected:found:)``.
  public static func matrix(
    _ name: String, among tensors: OrderedDictionary<String, Tensor>, of types: [ElementType]
  ) throws(LayoutError<Self>) -> Tensor {
    guard let tensor = tensors[name] else {
      throw .tensor(name: name, problem: "the tensor is missing", expected: nil, found: nil)
    }
    guard tensor.shape.rank == 2, tensor.shape.elementCount > 0, tensor.shape.elementCount < 1 << 48,
      types.contains(tensor.elementType)
    else {
      throw .tensor(
        name: name, problem: "the tensor is of another kind",
        expected: "a matrix of " + types.map(\.name).joined(separator: ", "),
        found: "\(tensor.elementType.name) \(tensor.shape)")
    }
    return tensor
  }
}
