import GraphIR
import OrderedCollections

extension AlgebraRule {
  /// Laws that change no bit of any result (but of numbers too small to be normal); a new one is a new row.
  ///
  /// Transposes, reshapes and casts do not occur: the graph's language has none.
  static let exact: [AlgebraRule] = [
    AlgebraRule(name: "a scale by one is its operand", pattern: .node("y", .scale, [.any("x")])) { match in
      Float(match.float("y", "factor")) == 1 ? .value("x") : .none
    },
    AlgebraRule(
      name: "scales of scales are one scale", pattern: .node("y", .scale, [.node("z", .scale, [.any("x")])])
    ) { match in
      let (outer, inner) = (Float(match.float("y", "factor")), Float(match.float("z", "factor")))
      let product = outer * inner
      guard isPowerOfTwo(outer) || isPowerOfTwo(inner), product.isNormal, product / outer == inner else {
        return .refused("the product of the factors \(inner) and \(outer) would round otherwise")
      }
      return .root(["x"], ["factor": .float(Double(product))])
    },
    AlgebraRule(name: "a slice of all is its operand", pattern: .node("y", .slice, [.any("x")])) { match in
      match.integer("y", "length") == match.columns("x") ? .value("x") : .none
    },
    AlgebraRule(
      name: "slices of slices are one slice", pattern: .node("y", .slice, [.node("z", .slice, [.any("x")])])
    ) { match in
      .root(
        ["x"],
        [
          "start": .int(match.integer("y", "start") + match.integer("z", "start")),
          "length": .int(match.integer("y", "length")),
        ])
    },
    AlgebraRule(
      name: "a slice of one part of joined heads is that part",
      pattern: .node("y", .slice, [.node("z", .joinHeads, [.any("a"), .any("b")])])
    ) { match in
      let (start, length) = (match.integer("y", "start"), match.integer("y", "length"))
      guard match.integer("z", "heads") == 1 else {
        return .refused("\(match.integer("z", "heads")) heads lie between each other")
      }
      let first = match.columns("a")
      if start == 0, length == first { return .value("a") }
      if start == first, length == match.columns("b") { return .value("b") }
      if start + length <= first { return .root(["a"], ["start": .int(start), "length": .int(length)]) }
      if start >= first { return .root(["b"], ["start": .int(start - first), "length": .int(length)]) }
      return .refused("it spans both parts")
    },
    AlgebraRule(
      name: "neighbouring parts joined again are one part",
      pattern: .node(
        "y", .joinHeads, [.node("a", .slice, [.any("x")]), .node("b", .slice, [.any("x")])])
    ) { match in
      guard match.integer("y", "heads") == 1 else {
        return .refused("\(match.integer("y", "heads")) heads lie between each other")
      }
      let (start, length) = (match.integer("a", "start"), match.integer("a", "length"))
      guard match.integer("b", "start") == start + length else { return .refused("they are no neighbours") }
      return .other(
        .slice, ["x"], ["start": .int(start), "length": .int(length + match.integer("b", "length"))])
    },
    AlgebraRule(
      name: "a clamp of what lies within is that",
      pattern: .node("y", .clamp, [.node("z", .sigmoid, [.any("x")])])
    ) { match in match.float("y", "minimum") <= 0 && match.float("y", "maximum") >= 1 ? .value("z") : .none },
    AlgebraRule(
      name: "relu of relu is relu", pattern: .node("y", .relu, [.node("z", .relu, [.any("x")])])
    ) { _ in .value("z") },
    AlgebraRule(
      name: "relu of what is not negative is that",
      pattern: .node("y", .relu, [.node("z", .sigmoid, [.any("x")])])
    ) { _ in .value("z") },
    AlgebraRule(
      name: "clamps of clamps are one clamp", pattern: .node("y", .clamp, [.node("z", .clamp, [.any("x")])])
    ) { match in
      let low = max(match.float("y", "minimum"), match.float("z", "minimum"))
      let high = min(match.float("y", "maximum"), match.float("z", "maximum"))
      guard low <= high else { return .refused("the ranges have nothing in common") }
      return .root(["x"], ["minimum": .float(low), "maximum": .float(high)])
    },
  ]

  private static func isPowerOfTwo(_ factor: Float) -> Bool {
    factor.isNormal && factor.significandBitPattern == 0
  }
}
