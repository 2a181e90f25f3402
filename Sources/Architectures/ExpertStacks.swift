import Codecs
import OrderedCollections
import SafeIO
import TensorCore

/// Tensors that checkpoints of a family stack, taken apart into those of each expert, and put together again.
///
/// Stored below a prefix `mlp.experts` are `gate_up_proj` `[experts, in, 2 n]`, whose columns are a gate and what it opens in
/// turn, `down_proj` `[experts, n, out]`, and `gate_up_proj_bias` and `down_proj_bias`. Layouts of quantized weights take the
/// stacks apart themselves, so that there `3.gate_up_proj.weight` `[2 n, in]` is stored. Graphs have `3.gate_proj.weight`
/// `[n, in]`, `3.up_proj.weight`, `3.down_proj.weight` and the same with `.bias`.
extension ModelFamily {
  /// The weights of a checkpoint under the names that graphs have. Nothing is moved before it is first read.
  /// - Throws: ``ArchitectureError/tensorShape(_:expected:found:)``, `CodecError`, `TensorCoreError`.
  public static func separated(
    _ weights: OrderedDictionary<String, Weight>, of configuration: JSONValue
  ) throws -> OrderedDictionary<String, Weight> {
    guard let family = try? family(of: configuration), family.stacksExperts else { return weights }
    var result: OrderedDictionary<String, Weight> = [:]
    for (name, weight) in weights {
      for (part, weight) in try ExpertStacks.parts(name, weight) { result[part] = weight }
    }
    return result
  }

  /// The weights of a graph under the names that checkpoints have; what does not go together, such as a gate that is quantized
  /// otherwise than what it opens, stays apart.
  /// - Throws: `CodecError`, `TensorCoreError`.
  public static func stacked(
    _ weights: OrderedDictionary<String, Weight>, of configuration: JSONValue
  ) throws -> OrderedDictionary<String, Weight> {
    guard let family = try? family(of: configuration), family.stacksExperts else { return weights }
    return try ExpertStacks(weights).joined()
  }
}

/// The experts' tensors of a model by their prefix and expert.
private struct ExpertStacks {
  private static let root = "mlp.experts."
  private static let countRange = 1...4096

  // MARK: Apart

  /// What a stored tensor holds.
  static func parts(_ name: String, _ weight: Weight) throws -> [(String, Weight)] {
    guard let place = name.firstRange(of: root) else { return [(name, weight)] }
    let prefix = String(name[..<place.upperBound])
    let rest = name[place.upperBound...]
    if case .dense(let tensor) = weight, let stored = Stored(rest) {
      let rank = stored.isBias ? 2 : 3
      guard tensor.shape.rank == rank, let count = tensor.shape.dimensions.first, countRange ~= count else {
        throw ArchitectureError.tensorShape(
          name, expected: [Int](repeating: 1, count: rank), found: tensor.shape.dimensions)
      }
      return try (0..<count).flatMap { expert in
        let entry = try tensor.entry(expert)
        let rows = Weight.dense(stored.isBias ? entry : try entry.transposed())
        return try split(
          rows, stored.projection, "\(prefix)\(expert).", stored.isBias ? ".bias" : ".weight", name)
      }
    }
    let suffix = ".gate_up_proj.weight"
    guard rest.hasSuffix(suffix), Int(rest.dropLast(suffix.count)) != nil else { return [(name, weight)] }
    return try split(weight, "gate_up_proj", prefix + rest.dropLast(suffix.count) + ".", ".weight", name)
  }

  /// A stacked tensor's name below the prefix.
  private struct Stored {
    let projection: String
    let isBias: Bool

    init?(_ name: Substring) {
      isBias = name.hasSuffix("_bias")
      projection = String(isBias ? name.dropLast("_bias".count) : name)
      guard ["gate_up_proj", "down_proj"].contains(projection) else { return nil }
    }
  }

  /// Rows of gates and of what they open in turn, or one projection.
  private static func split(
    _ rows: Weight, _ projection: String, _ prefix: String, _ suffix: String, _ name: String
  ) throws -> [(String, Weight)] {
    guard projection == "gate_up_proj" else { return [(prefix + projection + suffix, rows)] }
    let count = rows.shape.dimensions.first ?? 0
    guard count.isMultiple(of: 2) else {
      throw ArchitectureError.tensorShape(name, expected: [count + 1], found: [count])
    }
    return try [("gate_proj", 0), ("up_proj", 1)].map { part, first in
      let order = (0..<count / 2).map { 2 * $0 + first }
      return (prefix + part + suffix, try Rearrangement.rows(order).applied(to: rows))
    }
  }

  // MARK: Together

  private let weights: OrderedDictionary<String, Weight>

  init(_ weights: OrderedDictionary<String, Weight>) { self.weights = weights }

  /// The stacks where their first part was.
  func joined() throws -> OrderedDictionary<String, Weight> {
    var result: OrderedDictionary<String, Weight> = [:]
    var done: Set<String> = []
    for (name, weight) in weights where !done.contains(name) {
      guard let (prefix, expert, part) = Self.place(name), expert == 0,
        let stack = try stack(prefix, part, &done)
      else {
        result[name] = weight
        continue
      }
      for (name, weight) in stack { result[name] = weight }
    }
    return result
  }

