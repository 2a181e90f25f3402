import Architectures
import Calibration
import Codecs
import GraphIR
import Imatrix
import OrderedCollections
import SafeIO
import TensorCore

/// Files of statistics that other tools keep, between their names and those of the model.
public enum CalibrationFiles {
  /// Kinds of files that statistics are written to.
  public enum Format: String, Sendable, CaseIterable {
    /// Adze's own: everything that was seen.
    case statistics
    /// llama.cpp's importance matrix as GGUF: mean squares only.
    case imatrix
    /// llama.cpp's older importance matrix (`.dat`): mean squares only.
    case legacyImatrix = "imatrix-dat"

    /// The kind that a path asks for by its ending.
    public init(path: String) {
      if path.hasSuffix(".gguf") {
        self = .imatrix
      } else {
        self = path.hasSuffix(".dat") ? .legacyImatrix : .statistics
      }
    }

    var imatrixForm: Imatrix.Form? {
      switch self {
      case .statistics: nil
      case .imatrix: .gguf
      case .legacyImatrix: .legacy
      }
    }
  }

  /// Reads statistics of either kind, by content; an importance matrix has mean squares only and does not say which model
  /// it was made with, so that its sizes alone are checked.
  /// - Throws: ``PipelineError``, `CalibrationError`, `ImatrixError`, `SafetensorsError`.
  public static func read(_ path: String, for model: LoadedModel) throws -> StatisticsFile {
    guard !StatisticsFile.isStatistics(path: path), Imatrix.isImatrix(path: path) else {
      return try StatisticsFile(path: path)
    }
    return try statistics(of: Imatrix(path: path), path: path, for: model)
  }

  private static func statistics(
    of imatrix: Imatrix, path: String, for model: LoadedModel
  ) throws -> StatisticsFile {
    let names = try names(model)
    let weights = try model.requireCheckpoint()
    let (tokens, overflow) = imatrix.chunkCount.multipliedReportingOverflow(by: imatrix.chunkSize ?? 1)
    var file = StatisticsFile(
      modelDigest: try model.weightsDigest(),
      segments: [WindowSegment(corpus: "", windows: 0..<max(imatrix.chunkCount, 0))],
      tokenCount: overflow ? .max : tokens)
    for name in OrderedSet(model.graph.linearNodes.flatMap(\.weights)) {
      guard let place = names.storedPlace(ofCheckpoint: name), let entry = imatrix.entries[place.name]
      else { continue }
      let columns = weights[name]?.shape.columns ?? 0
      guard let seen = Self.statistics(of: entry, matrix: place.index, columns: columns) else {
        throw PipelineError.weight(
          name, reason: "\(path) has \(entry.squareSums.count) sums for its \(columns) inputs")
      }
      file.add([seen], weights: [name])
    }
    guard !file.groups.isEmpty else {
      throw PipelineError.usage("\(path) has no entry for any weight of this model", hint: nil)
    }
    return file
  }

  /// What an entry says of a matrix, by its number when it is one of several that lie in one tensor; nil when sizes do not
  /// fit. The legacy form has one count for all of them.
  private static func statistics(
    of entry: Imatrix.Entry, matrix: Int?, columns: Int
  ) -> InputStatistics? {
    let number = matrix ?? 0
    let matrices = matrix == nil ? 1 : entry.squareSums.count / max(columns, 1)
    guard entry.squareSums.count == matrices * columns, number < matrices,
      entry.counts.count == matrices || entry.counts.count == 1
    else { return nil }
    var seen = InputStatistics(columns: columns, withSecondMoment: false)
    seen.tokenCount = Int(min(entry.counts[entry.counts.count == 1 ? 0 : number], 1e15))
    seen.squareSums = entry.squareSums[number * columns..<(number + 1) * columns].map(Double.init)
    return seen
  }

  /// Writes statistics of a model in the form that is asked for.
  /// - Throws: `ArchitectureError` for models without a GGUF dialect, `CalibrationError`, `ImatrixError`.
  public static func write(
    _ statistics: StatisticsFile, of model: LoadedModel, to path: String, format: Format
  ) throws {
    guard let form = format.imatrixForm else { return try statistics.write(to: path) }
    try imatrix(statistics, of: model).write(to: path, form: form)
  }

  private static func imatrix(_ statistics: StatisticsFile, of model: LoadedModel) throws -> Imatrix {
    let names = try names(model)
    var parts: OrderedDictionary<String, [(number: Int, seen: InputStatistics)]> = [:]
    for weight in statistics.groupOfWeight.keys {
      guard let place = names.storedPlace(ofCheckpoint: weight),
        let seen = try statistics.statistics(for: weight)
      else { throw PipelineError.weight(weight, reason: "has no name in GGUF files") }
      parts[place.name, default: []].append((place.index ?? 0, seen))
    }
    var entries: OrderedDictionary<String, Imatrix.Entry> = [:]
    for (stored, parts) in parts {
      let ordered = parts.sorted { $0.number < $1.number }
      guard ordered.map(\.number) == Array(ordered.indices) else {
        throw PipelineError.weight(stored, reason: "statistics of some of its matrices are missing")
      }
      entries[stored] = Imatrix.Entry(
        squareSums: ordered.flatMap { $0.seen.squareSums.map { Float($0) } },
        counts: ordered.map { Float($0.seen.tokenCount) })
    }
    return Imatrix(
      entries: entries, datasets: statistics.corpusDigests.map { "sha256:" + $0 },
      chunkCount: statistics.windowCount,
      chunkSize: statistics.tokenCount / max(statistics.windowCount, 1))
  }

  private static func names(_ model: LoadedModel) throws -> GGUFNames {
    try GGUFNames(
      configuration: model.configuration, weights: WeightCatalog(try model.requireCheckpoint()))
  }

  /// Adds up files of one kind.
  /// - Returns: what was added, for people.
  /// - Throws: `CalibrationError`, `ImatrixError`.
  public static func merge(_ paths: [String], to output: String, format: Format?) throws -> String {
    if paths.contains(where: { StatisticsFile.isStatistics(path: $0) }) || paths.isEmpty {
      guard format == nil || format == .statistics else {
        throw PipelineError.usage(
          "statistics are merged into statistics", hint: "export them with 'adze calibrate MODEL --format'")
      }
      var result: StatisticsFile?
      for path in paths {
        let file = try StatisticsFile(path: path)
        result = try result?.merged(with: file) ?? file
      }
      try result?.write(to: output)
      return "\(result?.tokenCount ?? 0) tokens"
    }
    var result: Imatrix?
    for path in paths {
      let file = try Imatrix(path: path)
      result = try result?.merged(with: file) ?? file
    }
    let form = (format ?? Format(path: output)).imatrixForm ?? .gguf
    try result?.write(to: output, form: form)
    return "\(result?.entries.count ?? 0) importance entries"
  }
}
