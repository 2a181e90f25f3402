import Codecs
import GraphIR
import OrderedCollections
import SafeIO
import TensorCore

/// What a recipe would do to a model, before any of it is done.
public struct QuantizationPlan: Sendable {
  /// One weight of the plan.
  public struct Entry: Sendable {
    /// Name of the weight.
    public let name: String
    /// `[out, in]`.
    public let shape: Shape
    /// How it is stored now.
    public let source: String
    /// How it will be stored; equal to `source` when it stays.
    public let target: String
    /// Bytes now.
    public let sourceByteCount: Int
    /// Bytes then.
    public let targetByteCount: Int
  }

  /// Every weight of the graph.
  public let entries: [Entry]
  /// Names of those that will be quantized, in graph order.
  public let selected: [String]

  /// Plans a recipe.
  /// - Throws: ``PipelineError``.
  public init(
    recipe: QuantizationRecipe, graph: Graph, weights: OrderedDictionary<String, Weight>
  ) throws(PipelineError) {
    selected = try recipe.selectedWeights(in: graph)
    let chosen = Set(selected)
    entries = weights.map { name, weight in
      guard chosen.contains(name) else {
        return Entry(
          name: name, shape: weight.shape, source: weight.encodingName, target: weight.encodingName,
          sourceByteCount: weight.byteCount, targetByteCount: weight.byteCount)
      }
      let bits = recipe.codec.bitsPerWeight(columns: weight.shape.columns)
      return Entry(
        name: name, shape: weight.shape, source: weight.encodingName, target: recipe.codec.canonicalName,
        sourceByteCount: weight.byteCount,
        targetByteCount: Int((bits * Double(weight.shape.elementCount) / 8).rounded()))
    }
  }

  /// Bytes of all weights then.
  public var targetByteCount: Int { entries.reduce(0) { $0 + $1.targetByteCount } }

  /// Bytes of all weights now.
  public var sourceByteCount: Int { entries.reduce(0) { $0 + $1.sourceByteCount } }

  /// Bits per weight of the selected weights.
  public var bitsPerWeight: Double {
    let chosen = Set(selected)
    let parts = entries.filter { chosen.contains($0.name) }
    let bits = parts.reduce(0.0) { $0 + Double($1.targetByteCount) * 8 }
    return bits / Double(max(parts.reduce(0) { $0 + $1.shape.elementCount }, 1))
  }

  /// An upper estimate of the memory that sequential calibration and the largest layer need, in bytes.
  public func memoryEstimate(graph: Graph, calibrationTokens: Int, needsSecondMoment: Bool) -> Int {
    let uses = graph.uses
    var widest = 0
    for index in graph.linearNodes.map(\.index) {
      let crossing = graph.nodes[..<index].flatMap(\.results).filter { (uses.lastUse(of: $0) ?? -1) >= index }
      // The residual stream in float32, inputs of linear layers in bfloat16; see SequentialCalibration.
      let bytes = crossing.reduce(0) { sum, value in
        let onlyLinears = uses.consumers(of: value).allSatisfy { graph.nodes[$0].operation == .linear }
        return sum + (graph.type(of: value).columns ?? 0) * (onlyLinears ? 2 : 4)
      }
      widest = max(widest, bytes)
    }
    let chosen = Set(selected)
    let layers = entries.filter { chosen.contains($0.name) }
    let columns = layers.map(\.shape.columns).max() ?? 0
    let largest = layers.map(\.shape.elementCount).max() ?? 0
    let moments = needsSecondMoment ? columns * columns * (4 + 4 + 8 + 4) : 0
    let sources = layers.reduce(0) { $0 + $1.sourceByteCount } / max(layers.count / 8, 1)
    return widest * calibrationTokens + moments + largest * 4 * 6 + targetByteCount + sources
  }
}