  /// `model.layers.0.mlp.experts.3.gate_proj.weight` as its prefix, 3 and `gate_proj.weight`.
  private static func place(_ name: String) -> (prefix: String, expert: Int, part: String)? {
    guard let place = name.firstRange(of: root) else { return nil }
    let rest = name[place.upperBound...]
    guard let dot = rest.firstIndex(of: "."), let expert = Int(rest[..<dot]), expert >= 0 else { return nil }
    return (String(name[..<place.upperBound]), expert, String(rest[rest.index(after: dot)...]))
  }

  /// The tensors of all experts that are stored with a part of the first one, under the names that they are stored under; nil
  /// when they stay as they are.
  private func stack(
    _ prefix: String, _ part: String, _ done: inout Set<String>
  ) throws -> [(String, Weight)]? {
    guard let dot = part.firstIndex(of: ".") else { return nil }
    let (projection, suffix) = (part[..<dot], String(part[dot...]))
    guard ["gate_proj", "up_proj", "down_proj"].contains(projection), [".weight", ".bias"].contains(suffix)
    else { return nil }
    let isSingle = projection == "down_proj"
    let parts = (isSingle ? ["down_proj"] : ["gate_proj", "up_proj"]).map { $0 + suffix }
    let stored = (isSingle ? "down_proj" : "gate_up_proj") + suffix
    let experts = members(prefix, parts)
    let result =
      try Self.denseStack(experts, parts.count, prefix, stored)
      ?? (isSingle ? nil : Self.pairs(experts, prefix, stored))
    guard let result else { return nil }
    for expert in experts.indices { done.formUnion(parts.map { "\(prefix)\(expert).\($0)" }) }
    return result
  }

  /// The parts of each expert, up to the first one that lacks some.
  private func members(_ prefix: String, _ parts: [String]) -> [[Weight]] {
    var experts: [[Weight]] = []
    while experts.count < Self.countRange.upperBound {
      let found = parts.compactMap { weights["\(prefix)\(experts.count).\($0)"] }
      guard found.count == parts.count else { break }
      experts.append(found)
    }
    return experts
  }

  /// One tensor for all experts, when all are plain numbers of one type.
  private static func denseStack(
    _ experts: [[Weight]], _ count: Int, _ prefix: String, _ stored: String
  ) throws -> [(String, Weight)]? {
    let tensors = experts.map { parts in
      parts.compactMap { if case .dense(let tensor) = $0 { tensor } else { nil } }
    }
    guard let first = tensors.first?.first,
      tensors.allSatisfy({ $0.count == count }),
      tensors.joined().allSatisfy({ $0.shape == first.shape && $0.elementType == first.elementType })
    else { return nil }
    let isBias = stored.hasSuffix(".bias")
    let name = stored.replacing(isBias ? ".bias" : ".weight", with: isBias ? "_bias" : "")
    return [(prefix + name, .dense(try stacked(tensors, isBias: isBias)))]
  }

  /// One matrix for each expert, with the rows of its gate and of what that opens in turn.
  private static func pairs(
    _ experts: [[Weight]], _ prefix: String, _ stored: String
  ) throws -> [(String, Weight)]? {
    var result: [(String, Weight)] = []
    for (expert, parts) in experts.enumerated() {
      guard case .encoded(let gate) = parts[0], case .encoded(let up) = parts[1], gate.rows == up.rows,
        let both = try? EncodedMatrix.joined(rows: [gate, up])
      else { return nil }
      let order = (0..<gate.rows).flatMap { [$0, gate.rows + $0] }
      result.append(("\(prefix)\(expert).\(stored)", .encoded(try both.selecting(rows: order))))
    }
    return result.isEmpty ? nil : result
  }

  /// Matrices `[n, in]` of each expert as `[experts, in, parts * n]`, or vectors as `[experts, parts * n]`, elements in turn.
  private static func stacked(_ experts: [[Tensor]], isBias: Bool) throws -> Tensor {
    let columns = try experts.map { parts in try parts.map { isBias ? $0 : try $0.transposed() } }
    let (first, count) = (columns[0][0], columns[0].count)
    let outer = isBias ? [] : [first.shape.dimensions[0]]
    let inner = first.shape.dimensions.last ?? 0
    let bytes = first.byteCount
    let element = first.elementType.bitWidth / 8
    let region = unsafe MemoryRegion.deferred(byteCount: experts.count * count * bytes) { target in
      for (expert, parts) in columns.enumerated() {
        for (place, part) in parts.enumerated() {
          unsafe part.withBytes { source in
            let start = expert * count * bytes + place * element
            for index in 0..<bytes / max(element, 1) {
              let from = unsafe UnsafeRawBufferPointer(
                rebasing: source[index * element..<(index + 1) * element])
              let to = start + index * count * element
              unsafe UnsafeMutableRawBufferPointer(rebasing: target[to..<to + element]).copyMemory(from: from)
            }
          }
        }
      }
    }
    return try Tensor(
      elementType: first.elementType, shape: Shape([experts.count] + outer + [count * inner]), region: region)
  }
}
