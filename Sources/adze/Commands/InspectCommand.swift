import ArgumentParser
import Evaluation
import GraphDrawing
import GraphIR
import Pipeline
import SafeIO

struct InspectCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect",
    abstract: "Show what a model is: architecture, sizes, storage, tokenizer, provenance.",
    discussion: """
      Reads headers only; weights stay on disk. Works on GGUF headers and statistics files, too. With --draw, the graph of \
      one block with embedding and head around it is written as a picture.
      """)

  @Argument(help: "The model.") var model: String
  @Flag(help: "List every tensor with its shape, type and bytes.") var tensors = false
  @Flag(help: "Print one JSON object.") var json = false
  @Option(help: ArgumentHelp("Draw the graph of one block.", valueName: "file.svg")) var draw: String?
  @Option(help: "Which block to draw, from 0 (default: 0).") var block: Int?

  func validate() throws {
    guard block == nil || draw != nil else { throw ValidationError("--block goes with --draw.") }
    guard block ?? 0 >= 0 else { throw ValidationError("--block is not negative.") }
  }

  func run() throws {
    let inspection = try ModelInspection(path: model)
    for warning in inspection.warnings { Console.warn(warning) }
    if let draw { try drawBlock(to: draw) }
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

  private func drawBlock(to path: String) throws {
    let source = try ModelFormats.load(model, checksValues: false)
    let count = source.graph.blocks.count
    if let block, block >= count {
      throw PipelineError.usage("--block \(block): the model has \(count) blocks, numbered from 0", hint: nil)
    }
    let drawing = try GraphDrawing(
      source.graph, block: block, title: "\(FileReading.fileName(source.path)), \(source.summary.family)")
    try AtomicFile.write(Array(drawing.svg.utf8), to: path)
    Console.note("\(drawing.boxes.count) boxes, written to \(path)")
  }
}
