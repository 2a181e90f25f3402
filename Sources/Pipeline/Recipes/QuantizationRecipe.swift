import Calibration
import Codecs
import GraphIR
import OrderedCollections
import Quantization
import SafeIO

/// What to do to a model's weights: transforms that keep its function, then a codec and a method for each weight.
public struct QuantizationRecipe: Sendable {
  /// How one weight is quantized.
  public struct Choice: Sendable {
    /// How values become bits.
    public var codec: any Codec
    /// Name of the method that chooses the values.
    public var methodName: String
    /// The method's options, as text.
    public var methodOptions: [String: String]
    /// How the input of the layer is quantized; nil: not at all.
    public var activations: ActivationScheme?

    /// Creates a choice.
    public init(
      codec: any Codec, methodName: String, methodOptions: [String: String] = [:],
      activations: ActivationScheme? = nil
    ) {
      self.activations = activations
      self.codec = codec
      self.methodName = methodName
      self.methodOptions = methodOptions
    }

    /// The method.
    /// - Throws: `QuantizationError`.
    public func method() throws(QuantizationError) -> any QuantizationMethod {
      try MethodRegistry.method(named: methodName, options: methodOptions)
    }

    var json: JSONObject {
      var json: JSONObject = [
        "method": .string(methodName),
        "options": .object(
          JSONObject(methodOptions.sorted { $0.key < $1.key }.map { ($0.key, .string($0.value)) })),
        "codec": .string(codec.canonicalName),
      ]
      if let activations { json["activations"] = .string(activations.description) }
      return json
    }
  }

  /// A choice for the weights that patterns name.
  public struct Rule: Sendable {
    /// Regular expressions on names of weights.
    public var targets: [String]
    /// What is done to them.
    public var choice: Choice

    /// Creates a rule.
    public init(targets: [String], choice: Choice) {
      self.targets = targets
      self.choice = choice
    }
  }

  /// A rewrite that keeps what the float model computes, before weights are quantized.
  public struct Transform: Sendable, Equatable {
    /// Its name, such as `awq`.
    public var name: String
    /// Its options, as text.
    public var options: [String: String]

    /// Creates a transform.
    public init(name: String, options: [String: String] = [:]) {
      self.name = name
      self.options = options
    }
  }

  /// Rewrites, in this order, before weights are quantized.
  public var transforms: [Transform] = []
  /// Choices for some weights, of which the first that names a weight counts.
  public var rules: [Rule] = []
  /// Choices by name of the weight, which rules overrule; when there are any, no other weight is quantized.
  public var choices: OrderedDictionary<String, Choice> = [:]
  /// The choice for all other weights.
  public var choice: Choice
  /// Learned rounding after the methods; nil for none.
  public var learnedRounding: LearnedRounding?
  /// Regular expressions on names of weights to quantize; empty: every linear weight inside a block.
  public var targets: [String]
  /// Regular expressions on names of weights to leave alone.
  public var ignored: [String]
  /// Share of layers that may fall back to rounding.
  public var maximumFallbackShare: Double
  /// Calibration tokens that every expert should see; those that the router sends fewer borrow some.
  public var minimumExpertTokens: Int

  /// How static scales of inputs are chosen.
  public var activationObserver = ScaleObserver.minmax

  /// How keys and values are cached; nil: as in the source.
  public var cache: CacheRecipe?
  /// Whether weights are quantized; a recipe may be for the cache alone.
  public var quantizesWeights = true

  /// Name of the method for weights that no rule names.
  public var methodName: String { choice.methodName }
  /// Codec of weights that no rule names.
  public var codec: any Codec { choice.codec }

  /// Creates a recipe.
  public init(
    methodName: String, methodOptions: [String: String] = [:], codec: any Codec, targets: [String] = [],
    ignored: [String] = [], maximumFallbackShare: Double = 0.01, minimumExpertTokens: Int = 0,
    learnedRounding: LearnedRounding? = nil, activations: ActivationScheme? = nil
  ) {
    self.learnedRounding = learnedRounding
    choice = Choice(
      codec: codec, methodName: methodName, methodOptions: methodOptions, activations: activations)
    self.targets = targets
    self.ignored = ignored
    self.maximumFallbackShare = maximumFallbackShare
    self.minimumExpertTokens = minimumExpertTokens
  }

