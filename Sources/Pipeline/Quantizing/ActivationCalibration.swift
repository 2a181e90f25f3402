import Calibration
import Codecs
import GraphIR
import Kernels
import OrderedCollections
import SafeIO

/// What is known of the input of one or several layers that share it, and how it is quantized.
public struct ActivationReport: Sendable, Equatable {
  /// Weights that read it.
  public var weights: [String]
  /// How it is quantized.
  public var scheme: ActivationScheme
  /// What was seen of it.
  public var range: ActivationRange
  /// The static scale; nil for dynamic schemes.
  public var scale: Float?
  /// Share of the columns with a number of at least the threshold (6 unless the scheme has another).
  public var outlierShare: Double
  /// Error of rounding it, relative to its energy.
  public var relativeError: Double
  /// The same before the recipe's transforms; nil without transforms.
  public var untransformedError: Double?
  /// Largest magnitude before the recipe's transforms; nil without transforms.
  public var untransformedMaximum: Float?

  var json: JSONValue {
    func number(_ value: Float) -> JSONValue { .number(Double(value)) }
    var object: JSONObject = [
      "weights": .array(weights.map { .string($0) }), "scheme": .string(scheme.description),
      "tokens": JSONValue(range.tokenCount), "absmax": number(range.absoluteMaximum),
      "outlier_share": .number(outlierShare), "relative_error": .number(relativeError),
    ]
    for (key, share) in [("p99", 0.99), ("p99_9", 0.999), ("p99_99", 0.9999)] where range.hasCounts {
      object[key] = number(range.percentile(share))
    }
    if let scale { object["scale"] = number(scale) }
    if let untransformedError { object["relative_error_before"] = .number(untransformedError) }
    if let untransformedMaximum { object["absmax_before"] = number(untransformedMaximum) }
    return .object(object)
  }
}

/// Looks at the inputs of the layers that a recipe quantizes the inputs of: once through the quantized weights for scales and
/// errors, and once through those before transforms, for the report.
struct ActivationCalibration {
  let graph: Graph
  let recipe: QuantizationRecipe
  let choices: OrderedDictionary<String, QuantizationRecipe.Choice>
  let pool: ThreadPool
  let kernels: KernelTable

  /// What it found.
  struct Result {
    var activations: OrderedDictionary<String, InputQuantization> = [:]
    var reports: [ActivationReport] = []
  }

  private var schemes: OrderedDictionary<String, ActivationScheme> {
    let linear = Set(graph.linearNodes.flatMap(\.weights))
    return choices.compactMapValues(\.activations).filter { linear.contains($0.key) }
  }

  /// Chooses scales and outlier columns.
  /// - Parameters:
  ///   - weight: quantized weights by name.
  ///   - plain: graph and weights before transforms; nil without transforms.
  /// - Throws: ``PipelineError/usage(_:hint:)`` when static scales are wanted and nothing is known of inputs, `CalibrationError`.
  func run(
    _ calibration: CalibrationSource, weight: (String) throws -> Weight,
    plain: (graph: Graph, weight: (String) throws -> Weight)?,
    progress: (QuantizationStage.Progress) throws -> Void
  ) throws -> Result {
    let schemes = schemes
    guard !schemes.isEmpty else { return Result() }
    switch calibration {
    case .none:
      if let (name, scheme) = schemes.first(where: { $0.value.isStatic }) {
        throw PipelineError.usage(
          "\(scheme) has static scales, which need calibration (\(name))", hint: "give --corpus FILE")
      }
      return Result(activations: schemes.mapValues { InputQuantization($0) })
    case .statistics(let file, _): return try fromStatistics(file, schemes)
    case .windows(let windows):
      let before = try plain.map {
        try ranges($0.graph, windows, schemes, weight: $0.weight, "inputs before transforms", progress)
      }
      let after = try ranges(graph, windows, schemes, weight: weight, "inputs", progress)
      return try result(after, before: before, schemes)
    }
  }

  private typealias Ranges = OrderedDictionary<String, (group: LinearGroup, range: ActivationRange)>

  private func ranges(
    _ graph: Graph, _ windows: CalibrationWindows, _ schemes: OrderedDictionary<String, ActivationScheme>,
    weight: (String) throws -> Weight, _ what: String, _ progress: (QuantizationStage.Progress) throws -> Void
  ) throws -> Ranges {
    var sequential = SequentialCalibration(
      graph: graph, windows: windows, targets: Set(schemes.keys), collection: .moments, pool: pool,
      kernels: kernels)
    let state = ObserverState()
    sequential.inspect = { [pool, kernels] group, inputs in
      if state.observer == nil {
        state.observer = ActivationObserver(
          columns: group.columns, scheme: schemes[group.weights[0]] ?? .float32)
      }
      state.observer?.observe(inputs, kernels: kernels, pool: pool)
    }
    var result: Ranges = [:]
    _ = try sequential.run(
      weight: weight,
      progress: { try progress(.init(step: what, what: $0.scope, fraction: $0.fraction)) },
      quantize: { group, _ in
        if let range = state.take() { result[group.weights[0]] = (group, range) }
        return [:]
      })
    return result
  }

