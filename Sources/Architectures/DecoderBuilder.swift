import GraphIR
import OrderedCollections
import SafeIO
import TensorCore

/// Builds decoder-only graphs out of a checkpoint's tensors; what families share.
struct DecoderBuilder {
  /// A graph that is being built.
  private var graph: GraphBuilder
  private let weights: WeightCatalog
  private var used: Set<String> = []
  private var derived: OrderedDictionary<String, Tensor> = [:]

  /// The graph's inputs.
  let tokens: ValueID
  let positions: ValueID

  init(name: String, weights: WeightCatalog) throws(ArchitectureError) {
    var graph = GraphBuilder(name: name)
    do throws(GraphError) {
      tokens = try graph.input("tokens", .tokens)
      positions = try graph.input("positions", .tokens)
    } catch { throw .graph(error) }
    self.graph = graph
    self.weights = weights
  }

  /// A tensor of the checkpoint as an operand; its shape is checked.
  mutating func weight(_ name: String, _ shape: [Int]) throws(ArchitectureError) -> Operand {
    let type = try weights.weight(name, shape: shape)
    used.insert(name)
    do throws(GraphError) { return try graph.constant(name, type) } catch { throw .graph(error) }
  }

  /// Whether the checkpoint has a tensor of this name.
  func has(_ name: String) -> Bool { weights[name] != nil }

  /// Columns of a value built so far.
  func columns(of value: ValueID) -> Int { graph.type(of: value).columns ?? 0 }

  /// A table that the configuration gives, as an operand.
  mutating func derivedConstant(_ name: String, _ values: [Float]) throws(ArchitectureError) -> Operand {
    guard weights[name] == nil else { throw .reservedTensorName(name) }
    do {
      derived[name] = try Tensor(values, shape: Shape([values.count]))
      return try graph.constant(name, ConstantType("f32", [values.count]))
    } catch let error as GraphError {
      throw .graph(error)
    } catch {
      throw .graph(.graph("\(error)"))
    }
  }

  /// A node in the current scope.
  mutating func add(
    _ operation: Operation, _ operands: [Operand], _ attributes: OrderedDictionary<String, Attribute> = [:],
    name: String
  ) throws(ArchitectureError) -> ValueID {
    do throws(GraphError) {
      return try graph.add(operation, operands, attributes: attributes, name: name)
    } catch { throw .graph(error) }
  }

  /// A projection by `prefix.weight` [outputs, inputs], and `prefix.bias` when there is one.
  mutating func linear(
    _ x: ValueID, _ prefix: String, outputs: Int, bias: Bool, name: String
  ) throws(ArchitectureError) -> ValueID {
    let inputs = columns(of: x)
    var operands = [Operand.value(x), try weight(prefix + ".weight", [outputs, inputs])]
    if bias { operands.append(try weight(prefix + ".bias", [outputs])) }
    return try add(.linear, operands, name: name)
  }

  /// A root-mean-square normalization by `prefix.weight`.
  mutating func rmsNorm(
    _ x: ValueID, _ prefix: String, epsilon: Double, name: String
  ) throws(ArchitectureError) -> ValueID {
    let gain = try weight(prefix + ".weight", [columns(of: x)])
    return try add(.rmsNorm, [.value(x), gain], ["eps": .float(epsilon)], name: name)
  }

  /// Builds inside a scope.
  mutating func withScope<Result>(
    _ name: String, _ body: (inout DecoderBuilder) throws(ArchitectureError) -> Result
  ) throws(ArchitectureError) -> Result {
    graph.openScope(name)
    defer { graph.closeScope() }
    return try body(&self)
  }

  /// The finished graph, its derived constants, and a warning about tensors that it does not use.
  func finish(outputs: [ValueID]) throws(ArchitectureError) -> (
    graph: Graph, derived: OrderedDictionary<String, Tensor>, warnings: [String]
  ) {
    do throws(GraphError) {
      return (try graph.finish(outputs: outputs), derived, unusedTensorWarnings)
    } catch { throw .graph(error) }
  }

  /// Older checkpoints store the rotary frequencies, which the configuration gives too; no word about these.
  private var unusedTensorWarnings: [String] {
    let unused = weights.entries.keys.filter { !used.contains($0) && !$0.hasSuffix(".rotary_emb.inv_freq") }
    if unused.isEmpty { return [] }
    let names = unused.prefix(5).map { "'\($0)'" }.joined(separator: ", ")
    return [
      "\(unused.count) tensors of the checkpoint are not used: \(names)\(unused.count > 5 ? ", ..." : "")"
    ]
  }
}
