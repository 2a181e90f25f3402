import Codecs
import SafeIO

/// How the weights of one group of modules are quantized.
struct QuantizationArguments: Hashable {
  enum Kind: Hashable { case integer, float }

  /// What shares a scale.
  enum Strategy: Hashable {
    case tensor, channel
    /// Neighbouring columns of a row.
    case group(Int)
    /// Neighbouring columns of a row, under a scale of the whole tensor.
    case tensorGroup(Int)
    /// A rectangle.
    case block(rows: Int, columns: Int)
  }

  var bits: Int
  var kind: Kind
  var strategy: Strategy
  var isSymmetric: Bool

  /// Columns that share a scale; nil for whole rows or the whole tensor.
  var groupSize: Int? {
    if case .group(let size) = strategy { size } else { nil }
  }

  /// Whether two arguments differ in the bits of their integers only.
  func isLike(_ other: QuantizationArguments) -> Bool {
    kind == .integer && other.kind == .integer && strategy == other.strategy
      && isSymmetric == other.isSymmetric
  }

  /// - Throws: ``CompressedTensorsError/configuration(key:problem:found:)``.
  init(_ value: JSONValue, key: String) throws(CompressedTensorsError) {
    let type = value["type"]?.stringValue?.lowercased() ?? "int"
    guard type == "int" || type == "float" else {
      throw .configuration(key: key + ".type", problem: "int or float is needed", found: type)
    }
    kind = type == "int" ? .integer : .float
    let bits = value["num_bits"]?.intValue ?? 8
    guard kind == .integer ? (2...8).contains(bits) : [4, 8].contains(bits) else {
      throw .configuration(
        key: key + ".num_bits",
        problem: kind == .integer ? "integers of 2 to 8 bits are read" : "floats of 4 or 8 bits are read",
        found: value["num_bits"]?.serialized())
    }
    self.bits = bits
    isSymmetric = value["symmetric"]?.boolValue ?? true
    let size = value["group_size"]?.intValue
    switch value["strategy"]?.stringValue {
    case "group": strategy = .group(try Self.size(value, key))
    case "tensor_group": strategy = .tensorGroup(try Self.size(value, key))
    case "channel": strategy = .channel
    case "tensor": strategy = .tensor
    case "block":
      guard let block = value["block_structure"]?.arrayValue?.compactMap(\.intValue), block.count == 2,
        block[0] > 0, block[1] > 0
      else {
        throw .configuration(
          key: key + ".block_structure", problem: "two positive sizes are needed",
          found: value["block_structure"]?.serialized())
      }
      strategy = .block(rows: block[0], columns: block[1])
    case nil: strategy = size.map { $0 > 0 ? .group($0) : .channel } ?? .tensor
    case let strategy?:
      throw .configuration(
        key: key + ".strategy", problem: "this strategy of weights is not read", found: strategy)
    }
  }

  private static func size(_ value: JSONValue, _ key: String) throws(CompressedTensorsError) -> Int {
    guard let size = value["group_size"]?.intValue, size > 0 else {
      throw .configuration(
        key: key + ".group_size", problem: "a positive size is needed",
        found: value["group_size"]?.serialized())
    }
    return size
  }
}
