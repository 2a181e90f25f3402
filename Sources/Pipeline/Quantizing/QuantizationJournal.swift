import Codecs
import Journal
import OrderedCollections
import Quantization
import SafeIO
import TensorCore

/// Layers that a quantization has finished, on disk, so that an interrupted run can go on from them.
///
/// Solvers are deterministic and layers are stored bit for bit, so a resumed run gives the bytes of an uninterrupted one.
public final class QuantizationJournal {
  let file: JournalFile
  /// Blocks whose rounding was learned, by scope.
  private(set) var learned: [String: LearnedBlock] = [:]
  private var finished: [String: LayerSolution] = [:]

  /// Where the journal of an output lies.
  public static func path(forOutput output: String) -> String {
    String(output.reversed().drop { $0 == "/" }.reversed()) + ".journal"
  }

  /// Opens the journal of a piece of work, or begins it.
  /// - Parameter identity: everything that the result depends on.
  /// - Throws: ``PipelineError/foreignJournal(path:key:expected:found:)`` when the journal is that of other work; `JournalError`.
  public init(path: String, identity: JSONObject) throws {
    file = try JournalFile(path: path)
    guard let first = file.records.first else {
      try file.append(JournalRecord(.object(identity)))
      return
    }
    for (key, value) in identity where first.value[key] != value {
      throw PipelineError.foreignJournal(
        path: path, key: key, expected: value.serialized(),
        found: first.value[key]?.serialized() ?? "nothing")
    }
    for record in file.records.dropFirst() {
      for entry in record.value["layers"]?.arrayValue ?? [] {
        let solution = try Self.solution(entry, record.tensors, path)
        finished[solution.report.layer] = solution
      }
      if let block = try Self.learnedBlock(record, path) { learned[block.report.block] = block }
    }
  }

  /// Layers that were finished before.
  public var finishedCount: Int { finished.count }

  /// The solutions of all these layers; nil when one of them is not finished.
  func solutions(of layers: [String]) -> [LayerSolution]? {
    let known = layers.compactMap { finished[$0] }
    return known.count == layers.count ? known : nil
  }

  /// Adds layers that are finished.
  /// - Throws: `JournalError`.
  func record(_ block: LearnedBlock) throws {
    try file.append(Self.record(of: block))
    learned[block.report.block] = block
  }

  /// Adds layers that are finished.
  /// - Throws: `JournalError`.
  func record(_ solutions: [LayerSolution]) throws {
    var tensors: OrderedDictionary<String, Tensor> = [:]
    var layers: [JSONValue] = []
    for solution in solutions {
      var entry = solution.report.json.objectValue ?? JSONObject()
      entry["rows"] = JSONValue(solution.matrix.rows)
      entry["columns"] = JSONValue(solution.matrix.columns)
      layers.append(.object(entry))
      for (name, plane) in solution.matrix.planes { tensors[solution.report.layer + "/" + name] = plane }
    }
    try file.append(JournalRecord(["layers": .array(layers)], tensors: tensors))
  }

  /// Removes the journal: the output is whole.
  public func remove() { file.remove() }

  private static func solution(
    _ entry: JSONValue, _ tensors: OrderedDictionary<String, Tensor>, _ path: String
  ) throws -> LayerSolution {
    guard let report = LayerReport(json: entry), let rows = entry["rows"]?.intValue,
      let columns = entry["columns"]?.intValue
    else { throw JournalError.damaged(file: path, offset: 0, problem: "a layer's report cannot be read") }
    let prefix = report.layer + "/"
    var planes: OrderedDictionary<String, Tensor> = [:]
    for (name, tensor) in tensors where name.hasPrefix(prefix) {
      planes[String(name.dropFirst(prefix.count))] = tensor
    }
    let matrix = try EncodedMatrix(
      codec: CodecRegistry.codec(canonicalName: report.codec), rows: rows, columns: columns, planes: planes)
    return LayerSolution(matrix: matrix, report: report)
  }
}

extension LayerReport {
  /// The row of a report.
  var json: JSONValue {
    .object([
      "layer": .string(layer), "method": .string(method), "codec": .string(codec),
      "relative_error": .number(relativeError), "rounding_relative_error": .number(roundingRelativeError),
      "tokens": JSONValue(tokenCount), "dead_columns": JSONValue(deadColumnCount),
      "rounded_rows": JSONValue(roundedRowCount), "damping": .number(damping),
      "damping_retries": JSONValue(dampingRetryCount), "fallback": fallback.map { .string($0) } ?? .null,
      "unrefined_relative_error": unrefinedRelativeError.map { .number($0) } ?? .null,
      "uncorrected": uncorrected.map { .string($0) } ?? .null,
      "bits_per_weight": .number(bitsPerWeight),
    ])
  }

  /// Reads what ``json`` wrote; nil when something is missing.
  init?(json: JSONValue) {
    guard let layer = json["layer"]?.stringValue, let method = json["method"]?.stringValue,
      let codec = json["codec"]?.stringValue, let error = json["relative_error"]?.doubleValue,
      let rounding = json["rounding_relative_error"]?.doubleValue, let tokens = json["tokens"]?.intValue,
      let dead = json["dead_columns"]?.intValue, let rounded = json["rounded_rows"]?.intValue,
      let damping = json["damping"]?.doubleValue, let retries = json["damping_retries"]?.intValue,
      let bits = json["bits_per_weight"]?.doubleValue
    else { return nil }
    self.init(
      layer: layer, method: method, codec: codec, relativeError: error, roundingRelativeError: rounding,
      tokenCount: tokens, deadColumnCount: dead, roundedRowCount: rounded, damping: damping,
      dampingRetryCount: retries, fallback: json["fallback"]?.stringValue,
      unrefinedRelativeError: json["unrefined_relative_error"]?.doubleValue,
      uncorrected: json["uncorrected"]?.stringValue, bitsPerWeight: bits)
  }
}
