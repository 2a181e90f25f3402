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
    /// Name of the method; empty when it stays.
    public let method: String
    /// Bytes now.
    public let sourceByteCount: Int
    /// Bytes then.
    public let targetByteCount: Int
  }

  /// Every weight of the graph.
  public let entries: [Entry]
  /// What is done to those that will be quantized, in graph order.
  public let choices: OrderedDictionary<String, QuantizationRecipe.Choice>

  /// Names of those that will be quantized, in graph order.
  public var selected: [String] { Array(choices.keys) }

  /// What is done to a weight.
  /// - Throws: ``PipelineError/weight(_:reason:)`` when it is not quantized.
  func choice(_ name: String) throws(PipelineError) -> QuantizationRecipe.Choice {
    guard let choice = choices[name] else { throw .weight(name, reason: "is not in the plan") }
    return choice
  }

  /// Plans a recipe.
  /// - Throws: ``PipelineError``.
  public init(
    recipe: QuantizationRecipe, graph: Graph, weights: OrderedDictionary<String, Weight>
  ) throws(PipelineError) {
    let choices = try recipe.choices(in: graph)
    self.choices = choices
    entries = weights.map { name, weight in
      guard let choice = choices[name] else {
        return Entry(
          name: name, shape: weight.shape, source: weight.encodingName, target: weight.encodingName,
          method: "",
          sourceByteCount: weight.byteCount, targetByteCount: weight.byteCount)
      }
      let bits = choice.codec.bitsPerWeight(columns: weight.shape.columns)
      return Entry(
        name: name, shape: weight.shape, source: weight.encodingName, target: choice.codec.canonicalName,
        method: choice.methodName,
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
  /// - Parameter runsReference: whether the unquantized model runs beside, for the drift of inputs.
  public func memoryEstimate(
    graph: Graph, calibrationTokens: Int, needsSecondMoment: Bool, runsReference: Bool = false
  ) -> Int {
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
    let streams = runsReference ? 2 : 1
    return (widest * calibrationTokens + moments) * streams + largest * 4 * 6 + targetByteCount + sources
  }
}