  /// One observer at a time, shared with a closure.
  private final class ObserverState {
    var observer: ActivationObserver?

    func take() -> ActivationRange? {
      defer { observer = nil }
      return observer?.finish()
    }
  }

  private func result(
    _ ranges: Ranges, before: Ranges?, _ schemes: OrderedDictionary<String, ActivationScheme>
  ) throws -> Result {
    var result = Result()
    for (first, (group, range)) in ranges {
      // Layers of a group may differ in their scheme.
      var byScheme: OrderedDictionary<ActivationScheme, [String]> = [:]
      for name in group.weights {
        if let scheme = schemes[name] { byScheme[scheme, default: []].append(name) }
      }
      for (scheme, names) in byScheme {
        let input = try input(range, scheme, names[0], ranges, group)
        for name in names { result.activations[name] = input }
        result.reports.append(report(names, input, range, before?[first]?.range))
      }
    }
    let missed = Set(schemes.keys).subtracting(result.activations.keys)
    for name in missed where schemes[name]?.isStatic != true {
      result.activations[name] = schemes[name].map { InputQuantization($0) }
    }
    let unknown = missed.filter { schemes[$0]?.isStatic == true }
    guard unknown.isEmpty else { throw CalibrationError.neverReached(unknown.sorted()) }
    result.activations = OrderedDictionary(
      uniqueKeysWithValues: schemes.keys.compactMap { name in result.activations[name].map { (name, $0) } })
    return result
  }

  private func input(
    _ range: ActivationRange, _ scheme: ActivationScheme, _ name: String, _ ranges: Ranges,
    _ group: LinearGroup
  ) throws -> InputQuantization {
    var input = InputQuantization(scheme)
    if scheme.outlierThreshold > 0 {
      input.outlierColumns = range.outlierColumns(threshold: scheme.outlierThreshold)
    }
    guard scheme.isStatic else { return input }
    input.scale = recipe.activationObserver.scale(of: range, for: scheme)
    if input.scale == nil, group.expert != nil {
      // An expert that nobody asked gets the largest scale of those that read the same.
      input.scale = ranges.values.filter { $0.group.input == group.input }
        .compactMap { recipe.activationObserver.scale(of: $0.range, for: scheme) }.max()
    }
    guard input.scale != nil else { throw CalibrationError.neverReached([name]) }
    return input
  }

  private func report(
    _ names: [String], _ input: InputQuantization, _ range: ActivationRange, _ before: ActivationRange?
  ) -> ActivationReport {
    let scheme = input.scheme
    let threshold = scheme.outlierThreshold > 0 ? scheme.outlierThreshold : 6
    func error(_ range: ActivationRange) -> Double {
      guard scheme.isStatic else { return range.relativeError }
      let scale = range == before ? recipe.activationObserver.scale(of: range, for: scheme) : input.scale
      return range.relativeError(scheme.kind, scale: scale ?? 0)
    }
    return ActivationReport(
      weights: names, scheme: scheme, range: range, scale: input.scale,
      outlierShare: Double(range.outlierColumns(threshold: threshold).count)
        / Double(max(range.maxima.count, 1)),
      relativeError: error(range), untransformedError: before.map(error),
      untransformedMaximum: before?.absoluteMaximum)
  }

  /// Files of statistics hold largest magnitudes only.
  private func fromStatistics(
    _ file: StatisticsFile, _ schemes: OrderedDictionary<String, ActivationScheme>
  ) throws -> Result {
    if let scheme = schemes.values.first(where: \.isStatic), recipe.activationObserver != .minmax {
      throw PipelineError.usage(
        "files of statistics hold no percentiles, which \(scheme) with the observer \(recipe.activationObserver) needs",
        hint: "give --corpus FILE, or --activation-observer minmax")
    }
    var result = Result()
    for (name, scheme) in schemes {
      guard let statistics = try file.statistics(for: name), !statistics.maxima.isEmpty else {
        throw CalibrationError.neverReached([name])
      }
      let range = ActivationRange(maxima: statistics.maxima, tokenCount: statistics.tokenCount)
      var input = InputQuantization(scheme)
      if scheme.outlierThreshold > 0 {
        input.outlierColumns = range.outlierColumns(threshold: scheme.outlierThreshold)
      }
      if scheme.isStatic {
        input.scale = recipe.activationObserver.scale(of: range, for: scheme)
        guard input.scale != nil else { throw CalibrationError.neverReached([name]) }
      }
      result.activations[name] = input
    }
    return result
  }
}
