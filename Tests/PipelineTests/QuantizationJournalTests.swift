import Calibration
import Codecs
import Journal
import Pipeline
import Quantization
import SafeIO
import TensorCore
import TestSupport
import Testing

@Suite struct QuantizationJournalTests {
  let directory = TemporaryDirectory()
  let output = TemporaryDirectory()
  let tiny: LoadedModel

  struct Stop: Error {}

  init() throws {
    try TestModels.writeTiny(to: directory)
    tiny = try ModelFormats.load(directory.path)
  }

  private func stage(_ recipe: QuantizationRecipe) -> QuantizationStage {
    QuantizationStage(model: tiny, recipe: recipe, pool: TestModels.pool)
  }

  private func bytes(_ model: QuantizedModel, _ name: String) throws -> [UInt8] {
    let path = output.file(name)
    try ModelContainers.container(named: "adze", output: path).write(model, to: path)
    return try TestModels.bytes(path)
  }

  /// Stops a run after each number of progress reports, and lets the next go on: the bytes are those of one run, and
  /// finished layers are not solved again.
  @Test(arguments: ["rtn", "gptq"]) func anInterruptedRunGoesOn(_ method: String) throws {
    let recipe = try TestModels.recipe(method)
    let calibration =
      method == "rtn" ? CalibrationSource.none : .windows(TestModels.tinyWindows())
    let whole = try stage(recipe).run(calibration: calibration)
    let expected = try bytes(whole, "whole.adze")
    let path = output.file("x.adze.journal")
    var finishedBefore: [Int] = []
    var result: QuantizedModel?
    var allowed = 0
    while result == nil {
      allowed += 3
      let journal = try stage(recipe).journal(at: path, calibration: calibration)
      finishedBefore.append(journal.finishedCount)
      var reported = 0
      do {
        result = try stage(recipe).run(calibration: calibration, journal: journal) { _ in
          reported += 1
          if reported > allowed { throw Stop() }
        }
        journal.remove()
      } catch is Stop {}
    }
    let resumed = try #require(result)
    #expect(finishedBefore.contains { $0 > 0 && $0 < whole.reports.count }, "\(finishedBefore)")
    #expect(finishedBefore == finishedBefore.sorted())
    #expect(resumed.reports == whole.reports)
    #expect(try bytes(resumed, "resumed.adze") == expected)
    #expect(output.entries == ["resumed.adze", "whole.adze"])
  }

  @Test func aJournalOfOtherWorkIsRefused() throws {
    let path = output.file("x.journal")
    let windows = CalibrationSource.windows(TestModels.tinyWindows())
    _ = try stage(TestModels.recipe("gptq", "int4")).journal(at: path, calibration: windows)
    let recipe = #expect(throws: PipelineError.self) {
      _ = try stage(TestModels.recipe("gptq", "int8")).journal(at: path, calibration: windows)
    }
    #expect(recipe?.diagnostic.subject == "recipe")
    let corpus = #expect(throws: PipelineError.self) {
      _ = try stage(TestModels.recipe("gptq", "int4")).journal(at: path, calibration: .none)
    }
    #expect(corpus?.diagnostic.subject == "calibration")
    #expect(corpus?.diagnostic.status == .badInput)
    _ = try stage(TestModels.recipe("gptq", "int4")).journal(at: path, calibration: windows)
  }

  @Test func aJournalWithStrangeLayersIsRefused() throws {
    let path = output.file("x.journal")
    let recipe = try TestModels.recipe("rtn")
    _ = try stage(recipe).journal(at: path, calibration: .none)
    do {
      let file = try JournalFile(path: path)
      try file.append(JournalRecord(["layers": [["layer": "x"]]]))
    }
    #expect(throws: JournalError.self) { _ = try stage(recipe).journal(at: path, calibration: .none) }
  }
}
