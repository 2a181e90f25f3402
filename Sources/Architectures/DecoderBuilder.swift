import GraphIR
import OrderedCollections
import SafeIO
import TensorCore

/// Builds a decoder's graph out of a checkpoint's tensors.
struct DecoderBuilder {
  /// What is built.
  let decoder: Decoder
  /// What a person should know.
  var warnings: [String] = []

  private var graph: GraphBuilder
  private let weights: WeightCatalog
  private var used: Set<String> = []
  private var derived: OrderedDictionary<String, Tensor> = [:]
  private var rearranged: OrderedDictionary<String, Rearrangement> = [:]

  /// The graph's inputs.
  let tokens: ValueID
  let positions: ValueID

  init(_ decoder: Decoder, names: TensorNames, weights: WeightCatalog) throws(ArchitectureError) {
    var decoder = decoder
    decoder.names = names
    self.decoder = decoder
    var graph = GraphBuilder(name: decoder.family)
    do throws(GraphError) {
      tokens = try graph.input("tokens", .tokens)
      positions = try graph.input("positions", .tokens)
    } catch { throw .graph(error) }
    self.graph = graph
    self.weights = weights
  }

  /// Name of a tensor of a block.
  func inBlock(_ layer: Int, _ name: String) -> String {
    "\(decoder.names.root)\(decoder.names.layers)\(layer).\(name)"
  }

  /// A tensor of the checkpoint as an operand, put in order if need be; its shape is checked.
  mutating func weight(
    _ name: String, _ shape: [Int], _ rearrangement: Rearrangement? = nil
  ) throws(ArchitectureError) -> Operand {
    guard let found = weights[name] else { throw .missingTensor(name) }
    var type = found
    if let rearrangement {
      if !weights.isArranged { type = rearrangement.applied(to: found) }
      rearranged[name] = rearrangement
    }
    try WeightCatalog.check(type, name: name, shape: shape)
    used.insert(name)
    do throws(GraphError) { return try graph.constant(name, type) } catch { throw .graph(error) }
  }

  /// Whether the checkpoint has a tensor of this name.
  func has(_ name: String) -> Bool { weights[name] != nil }

  /// Columns of a value built so far.
  func columns(of value: ValueID) -> Int { graph.type(of: value).columns ?? 0 }

  /// A table that the configuration gives, as an operand; equal tables of one name are one constant.
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

  /// Builds inside a scope.
  mutating func withScope<Result>(
    _ name: String, _ body: (inout DecoderBuilder) throws(ArchitectureError) -> Result
  ) throws(ArchitectureError) -> Result {
    graph.openScope(name)
    defer { graph.closeScope() }
    return try body(&self)
  }

  /// The finished model.
  func finish(logits: ValueID) throws(ArchitectureError) -> ImportedModel {
    do throws(GraphError) {
      return ImportedModel(
        family: decoder.family, graph: try graph.finish(outputs: [logits]), derivedConstants: derived,
        rearrangements: rearranged, isArranged: weights.isArranged, configuration: decoder.sizes,
        warnings: warnings + unusedTensorWarnings)
    } catch { throw .graph(error) }
  }

  /// Buffers that older checkpoints store although the configuration gives them: rotary frequencies and causal masks.
  private static let buffers = [
    ".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias",
  ]

  private func isSpare(_ name: String) -> Bool {
    let prefix = decoder.names.root + decoder.names.layers
    guard decoder.spareLayers > 0, name.hasPrefix(prefix) else { return false }
    return Int(name.dropFirst(prefix.count).prefix { $0 != "." }) ?? 0 >= decoder.sizes.layerCount
  }

  private var unusedTensorWarnings: [String] {
    let unused = weights.entries.keys.filter { name in
      !used.contains(name) && !Self.buffers.contains(where: name.hasSuffix) && !isSpare(name)
    }
    if unused.isEmpty { return [] }
    let names = unused.prefix(5).map { "'\($0)'" }.joined(separator: ", ")
    return [
      "\(unused.count) tensors of the checkpoint are not used: \(names)\(unused.count > 5 ? ", ..." : "")"
    ]
  }
}
