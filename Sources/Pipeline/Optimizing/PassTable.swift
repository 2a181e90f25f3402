import GraphPasses
import SafeIO

/// How often every pass fires in models: those of the standard pipeline within it, the others alone on the textbook graph.
public struct PassTable: Sendable {
  /// A model, or a graph of its own, and its counts.
  public struct Row: Sendable, Equatable {
    /// Name of its directory or file.
    public let model: String
    /// Its family; empty for a graph that belongs to none.
    public let family: String
    /// Rewrites by pass, in the order of ``PassTable/passes``.
    public let counts: [Int]
  }

  /// Names of all passes.
  public static let passes = PassRegistry.all.map { $0.name }

  /// Runs all passes over a model or a graph in the textual form.
  /// - Throws: What reading it and running passes throw.
  public static func row(_ path: String) throws -> Row {
    let subject = try OptimizationSubject.open(path, checksValues: false)
    var counts: [String: Int] = [:]
    var graph = subject.graph
    for report in try PassPipeline.standard.run(&graph) {
      counts[report.pass, default: 0] += report.firedCount
    }
    for pass in passes where counts[pass] == nil {
      var graph = subject.graph
      counts[pass] = try PassPipeline(names: [pass]).run(&graph).reduce(0) { $0 + $1.firedCount }
    }
    return Row(
      model: FileReading.fileName(path), family: subject.model?.summary.family ?? "",
      counts: passes.map { counts[$0] ?? 0 })
  }

  /// What lies in directories and is counted: directories with a golden, a model with expected.safetensors, and graphs in the
  /// textual form, `.ir`; in the order of their names, graphs last.
  /// - Throws: `SafeIOError`.
  public static func goldens(in parents: [String]) throws(SafeIOError) -> [String] {
    var (models, graphs): ([String], [String]) = ([], [])
    for parent in parents {
      for name in try FileReading.list(parent) {
        let path = parent + "/" + name
        if FileReading.exists(path + "/expected.safetensors") { models.append(path) }
        if name.hasSuffix(".ir") { graphs.append(path) }
      }
    }
    return [models, graphs].flatMap { $0.sorted { FileReading.fileName($0) < FileReading.fileName($1) } }
  }

  /// Cells of the table's rows.
  public static func cells(_ rows: [Row]) -> [[String]] {
    rows.map { row in [row.model, row.family] + row.counts.map { $0 == 0 ? "" : "\($0)" } }
  }
}
