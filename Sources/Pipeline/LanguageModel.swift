import Execution
import GraphIR
import GraphPasses
import Kernels
import OrderedCollections
import SafeIO
import Tokenizers

/// A model that is ready to run.
public struct LanguageModel: Sendable {
  /// What it was made from.
  public let source: LoadedModel
  /// Tokens to logits.
  public let program: Program
  /// What the passes did; empty for packed files, whose graph went through them before.
  public let passReports: [PassReport]

  /// Runs the standard passes over a checkpoint's graph and packs its weights; a packed file is used as it is.
  /// - Throws: `ExecutionError`, `GraphError`, `KernelsError`.
  public init(_ source: LoadedModel, options: ExecutionOptions = .init()) throws {
    self.source = source
    switch source.content {
    case .packed(let prepared, _):
      program = try Program(graph: source.graph, weights: prepared, options: options)
      passReports = []
    case .checkpoint(let weights):
      let (graph, reports) = try PassPipeline.standard.run(source.graph, activations: source.activations)
      passReports = reports
      program = try Program(
        graph: graph, options: options, activations: source.activations, cache: source.cache
      ) { name in
        guard let weight = weights[name] else {
          throw PipelineError.weight(name, reason: "is not in the checkpoint")
        }
        return weight
      }
    }
  }

  /// The tokenizer.
  /// - Throws: ``PipelineError/missingTokenizer(path:)``.
  public func requireTokenizer() throws(PipelineError) -> any Tokenizer { try source.requireTokenizer() }

  /// Bits per weight of the linear layers inside the blocks, as stored.
  public var bitsPerWeight: Double {
    if case .packed(_, let description) = source.content { return description.bitsPerWeight }
    guard case .checkpoint(let weights) = source.content else { return 0 }
    return LinearStorage(graph: source.graph, weights: weights).bitsPerWeight
  }
}
