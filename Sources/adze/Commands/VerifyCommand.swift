import ArgumentParser
import Evaluation
import OrderedCollections
import PackedModel
import Pipeline
import SafeIO
import TensorCore

struct VerifyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify", abstract: "Check every byte of a packed file against its checksums.",
    discussion:
      "Names each damaged section; exit status 65 when there is one. Then checks that the parts fit together."
  )

  @Argument(help: "The packed file.") var file: String
  @Flag(help: "Print one JSON object.") var json = false

  func run() throws {
    guard FileReading.exists(file) else { throw PipelineError.missing(path: file) }
    guard PackedFile.isPacked(path: file) else {
      throw PipelineError.unsupportedFormat(
        path: file, format: "verify", reason: "is no packed file", hint: "adze pack writes them")
    }
    let packed = try PackedFile(path: file, supportedFeatures: PackOptions.supportedFeatures)
    let bar = ProgressBar("verify")
    let problems = packed.verify { done, total in try? bar.update(Double(done) / Double(max(total, 1))) }
    try Interruption.check()
    bar.finish("\(packed.sections.count) sections")
    if problems.isEmpty { _ = try ModelFormats.load(file) }
    if json {
      try Console.print(
        JSONValue.object([
          "file": .string(file), "sections": JSONValue(packed.sections.count),
          "valid": .bool(problems.isEmpty),
          "damaged": .array(problems.map { .string($0.section) }),
        ]))
    } else if problems.isEmpty {
      try Console.print("\(file): valid, \(packed.sections.count) sections")
    }
    guard let first = problems.first else { return }
    for problem in problems { Console.note("\(file): \(problem)") }
    throw DamagedFile(
      diagnostic: Diagnostic(
        code: "packed.damaged", message: "\(problems.count) of \(packed.sections.count) sections are damaged",
        file: file,
        subject: first.section))
  }
}

/// Ends the process with the status of bad input after all problems were listed.
struct DamagedFile: DiagnosableError {
  let diagnostic: Diagnostic
}
