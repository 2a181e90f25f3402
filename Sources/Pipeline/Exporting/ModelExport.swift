import Architectures
import Codecs
import GraphIR
import OrderedCollections
import SafeIO

/// A model on its way into a container: its weights, and the model that everything else is taken from.
public struct ModelExport: Sendable {
  /// Where configuration, tokenizer and companions come from.
  public let source: LoadedModel
  /// Weights as they are to be stored, in the source's order, without tables that importers derive.
  public let weights: OrderedDictionary<String, Weight>
  /// What was done to the weights, without anything that differs from run to run.
  public let history: JSONValue
  /// How the inputs of quantized weights are quantized, by names of weights.
  public let activations: OrderedDictionary<String, InputQuantization>
  /// How keys and values are cached; nil when nothing is said of it.
  public let cache: CacheQuantization?
  /// How weights are stored anew as they are written; nil: as they are.
  var recodings: WeightRecodings?
  /// How much a file may hold, in containers that have parts.
  var partLimit = PartLimit()
  /// Syncs what is written while other work goes on, in containers that are files; nil: synced before files get their names.
  var pendingSync: PendingSync?

  /// A model whose weights were changed.
  /// - Parameters:
  ///   - activations: how inputs are quantized; nil: as in the source.
  ///   - cache: how keys and values are cached; nil: as in the source.
  public init(
    source: LoadedModel, weights: OrderedDictionary<String, Weight>, history: JSONValue,
    activations: OrderedDictionary<String, InputQuantization>? = nil, cache: CacheQuantization? = nil
  ) {
    self.init(
      source: source, weights: weights, history: history, activations: activations, cache: cache,
      recodings: nil)
  }

  /// A model whose weights are stored anew as they are written.
  init(
    source: LoadedModel, weights: OrderedDictionary<String, Weight>, history: JSONValue,
    activations: OrderedDictionary<String, InputQuantization>? = nil, cache: CacheQuantization? = nil,
    recodings: WeightRecodings?
  ) {
    self.source = source
    self.cache = cache ?? source.cache
    self.activations = (activations ?? source.activations).filter { name, _ in
      // Inputs of plain weights are never quantized.
      if case .dense = recodings?.entries[name] { return false }
      if case .encoded = weights[name] { return true }
      return recodings?.entries[name] != nil
    }
    self.recodings = recodings
    self.weights = weights.filter { !source.derivedNames.contains($0.key) }
    self.history = history
  }

  /// A model that was just quantized.
  public init(_ model: QuantizedModel) {
    self.init(
      source: model.source, weights: model.weights, history: model.provenance, activations: model.activations,
      cache: model.cache)
  }

  /// The model with all weights as they are to be stored, for containers that do not store them one by one.
  /// - Throws: as ``WeightRecoding/apply(to:named:firstRow:pool:)``.
  func resolved() throws -> ModelExport {
    guard let recodings else { return self }
    var weights = weights
    for (name, weight) in weights { weights[name] = try recodings.apply(to: weight, named: name) }
    return ModelExport(
      source: source, weights: weights, history: history, activations: activations, cache: cache)
  }

  /// The weights as the source's kind of checkpoint has them: rows and columns back in their places,
  /// where those of queries and keys rotate as neighbours, in halves, and experts in stacks where the family has them so.
  func checkpointWeights() throws -> OrderedDictionary<String, Weight> {
    var result = try source.withRotaryHalves(weights)
    for (name, rearrangement) in source.rearrangements {
      if let weight = result[name] { result[name] = try rearrangement.undone(on: weight) }
    }
    return try ModelFamily.stacked(result, of: source.configuration)
  }

  /// Linear modules whose weights are not quantized, by the names that checkpoints have for modules. A head that shares
  /// the embedding's weight is no module of a checkpoint.
  var unquantizedModules: [String] {
    let graph = source.graph
    let embeddings = Set(graph.nodes.filter { $0.operation == .embedding }.flatMap(\.constantOperands))
    let names = OrderedSet(graph.linearNodes.flatMap(\.weights)).filter { name in
      if case .encoded = weights[name] { false } else { !embeddings.contains(name) }
    }
    return names.map { $0.hasSuffix(".weight") ? String($0.dropLast(7)) : $0 }
  }
}
