import GraphPasses
import SafeIO

/// How often every pass fires in models: those of the standard pipeline within it, the others alone on the textbook graph.
public struct PassTable: Sendable {
  /// A model and its counts.
  public struct Row: Sendable, Equatable {
    /// Name of its directory.
    public let model: String
    /// Its family.
    public let family: String
    /// Rewrites by pass, in the order of ``PassTable/passes``.
    public let counts: [Int]
  }

  /// Names of all passes.
  public static let passes = PassRegistry.all.map { $0.name }

  /// Runs all passes over a model.
  /// - Throws: What reading the model and running passes throw.
  public static func row(_ path: String) throws -> Row {
    let model = try ModelFormats.load(path, checksValues: false)
    let subject = OptimizationSubject(model)
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
      model: FileReading.fileName(path), family: model.summary.family, counts: passes.map { counts[$0] ?? 0 })
  }

  /// Directories below others that hold a golden: a model with expected.safetensors.
  /// - Throws: `SafeIOError`.
  public static func goldens(in parents: [String]) throws(SafeIOError) -> [String] {
    var found: [String] = []
    for parent in parents {
      for name in try FileReading.list(parent).sorted()
      where FileReading.exists("\(parent)/\(name)/expected.safetensors") {
        found.append(parent + "/" + name)
      }
    }
    return found.sorted { FileReading.fileName($0) < FileReading.fileName($1) }
  }

  /// Cells of the table's rows.
  public static func cells(_ rows: [Row]) -> [[String]] {
    rows.map { row in [row.model, row.family] + row.counts.map { $0 == 0 ? "" : "\($0)" } }
  }
}
