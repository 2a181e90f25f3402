import Codecs
import GraphIR
import OrderedCollections
import Quantization
import SafeIO

/// What to do to a model's weights.
public struct QuantizationRecipe: Sendable {
  /// Name of the method.
  public var methodName: String
  /// The method's options, as text.
  public var methodOptions: [String: String]
  /// The codec.
  public var codec: any Codec
  /// Regular expressions on names of weights to quantize; empty: every linear weight inside a block.
  public var targets: [String]
  /// Regular expressions on names of weights to leave alone.
  public var ignored: [String]
  /// Share of layers that may fall back to rounding.
  public var maximumFallbackShare: Double

  /// Creates a recipe.
  public init(
    methodName: String, methodOptions: [String: String] = [:], codec: any Codec, targets: [String] = [],
    ignored: [String] = [], maximumFallbackShare: Double = 0.01
  ) {
    self.methodName = methodName
    self.methodOptions = methodOptions
    self.codec = codec
    self.targets = targets
    self.ignored = ignored
    self.maximumFallbackShare = maximumFallbackShare
  }

  /// The method.
  /// - Throws: `QuantizationError`.
  public func method() throws(QuantizationError) -> any QuantizationMethod {
    try MethodRegistry.method(named: methodName, options: methodOptions)
  }

  /// The recipe as it goes into reports and packed files.
  public var json: JSONValue {
    .object([
      "method": .string(methodName),
      "options": .object(
        JSONObject(methodOptions.sorted { $0.key < $1.key }.map { ($0.key, .string($0.value)) })),
      "codec": .string(codec.canonicalName),
      "targets": .array(targets.map { .string($0) }),
      "ignored": .array(ignored.map { .string($0) }),
    ])
  }

  /// Names of the weights to quantize, in graph order.
  /// - Throws: ``PipelineError`` when a pattern is wrong or matches nothing, or nothing is left.
  public func selectedWeights(in graph: Graph) throws(PipelineError) -> [String] {
    let inBlocks = Set(graph.blocks.flatMap { block in graph.nodes[block.nodes].flatMap(\.constantOperands) })
    let linear = OrderedSet(graph.linearNodes.flatMap(\.weights))
    let wanted = try matching(targets, option: "--target", among: Array(linear))
    let unwanted = try matching(ignored, option: "--ignore", among: Array(linear))
    let selected = linear.filter { name in
      (targets.isEmpty ? inBlocks.contains(name) : wanted.contains(name)) && !unwanted.contains(name)
    }
    guard !selected.isEmpty else { throw .nothingToQuantize }
    return Array(selected)
  }

  private func matching(
    _ patterns: [String], option: String, among names: [String]
  ) throws(PipelineError) -> Set<String> {
    var result: Set<String> = []
    for pattern in patterns {
      let expression: Regex<AnyRegexOutput>
      do { expression = try Regex(pattern) } catch { throw .badPattern(pattern, reason: "\(error)") }
      let matches = names.filter { $0.contains(expression) }
      guard !matches.isEmpty else { throw .patternMatchesNothing(pattern, option: option) }
      result.formUnion(matches)
    }
    return result
  }
}
