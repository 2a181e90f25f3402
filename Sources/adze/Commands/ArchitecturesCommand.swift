import Architectures
import ArgumentParser
import Kernels
import Pipeline
import SafeIO
import TensorCore

struct ArchitecturesCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "architectures",
    abstract: "List the model families that are read, or compare models with known logits.",
    discussion: """
      With --goldens, every directory in DIR that holds a model and expected.safetensors (input_ids and logits) is run \
      whole, in chunks, token by token and with int8 weights; the table shows the largest error of the logits in their \
      standard deviations, and – where pieces cannot equal the whole because frequencies follow its length. Exit status \
      65 when one is above its bound.
      """)

  @Option(help: "A directory of models with expected.safetensors; repeatable.") var goldens: [String] = []
  @Flag(help: "Print one JSON object.") var json = false
  @OptionGroup var execution: ExecutionArguments

  func run() throws {
    if goldens.isEmpty { try list() } else { try compare() }
  }

  private func list() throws {
    if json {
      return try Console.print(
        .object([
          "families": .array(
            ModelFamily.all.map { family in
              [
                "name": .string(family.name), "summary": .string(family.summary),
                "model_types": .array(family.modelTypes.map { .string($0) }),
                "architectures": .array(family.architectures.map { .string($0) }),
                "gguf": family.ggufArchitecture.map { .string($0) } ?? .null,
              ]
            })
        ]))
    }
    for family in ModelFamily.all {
      let gguf = family.ggufArchitecture.map { "; GGUF \($0)" } ?? ""
      try Console.print("\(family.name): \(family.summary)")
      try Console.print("  model_type \(family.modelTypes.joined(separator: ", "))\(gguf)")
    }
  }

  private func compare() throws {
    let pool = execution.pool()
    var rows: [JSONValue] = []
    var worst: WrongLogits?
    if !json {
      try Console.print(
        "golden | family | " + GoldenComparison.Mode.allCases.map(\.rawValue).joined(separator: " | "))
      try Console.print("---|---" + String(repeating: "|---", count: GoldenComparison.Mode.allCases.count))
    }
    for directory in try directories() {
      let golden = try GoldenComparison(directory: directory, pool: pool)
      var row: JSONObject = ["golden": .string(Self.name(directory)), "family": .string(golden.family)]
      var cells: [String] = []
      for mode in GoldenComparison.Mode.allCases {
        let key = mode.rawValue.replacing(" ", with: "_")
        guard golden.applies(mode) else {
          row[key] = .null
          cells.append("–")
          continue
        }
        let error = try golden.error(mode)
        row[key] = .number(error)
        cells.append(Self.text(error))
        if error > golden.bound(mode), worst == nil {
          worst = WrongLogits(directory: directory, mode: mode, error: error)
        }
      }
      rows.append(.object(row))
      if !json {
        try Console.print(([Self.name(directory), golden.family] + cells).joined(separator: " | "))
      }
    }
    if json { try Console.print(.object(["goldens": .array(rows)])) }
    if let worst { throw worst }
  }

  private func directories() throws -> [String] {
    try goldens.flatMap { parent in
      try FileReading.list(parent).sorted().map { parent + "/" + $0 }
        .filter { FileReading.exists($0 + "/expected.safetensors") }
    }
  }

  private static func name(_ directory: String) -> String {
    directory.split(separator: "/").last.map(String.init) ?? directory
  }

  /// Two digits and an exponent, or a fraction.
  private static func text(_ error: Double) -> String {
    guard error > 0, error.isFinite else { return "\(error)" }
    var (mantissa, exponent) = (error, 0)
    while mantissa < 1 { (mantissa, exponent) = (mantissa * 10, exponent - 1) }
    return "\((mantissa * 10).rounded() / 10)e\(exponent)"
  }
}

/// Ends the process with the status of bad input after the whole table was printed.
struct WrongLogits: DiagnosableError {
  let directory: String
  let mode: GoldenComparison.Mode
  let error: Double

  var diagnostic: Diagnostic {
    Diagnostic(
      code: "architectures.golden",
      message: "the logits differ from the known ones when run as '\(mode.rawValue)'",
      subject: directory, expected: "at most \(mode.bound) standard deviations", found: "\(error)")
  }
}
