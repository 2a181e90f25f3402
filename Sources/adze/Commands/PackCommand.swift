import ArgumentParser
import Evaluation
import GraphIR
import GraphPasses
import Pipeline

struct PackCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pack", abstract: "Turn a checkpoint into one file that starts at once.",
    discussion: """
      Passes rewrite the graph (fused projections, fused activations), weights are laid out as the kernels read them, \
      and the tokenizer and the model's history travel along. The sections are used where they lie in the file.
      """)

  @Argument(help: "The checkpoint.") var model: String
  @Option(name: [.short, .long], help: "File to write.") var output: String
  @Option(help: "Compress sections: zstd. Smaller to ship, unpacked into memory at start.") var compress:
    String?
  @Option(
    help:
      "auto, avx512, avx2 or neon: panels for kernels, the same for all of them; portable: plain planes for any reader."
  )
  var isa: String = "auto"
  @Flag(help: "Say what each pass did.") var explain = false
  @OptionGroup(title: "Cache") var cache: CacheArguments

  func validate() throws {
    guard compress == nil || compress == "zstd" else { throw ValidationError("--compress knows zstd.") }
  }

  private func explanation(_ report: PassReport) -> String {
    let misses = report.misses.map { "\n  not at \($0.site): \($0.reason)" }.joined()
    return "\(report.pass): \(report.firedCount) rewrites" + misses
  }

  func run() throws {
    let source = try ModelFormats.load(model)
    for warning in source.warnings { Console.warn(warning) }
    let options = PackOptions(
      layout: try PackOptions.layout(instructionSet: isa), compresses: compress != nil)
    try Interruption.check()
    var stage = try PackStage(source, options: options)
    if let format = cache.format { stage.setCache(format) }
    if let warning = stage.wideningWarning() { Console.warn(warning) }
    let result = try stage.write(to: output)
    let fired = result.passReports.filter { $0.firedCount > 0 }.map { "\($0.pass) \($0.firedCount)x" }
    if explain { for report in result.passReports { Console.note(explanation(report)) } }
    try Console.print(
      "\(output): \(NumberFormat.bytes(result.byteCount)), \(source.graph.nodes.count) nodes to \(result.graph.nodes.count)"
        + (fired.isEmpty ? "" : " (\(fired.joined(separator: ", ")))"))
  }
}