  /// The method for weights that no rule names.
  /// - Throws: `QuantizationError`.
  public func method() throws(QuantizationError) -> any QuantizationMethod { try choice.method() }

  /// What its transforms and methods must know of the inputs.
  /// - Throws: `QuantizationError`.
  public func need() throws(QuantizationError) -> StatisticsNeed {
    max(try methodNeed(), transformsReadInputs ? .hessian : .none)
  }

  /// Whether one of its transforms must know the inputs of layers.
  var transformsReadInputs: Bool {
    let readers = Set(WeightTransforms.entries.filter(\.readsInputs).map(\.name))
    return transforms.contains { readers.contains($0.name) }
  }

  /// What its methods must know of the inputs.
  /// - Throws: `QuantizationError`.
  func methodNeed() throws(QuantizationError) -> StatisticsNeed {
    var need = StatisticsNeed.none
    for choice in allChoices {
      need = max(need, try choice.method().need)
    }
    return need
  }

  /// The recipe as it goes into reports and packed files.
  public var json: JSONValue {
    guard quantizesWeights else { return ["kv_cache": cache?.json ?? .null] }
    var json = choice.json
    json["learned_rounding"] = learnedRounding?.json ?? .null
    json["targets"] = .array(targets.map { .string($0) })
    json["ignored"] = .array(ignored.map { .string($0) })
    if !transforms.isEmpty {
      json["transforms"] = .array(
        transforms.map { transform in
          let options = transform.options.sorted { $0.key < $1.key }.map {
            ($0.key, JSONValue.string($0.value))
          }
          return ["name": .string(transform.name), "options": .object(JSONObject(options))]
        })
    }
    if !rules.isEmpty {
      json["rules"] = .array(
        rules.map { rule in
          var object = rule.choice.json
          object["targets"] = .array(rule.targets.map { .string($0) })
          return .object(object)
        })
    }
    if !choices.isEmpty {
      json["weights"] = .object(JSONObject(choices.map { ($0.key, .object($0.value.json)) }))
    }
    if hasStaticActivations { json["activation_observer"] = .string(activationObserver.description) }
    if let cache { json["kv_cache"] = cache.json }
    if minimumExpertTokens > 0 { json["min_expert_tokens"] = JSONValue(minimumExpertTokens) }
    return .object(json)
  }

  /// What is done to each weight that is quantized, in graph order.
  /// - Throws: ``PipelineError`` when a pattern is wrong or matches nothing, or nothing is left.
  public func choices(in graph: Graph) throws(PipelineError) -> OrderedDictionary<String, Choice> {
    guard quantizesWeights else { return [:] }
    let inBlocks = Set(graph.blocks.flatMap { block in graph.nodes[block.nodes].flatMap(\.constantOperands) })
      .subtracting(graph.routers)
    let linear = OrderedSet(graph.linearNodes.flatMap(\.weights))
    let embeddings = graph.nodes.filter { $0.operation == .embedding }.flatMap(\.constantOperands)
    let names = OrderedSet(embeddings.filter { !linear.contains($0) }).union(linear)
    let wanted = try matching(targets, option: "--target", among: names)
    let unwanted = try matching(ignored, option: "--ignore", among: names)
    var byRule: [Set<String>] = []
    for rule in rules { byRule.append(try matching(rule.targets, option: "targets", among: names)) }
    var result: OrderedDictionary<String, Choice> = [:]
    for name in names where !unwanted.contains(name) {
      if let rule = byRule.firstIndex(where: { $0.contains(name) }) {
        result[name] = rules[rule].choice
      } else if !choices.isEmpty {
        result[name] = choices[name]
      } else if targets.isEmpty ? inBlocks.contains(name) && linear.contains(name) : wanted.contains(name) {
        result[name] = choice
      }
    }
    guard !result.isEmpty else { throw .nothingToQuantize }
    return result
  }

  /// Names of the weights to quantize, in graph order.
  /// - Throws: as ``choices(in:)``.
  public func selectedWeights(in graph: Graph) throws(PipelineError) -> [String] {
    Array(try choices(in: graph).keys)
  }

  private func matching(
    _ patterns: [String], option: String, among names: OrderedSet<String>
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
