import Codecs
import Journal
import OrderedCollections
import Quantization
import SafeIO
import TensorCore

extension QuantizationJournal {
  /// A block as a record: its report, and codec, rows, columns and planes of its weights.
  static func record(of block: LearnedBlock) throws -> JournalRecord {
    var tensors: OrderedDictionary<String, Tensor> = [:]
    var weights: [JSONValue] = []
    for (name, matrix) in block.matrices.sorted(by: { $0.key < $1.key }) {
      weights.append(
        .object([
          "name": .string(name), "codec": .string(matrix.codec.canonicalName), "rows": JSONValue(matrix.rows),
          "columns": JSONValue(matrix.columns),
        ]))
      for (plane, tensor) in matrix.planes { tensors[name + "/" + plane] = tensor }
    }
    return JournalRecord(
      .object(["learned": block.report.json, "weights": .array(weights)]), tensors: tensors)
  }

  /// Reads what ``record(of:)`` wrote; nil for other records.
  static func learnedBlock(_ record: JournalRecord, _ path: String) throws -> LearnedBlock? {
    guard let value = record.value["learned"] else { return nil }
    let damaged = JournalError.damaged(file: path, offset: 0, problem: "a block's report cannot be read")
    guard let report = BlockReport(json: value) else { throw damaged }
    var matrices: [String: EncodedMatrix] = [:]
    for entry in record.value["weights"]?.arrayValue ?? [] {
      guard let name = entry["name"]?.stringValue, let codec = entry["codec"]?.stringValue,
        let rows = entry["rows"]?.intValue, let columns = entry["columns"]?.intValue
      else { throw damaged }
      var planes: OrderedDictionary<String, Tensor> = [:]
      for (plane, tensor) in record.tensors where plane.hasPrefix(name + "/") {
        planes[String(plane.dropFirst(name.count + 1))] = tensor
      }
      matrices[name] = try EncodedMatrix(
        codec: CodecRegistry.codec(canonicalName: codec), rows: rows, columns: columns, planes: planes)
    }
    return LearnedBlock(matrices: matrices, report: report)
  }
}

extension BlockReport {
  /// The row of a report.
  var json: JSONValue {
    .object([
      "block": .string(block), "loss_before": .number(lossBefore), "loss_after": .number(lossAfter),
      "iterations": JSONValue(iterations), "kept_start": .bool(keptStart),
      "changed_codes": JSONValue(changedCodes), "layers": .array(layers.map { .string($0) }),
    ])
  }

  /// Reads what ``json`` wrote; nil when something is missing.
  init?(json: JSONValue) {
    guard let block = json["block"]?.stringValue, let before = json["loss_before"]?.doubleValue,
      let after = json["loss_after"]?.doubleValue, let iterations = json["iterations"]?.intValue,
      let kept = json["kept_start"]?.boolValue, let changed = json["changed_codes"]?.intValue,
      let layers = json["layers"]?.arrayValue
    else { return nil }
    self.init(
      block: block, lossBefore: before, lossAfter: after, iterations: iterations, keptStart: kept,
      changedCodes: changed, layers: layers.compactMap(\.stringValue))
  }
}

extension LearnedRounding {
  /// The options as they go into reports and journals.
  var json: JSONValue {
    .object([
      "iterations": JSONValue(iterations), "batch": JSONValue(batch),
      "windows": windows.map { JSONValue($0) } ?? .string("all"),
      "reach": reach.map { .number($0) } ?? .string("auto"), "scale_reach": .number(scaleReach),
      "inputs": .string(usesQuantizedInputs ? "quantized" : "float"), "seed": .string("\(seed)"),
      "model_iterations": JSONValue(modelIterations), "model_reach": .number(modelReach),
      "model_scale_reach": .number(modelScaleReach), "model_state_weight": .number(modelStateWeight),
      "model_self_generated": JSONValue(modelSelfGenerated),
    ])
  }
}
