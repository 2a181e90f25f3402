import TensorCore

/// The name of a checkpoint's tensor: a module and, after the last dot, what the tensor is of it.
public struct ParameterName: Sendable, Hashable {
  /// All before the last dot; empty when there is none.
  public let module: String
  /// All after the last dot.
  public let part: String

  /// Takes a name apart.
  public init(_ name: String) {
    guard let dot = name.utf8.lastIndex(of: UInt8(ascii: ".")) else {
      (module, part) = ("", name)
      return
    }
    module = String(name[..<dot])
    part = String(name[name.index(after: dot)...])
  }

  /// Both halves, to be taken apart in one line.
  public var split: (module: String, part: String) { (module, part) }

  /// Whether tensors of this name scale activations or the KV cache, in any of the layouts: they belong to no weight.
  public var isActivationScale: Bool { ParameterName.activationScales.contains(part) }

  private static let activationScales: Set<String> = [
    "input_scale", "input_zero_point", "input_global_scale", "input_scale_ub", "activation_scale",
    "qscale_act",
    "output_scale", "k_scale", "v_scale", "q_scale", "kv_scale", "k_zero_point", "v_zero_point", "prob_scale",
  ]
}

extension Tensor {
  /// The same bytes as elements of another type of the same width.
  /// - Throws: ``TensorCoreError``.
  public func reinterpreted(
    as type: ElementType, shape: Shape? = nil
  ) throws(TensorCoreError) -> Tensor {
    let result = try Tensor(
      elementType: type, shape: shape ?? self.shape, region: region, byteOffset: byteOffset)
    guard result.byteCount == byteCount else {
      throw .byteCountMismatch(expected: byteCount, found: result.byteCount)
    }
    return result
  }

  /// The matrices that a tensor of three dimensions is a stack of, looking at the same bytes.
  /// - Throws: ``TensorCoreError``.
  public func unstacked() throws(TensorCoreError) -> [Tensor] {
    guard let count = shape.dimensions.first, count > 0 else {
      throw .shapeMismatch(expected: "a stack", found: "\(shape)")
    }
    let each = byteCount / count
    let inner = try Shape(Array(shape.dimensions.dropFirst()))
    var result: [Tensor] = []
    for index in 0..<count {
      result.append(
        try Tensor(
          elementType: elementType, shape: inner, region: region, byteOffset: byteOffset + index * each))
    }
    return result
  }
}
