import Codecs
import GraphIR
import OrderedCollections
import TensorCore

/// Names, encodings and shapes of a checkpoint's tensors: what an importer needs to know of them.
public struct WeightCatalog: Sendable {
  /// How each tensor is stored and what shape it has when decoded; order of the checkpoint.
  public private(set) var entries: OrderedDictionary<String, ConstantType>

  /// Whether fused and transposed tensors lie as graphs want them already.
  public var isArranged = false

  /// A catalog of entries.
  public init(_ entries: OrderedDictionary<String, ConstantType>) { self.entries = entries }

  /// The catalog of dense tensors.
  public init(_ tensors: OrderedDictionary<String, Tensor>) {
    entries = tensors.mapValues { ConstantType($0.elementType.name, $0.shape.dimensions) }
  }

  /// The catalog of weights that may be encoded.
  public init(_ weights: OrderedDictionary<String, Weight>) {
    entries = weights.mapValues { ConstantType($0.encodingName, $0.shape.dimensions) }
  }

  /// The entry of a tensor.
  public subscript(name: String) -> ConstantType? { entries[name] }

  /// Refuses a tensor that has another shape or does not hold numbers.
  /// - Throws: ``ArchitectureError`` naming the tensor.
  static func check(_ entry: ConstantType, name: String, shape: [Int]) throws(ArchitectureError) {
    guard entry.dimensions == shape else {
      throw .tensorShape(name, expected: shape, found: entry.dimensions)
    }
    let element = ElementType.allCases.first { $0.name == entry.encoding }
    if let element, !element.isFloatingPoint { throw .tensorType(name, encoding: entry.encoding) }
  }
}
