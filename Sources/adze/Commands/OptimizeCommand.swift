import ArgumentParser
import Evaluation
import Execution
import GraphDrawing
import GraphIR
import GraphPasses
import Pipeline
import SafeIO

struct OptimizeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "optimize", abstract: "Run the graph passes: see, prove and keep what they do.",
    discussion: """
      GRAPH is a model, or a file in the textual form of graphs. Every pass is followed by the verifier; one that leaves a \
      graph which is not valid, or with --prove other results than it promises, ends the run with status 70, and the \
      graph before it is written for others to see. --list names the passes and their order.
      """)

  @Argument(help: "A model, or a graph in the textual form.") var graph: String?
  @Option(
    name: [.short, .long],
    help: ArgumentHelp("Write the result: a packed model, or the graph for FILE.ir.", valueName: "file"))
  var output: String?
  @Flag(help: "List the passes.") var list = false
  @Flag(help: "Say of each pass where it fired and why not elsewhere.") var explain = false
  @Option(help: ArgumentHelp("Passes in order, separated by commas.", valueName: "list")) var passes: String?
  @Option(help: ArgumentHelp("Leave out what comes after the first pass of this name.", valueName: "name"))
  var stopAfter: String?
  @Option(
    help: ArgumentHelp(
      "Print the graph after every pass (all), after those that fired (changed), or after one.",
      valueName: "all|changed|name"))
  var printIrAfter: String?
  @Flag(help: "Run the graph before and after each pass on the same numbers; differences are errors.")
  var prove = false
  @Option(help: ArgumentHelp("Draw one block before and after.", valueName: "file.svg")) var draw: String?
  @Option(help: "Which block to draw, from 0 (default: 0).") var block: Int?
  @Option(help: ArgumentHelp("Where the graph before a failing pass is written.", valueName: "file.ir"))
  var reproducer: String = "adze-reproducer.ir"
  @Option(
    help: ArgumentHelp(
      "Count how often passes fire in every golden model and every graph FILE.ir in a directory; repeatable.",
      valueName: "dir"))
  var goldens: [String] = []
  @Flag(help: "Print one JSON object.") var json = false
  @OptionGroup var execution: ExecutionArguments

  func validate() throws {
    guard graph != nil || list || !goldens.isEmpty else {
      throw ValidationError("Give a GRAPH, --list, or --goldens DIR.")
    }
    guard block == nil || draw != nil else { throw ValidationError("--block goes with --draw.") }
    guard block ?? 0 >= 0 else { throw ValidationError("--block is not negative.") }
    guard printIrAfter == nil || !json else {
      throw ValidationError("--print-ir-after and --json both print on standard output.")
    }
  }

  func run() throws {
    if list { try printPasses() }
    if !goldens.isEmpty { try printTable() }
    guard let graph else { return }
    let pipeline = try chosenPasses()
    let subject = try OptimizationSubject.open(graph)
    for warning in subject.model?.warnings ?? [] { Console.warn(warning) }
    try checkOutput(subject)
    let proof = prove ? try GraphProof(subject, pool: execution.pool()) : nil
    let stage = OptimizationStage(pipeline, proof: proof, reproducer: reproducer)
    let result = try stage.run(subject) { step, graph in
      try Interruption.check()
      try printGraph(after: step.report, graph)
    }
    if json {
      var object: JSONObject = ["path": .string(subject.path), "name": .string(subject.name)]
      for (key, value) in result.json { object[key] = value }
      try Console.print(.object(object))
    } else if printIrAfter == nil {
      try Console.write(OptimizationText(result, explains: explain).text)
      if explain, let program = try result.program(subject, options: executionOptions()) {
        try printKernels(program.kernelChoices)
        try printRoundedInputs(program.roundedInputs)
      }
    }
    if let draw { try write(drawing: draw, subject, result) }
    if let output { try write(output, subject, result, pipeline) }
  }

  private func printPasses() throws {
    let standard = PassPipeline.standard.passes.map(\.name)
    var table = TextTable(
      ["pass", "standard", "promise", "what it does"], alignments: [.leading, .leading, .leading, .leading])
    for pass in PassRegistry.all {
      let places = standard.indices.filter { standard[$0] == pass.name }.map { "\($0 + 1)" }
      table.addRow([
        pass.name, places.isEmpty ? "by name only" : places.joined(separator: ", "),
        pass.promise == .exact ? "same bits" : "1e-5", pass.summary,
      ])
    }
    try Console.write(table.plain)
  }

  private func executionOptions() throws -> ExecutionOptions {
    ExecutionOptions(kernels: try execution.kernels())
  }

  private func printKernels(_ choices: [KernelChoice]) throws {
    guard !choices.isEmpty else { return }
    var table = TextTable(
      ["steps", "operation", "shape", "stored as", "kernel", "because"],
      alignments: [.trailing, .leading, .leading, .leading, .leading, .leading])
    for choice in choices {
      table.addRow([
        "\(choice.count)", choice.operation, choice.shape.map(String.init).joined(separator: " x "),
        choice.encodings.joined(separator: ", "), choice.kernel, choice.reason,
      ])
    }
    try Console.write("\n" + table.plain)
  }

  /// Where the codes of inputs are made, and why not elsewhere.
  private func printRoundedInputs(_ inputs: [RoundedInput]) throws {
    guard !inputs.isEmpty else { return }
    var text =
      "\ncodes of inputs: \(inputs.count { $0.reason == nil }) of \(inputs.count) by the norm before\n"
    var reasons: [String?] = []
    for input in inputs where !reasons.contains(input.reason) { reasons.append(input.reason) }
    for reason in reasons {
      let sites = SiteList.text(inputs.filter { $0.reason == reason }.map(\.site))
      text += reason.map { "  not at  \(sites): \($0)\n" } ?? "  at      \(sites)\n"
    }
    try Console.write(text)
  }

  private func printTable() throws {
    var table = TextTable(["golden", "family"] + PassTable.passes, alignments: [.leading, .leading])
    let rows = try PassTable.goldens(in: goldens).map { path in
      try Interruption.check()
      return try PassTable.row(path)
    }
    for cells in PassTable.cells(rows) { table.addRow(cells) }
    try Console.write(table.markdown)
  }

  private func chosenPasses() throws -> PassPipeline {
    var pipeline = PassPipeline.standard
    if let passes { pipeline = try PassPipeline(names: passes.split(separator: ",").map(String.init)) }
    if let stopAfter { pipeline = try pipeline.stopping(after: stopAfter) }
    if let printIrAfter, !["all", "changed"].contains(printIrAfter),
      !pipeline.passes.contains(where: { $0.name == printIrAfter })
    {
      throw GraphPassError.unknownPass(printIrAfter)
    }
    return pipeline
  }

  private func isTextual(_ path: String) -> Bool { path.hasSuffix(".ir") }

  private func checkOutput(_ subject: OptimizationSubject) throws {
    guard let output, !isTextual(output) else { return }
    guard let model = subject.model else {
      throw PipelineError.usage(
        "a graph without weights cannot become a packed model", hint: "-o FILE.ir writes the graph")
    }
    _ = try model.requireCheckpoint()
  }

  private func printGraph(after report: PassReport, _ graph: Graph) throws {
    switch printIrAfter {
    case nil: return
    case "changed" where !report.changed: return
    case "all", "changed", report.pass:
      try Console.write("// after \(report.pass): \(report.firedCount) rewrites\n" + graph.printed())
    default: return
    }
  }

  private func write(
    drawing path: String, _ subject: OptimizationSubject, _ result: OptimizationStage.Result
  ) throws {
    let count = subject.graph.blocks.count
    if let block, block >= count {
      throw PipelineError.usage("--block \(block): the graph has \(count) blocks, numbered from 0", hint: nil)
    }
    let name = "\(FileReading.fileName(subject.path)), \(subject.name)"
    let before = try GraphDrawing(subject.graph, block: block, title: name + ", before")
    let after = try GraphDrawing(result.graph, block: block, title: name + ", after")
    try AtomicFile.write(Array(GraphDrawing.sideBySide([before, after]).utf8), to: path)
    Console.note("\(before.boxes.count) and \(after.boxes.count) boxes, written to \(path)")
  }

  private func write(
    _ path: String, _ subject: OptimizationSubject, _ result: OptimizationStage.Result,
    _ pipeline: PassPipeline
  ) throws {
    guard !isTextual(path), let model = subject.model else {
      for file in [subject.path] + (subject.model?.files ?? []) where FileReading.isSameFile(file, path) {
        throw PipelineError.outputIsInput(path: path)
      }
      try AtomicFile.write(Array(result.graph.printed().utf8), to: path)
      return Console.note("\(result.graph.nodes.count) nodes, written to \(path)")
    }
    var stage = try PackStage(model, options: PackOptions())
    stage.passes = pipeline
    let packed = try stage.write(to: path)
    Console.note("\(NumberFormat.bytes(packed.byteCount)), written to \(path)")
  }
}
