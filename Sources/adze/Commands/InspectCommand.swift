import ArgumentParser
import Evaluation
import Pipeline
import SafeIO

struct InspectCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect",
    abstract: "Show what a model is: architecture, sizes, storage, tokenizer, provenance.",
    discussion: "Reads headers only; weights stay on disk. Works on GGUF headers and statistics files, too.")

  @Argument(help: "The model.") var model: String
  @Flag(help: "List every tensor with its shape, type and bytes.") var tensors = false
  @Flag(help: "Print one JSON object.") var json = false

  func run() throws {
    let inspection = try ModelInspection(path: model)
    for warning in inspection.warnings { Console.warn(warning) }
    if json {
      try Console.print(inspection.json(withTensors: tensors))
      return
    }
    try Console.write(FactList.render(inspection.facts))
    guard tensors else { return }
    var list = TextTable(
      ["tensor", "shape", "type", "bytes", "bits/weight"], alignments: [.leading, .leading, .leading])
    for tensor in inspection.tensors {
      list.addRow([
        tensor.name, tensor.shape, tensor.encoding, NumberFormat.grouped(Double(tensor.byteCount)),
        NumberFormat.fixed(tensor.bitsPerWeight, 3),
      ])
    }
    try Console.write("\n" + list.plain)
  }
}
