import GraphIR
import OrderedCollections

extension DecoderBuilder {
  /// A projection by `prefix.weight` [outputs, inputs], and `prefix.bias` when there is one.
  mutating func linear(
    _ x: ValueID, _ prefix: String, outputs: Int, bias: Bool, _ rearrangement: Rearrangement? = nil,
    name: String
  ) throws(ArchitectureError) -> ValueID {
    var operands = [Operand.value(x)]
    let matrix = decoder.storesTransposed ? Rearrangement.transposed : rearrangement
    operands.append(try weight(prefix + ".weight", [outputs, columns(of: x)], matrix))
    if bias { operands.append(try weight(prefix + ".bias", [outputs], rearrangement)) }
    return try add(.linear, operands, name: name)
  }

  /// The product with a number.
  mutating func scaled(_ x: ValueID, by factor: Double, name: String) throws(ArchitectureError) -> ValueID {
    try add(.scale, [.value(x)], ["factor": .float(factor)], name: name)
  }

  /// Columns `start ..< start + length`.
  mutating func slice(
    _ x: ValueID, _ start: Int, _ length: Int, name: String
  ) throws(ArchitectureError) -> ValueID {
    try add(.slice, [.value(x)], ["start": .int(start), "length": .int(length)], name: name)
  }

  /// The family's normalization by tensors of a block; nothing when there is no name.
  mutating func normalizeInBlock(
    _ x: ValueID, _ name: String?, _ layer: Int, name result: String
  ) throws(ArchitectureError) -> ValueID {
    guard let name else { return x }
    return try normalize(x, inBlock(layer, name), name: result)
  }

  /// The family's normalization by `prefix.weight` and `prefix.bias`.
  mutating func normalize(
    _ x: ValueID, _ prefix: String, name: String
  ) throws(ArchitectureError) -> ValueID {
    let width = columns(of: x)
    return try normalize(x, prefix, decoder.normalization, heads: 1, shape: [width], name: name)
  }

  /// A normalization of `heads` groups of columns, with gains of the given shape.
  mutating func normalize(
    _ x: ValueID, _ prefix: String, _ kind: Decoder.Normalization, heads: Int, shape: [Int], name: String
  ) throws(ArchitectureError) -> ValueID {
    var attributes: OrderedDictionary<String, Attribute> = ["heads": .int(heads)]
    switch kind {
    case .rootMeanSquare(let epsilon, let offset):
      attributes["eps"] = .float(epsilon)
      attributes["offset"] = .float(offset)
      return try add(
        .rmsNorm, [.value(x), try weight(prefix + ".weight", shape)], attributes, name: name)
    case .layer(let epsilon, let hasBias, let offset):
      attributes["eps"] = .float(epsilon)
      attributes["offset"] = .float(offset)
      var operands = [Operand.value(x), try weight(prefix + ".weight", shape)]
      if hasBias { operands.append(try weight(prefix + ".bias", shape)) }
      return try add(.layerNorm, operands, attributes, name: name)
    case .plainLayer(let epsilon):
      attributes["eps"] = .float(epsilon)
      let count = columns(of: x) / heads
      let ones = try derivedConstant("ones.\(count)", [Float](repeating: 1, count: count))
      return try add(.layerNorm, [.value(x), ones], attributes, name: name)
    }
  }

  /// A layer norm without shift of heads whose gains are tensors of their own.
  mutating func normalize(
    _ x: ValueID, _ kind: Decoder.Normalization, gainsOfHeads prefix: String, heads: Int, name: String
  ) throws(ArchitectureError) -> ValueID {
    guard case .layer(let epsilon, hasBias: false, offset: 0) = kind else {
      throw .graph(.graph("only layer norms without shift have gains of heads"))
    }
    var names: [String] = []
    for head in 0..<heads {
      names += try weight("\(prefix).norms.\(head).weight", [columns(of: x) / heads]).constants
    }
    let gains = heads == 1 ? Operand.constant(names[0]) : .concatenation(names)
    return try add(
      .layerNorm, [.value(x), gains], ["eps": .float(epsilon), "heads": .int(heads)], name: name)
  }

  /// The family's activation.
  mutating func activated(_ x: ValueID, name: String) throws(ArchitectureError) -> ValueID {
    switch decoder.activation {
    case .silu: return try add(.silu, [.value(x)], name: name)
    case .relu: return try add(.relu, [.value(x)], name: name)
    case .squaredReLU:
      let positive = try add(.relu, [.value(x)], name: name + "_relu")
      return try add(.multiply, [.value(positive), .value(positive)], name: name)
    case .gelu(let approximate):
      return try add(.gelu, [.value(x)], ["approximate": .string(approximate)], name: name)
    }
  }
}
