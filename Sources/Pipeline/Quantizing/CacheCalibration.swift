import Calibration
import Codecs
import Execution
import GraphIR
import Kernels
import OrderedCollections
import SafeIO

/// What was seen of the keys and values of one layer, and the static scales that were chosen for them.
public struct CacheReport: Sendable, Equatable {
  /// Keys, or values.
  public struct Side: Sendable, Equatable {
    /// What was seen.
    public var range: ActivationRange
    /// The scale; nil for what is not quantized.
    public var scale: Float?
    /// Error of rounding, relative to the energy of what was seen; 0 for what is not quantized.
    public var relativeError: Double

    var json: JSONValue {
      [
        "absmax": .number(Double(range.absoluteMaximum)),
        "p99_99": .number(Double(range.percentile(0.9999))),
        "scale": scale.map { .number(Double($0)) } ?? .null, "relative_error": .number(relativeError),
      ]
    }
  }

  /// Number of the layer's cache.
  public var layer: Int
  /// Tokens that were seen.
  public var tokenCount: Int
  /// Its keys.
  public var keys: Side
  /// Its values.
  public var values: Side

  var json: JSONValue {
    ["layer": JSONValue(layer), "tokens": JSONValue(tokenCount), "keys": keys.json, "values": values.json]
  }
}

/// Chooses static scales for keys and values: runs the windows through the quantized model, and looks at what goes into its caches.
struct CacheCalibration {
  let graph: Graph
  let recipe: CacheRecipe
  let pool: ThreadPool
  let kernels: KernelTable

  /// Keys and values that are being looked at, shared with a closure.
  private final class Observers {
    var sides: [Int: (keys: ActivationObserver, values: ActivationObserver)] = [:]
  }

  /// - Throws: `CalibrationError` when a cache did not see every token, or saw what is no number.
  func run(
    _ windows: CalibrationWindows, weight: (String) throws -> Weight,
    progress: (QuantizationStage.Progress) throws -> Void
  ) throws -> (CacheQuantization, [CacheReport]) {
    let observers = Observers()
    var sequential = SequentialCalibration(
      graph: graph, windows: windows, targets: readers, collection: .moments, pool: pool, kernels: kernels)
    let (keys, values) = (scheme(recipe.format.keys), scheme(recipe.format.values))
    let (pool, kernels, heads) = (pool, kernels, graph.cacheHeads)
    sequential.inspectCache = { number, newKeys, newValues, tokens in
      let width = max(tokens, 1)
      var sides =
        observers.sides[number]
        ?? (
          ActivationObserver(columns: newKeys.count / width, scheme: keys),
          ActivationObserver(columns: newValues.count / width, scheme: values)
        )
      observers.sides[number] = nil
      sides.keys.observe(newKeys, kernels: kernels, pool: pool)
      sides.values.observe(newValues, kernels: kernels, pool: pool)
      observers.sides[number] = sides
    }
    _ = try sequential.run(
      weight: weight,
      progress: { try progress(.init(step: "cache", what: $0.scope, fraction: $0.fraction)) },
      quantize: { _, _ in [:] })
    var result = CacheQuantization(recipe.format)
    var reports: [CacheReport] = []
    for number in heads.keys.sorted() {
      let sides = observers.sides[number].map { ($0.keys.finish(), $0.values.finish()) }
      let report = try report(number, sides, windows)
      result.scales[number] = KVScales(
        keys: report.keys.scale.map { [$0] } ?? [], values: report.values.scale.map { [$0] } ?? [])
      reports.append(report)
    }
    if let problem = result.problem(heads: heads) { throw CalibrationError.cache(problem) }
    return (result, reports)
  }

  /// The weights that read what each attention made: up to them everything is run.
  private var readers: Set<String> {
    var result: Set<String> = []
    for (index, node) in graph.nodes.enumerated() where node.operation == .attention {
      let next = graph.linearNodes.first { $0.index > index }
      result.formUnion(next?.weights ?? [])
    }
    return result
  }

  /// The nearest scale that a page holds exactly, so that other engines, which multiply by what the file says, compute the same.
  private static func stored(_ scale: Float, _ element: KVElement) -> Float {
    let factor: Float = element == .fp8 ? 256 : 1
    return Float(Float16(scale * factor)) / factor
  }

  private func scheme(_ element: KVElement) -> ActivationScheme { element.staticScheme ?? .float32 }

  private func report(
    _ number: Int, _ sides: (keys: ActivationRange, values: ActivationRange)?, _ windows: CalibrationWindows
  ) throws -> CacheReport {
    let seen = sides?.keys.tokenCount ?? 0
    guard let sides, seen == windows.tokenCount else {
      throw CalibrationError.cache(
        "the cache of layer \(number) saw \(seen) of \(windows.tokenCount) calibration tokens")
    }
    func side(_ range: ActivationRange, _ element: KVElement, _ what: String) throws -> CacheReport.Side {
      guard range.absoluteMaximum.isFinite, range.absoluteMaximum > 0 else {
        throw CalibrationError.cache("the \(what) of layer \(number) are all zero, or no numbers")
      }
      guard let scheme = element.staticScheme else {
        return CacheReport.Side(range: range, scale: nil, relativeError: 0)
      }
      let scale = recipe.observer.scale(of: range, for: scheme).map { Self.stored($0, element) }
      return CacheReport.Side(
        range: range, scale: scale, relativeError: range.relativeError(scheme.kind, scale: scale ?? 0))
    }
    return CacheReport(
      layer: number, tokenCount: seen, keys: try side(sides.keys, recipe.format.keys, "keys"),
      values: try side(sides.values, recipe.format.values, "values"))
  }
}

extension QuantizationStage {
  /// Static scales of the source are of keys and values as they are there.
  func refuseStaleCache() throws(PipelineError) {
    guard recipe.cache == nil, model.cache?.format.isStatic == true, !recipe.transforms.isEmpty else {
      return
    }
    throw .usage(
      "the model has static scales for its cache, and transforms change keys and values",
      hint: "calibrate them again: --kv-cache fp8 --kv-key-scales tensor, or choose another cache")
  }

  /// How the quantized model caches keys and values; nil when nothing is said of it.
  func calibrateCache(
    _ model: LoadedModel, _ calibration: CalibrationSource, weight: (String) throws -> Weight,
    _ progress: (Progress) throws -> Void
  ) throws -> (CacheQuantization?, [CacheReport]) {
    guard let cache = recipe.cache else { return (model.cache, []) }
    guard cache.format.isStatic, case .windows(let windows) = calibration else {
      return (CacheQuantization(cache.format), [])
    }
    return try CacheCalibration(graph: model.graph, recipe: cache, pool: pool, kernels: kernels).run(
      windows, weight: weight, progress: progress)
  }
}
