import Architectures
import Codecs
import Differentiation
import GraphIR
import OrderedCollections
import SafeIO
import Safetensors
import TensorCore
import TestSupport
import Testing

/// Whole models of many families: logits as the interpreter has them, gradients as differences have them.
@Suite struct ModelGradientTests {
  static let goldens = [
    "llama-odd", "mistral-plain", "gemma", "gemma2-plain", "gpt2-inner", "phi", "bloom", "falcon-new", "olmo",
    "glm4", "stablelm-parallel", "qwen3-bias", "cohere-norms", "starcoder2", "opt-after",
  ]

  private func check(_ name: String, length: Int) throws -> (GradientCheck, [Float]) {
    let path = SharedData.projectRoot + "/Tests/ArchitecturesTests/Goldens/" + name
    let configuration = try JSONValue.parse(contentsOf: path + "/config.json")
    let tensors = try SafetensorsCheckpoint(path: path).tensors
    let model = try ModelFamily.importModel(configuration: configuration, weights: WeightCatalog(tensors))
    func constant(_ name: String) throws -> Tensor {
      guard let tensor = model.derivedConstants[name] ?? tensors[name] else {
        throw GraphError.execution(name, reason: "no such constant")
      }
      guard let rearrangement = model.rearrangements[name],
        case .dense(let constant) = try rearrangement.applied(to: .dense(tensor))
      else { return tensor }
      return constant
    }
    let graph = model.graph
    let tokens = (0..<length).map { Int32(($0 * 7 + 3) % 16) }
    let inBlocks = Set(graph.blocks.flatMap { graph.nodes[$0.nodes].flatMap(\.constantOperands) })
    let trained = Set(graph.linearNodes.flatMap(\.weights)).intersection(inBlocks)
    #expect(!trained.isEmpty)
    let check = try GradientCheck(graph: graph, trained: trained, tokens: tokens, seed: 5) {
      try constant($0).floats()
    }
    let logits = try Interpreter.run(
      graph,
      inputs: [
        "tokens": Tensor(tokens, shape: Shape([length])),
        "positions": Tensor((0..<length).map { Int32($0) }, shape: Shape([length])),
      ], constants: constant)[0].floats()
    return (check, logits)
  }

  @Test(arguments: goldens)
  func gradientsOfWholeModelsAreTheSlopes(name: String) throws {
    let (check, logits) = try check(name, length: 7)
    let found = try check.outputs()[0].values
    let size = (logits.reduce(0) { $0 + $1 * $1 } / Float(logits.count)).squareRoot()
    for (value, reference) in zip(found, logits) { #expect(abs(value - reference) < 1e-4 * size + 1e-6) }
    // Functions with corners, and normalizations of small variance, want short differences; rounding then shows more.
    let isRough = ["gpt2-inner", "olmo", "opt-after"].contains(name)
    let deviation = try check.deviation(step: isRough ? 2e-3 : 0.02, directions: 1)
    #expect(deviation < (isRough ? 0.02 : 5e-3), "\(name): \(deviation)")
  }
}
