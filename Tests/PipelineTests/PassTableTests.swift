import Architectures
import GraphIR
import GraphPasses
import Pipeline
import SafeIO
import TestSupport
import Testing

/// The table of golden models and passes in Sources/GraphPasses/README.md is what `adze optimize --goldens` prints.
@Suite struct PassTableTests {
  static let path = SharedData.projectRoot + "/Sources/GraphPasses/README.md"
  static let graphs = SharedData.projectRoot + "/Tests/GraphPassesTests/Graphs"
  static let marks = ("<!-- firings -->\n", "<!-- /firings -->")

  private func text() throws -> String {
    String(decoding: try FileReading.readAll(Self.path, limit: 1 << 20), as: UTF8.self)
  }

  private func range(_ text: String) throws -> Range<String.Index> {
    let from = try #require(text.firstRange(of: Self.marks.0)?.upperBound)
    return from..<(try #require(text.firstRange(of: Self.marks.1)?.lowerBound))
  }

  private func table() throws -> [[String]] {
    let parents =
      [FamilyTests.own, Self.graphs] + (SharedData.isAvailable ? [SharedData.path("goldens")] : [])
    return PassTable.cells(try PassTable.goldens(in: parents).map(PassTable.row))
  }

  @Test(.enabled(if: !FamilyDocument.isBlessing, "the table is being written"))
  func theDocumentSaysHowOftenPassesFire() throws {
    let text = try text()
    let found = text[try range(text)].split(separator: "\n").map { line in
      line.split(separator: "|", omittingEmptySubsequences: false).dropFirst().dropLast().map { cell in
        cell.split(separator: " ").joined(separator: " ")
      }
    }
    #expect(
      found.first.map(Array.init) == ["golden", "family"] + PassTable.passes, "make bless writes the table")
    let rows = try table()
    for row in rows { #expect(found.contains { Array($0) == row }, "\(row)\nmake bless writes the table") }
    guard SharedData.isAvailable else { return }
    #expect(found.count == rows.count + 2)
    #expect(Set(rows.map { $0[1] }.filter { !$0.isEmpty }) == Set(ModelFamily.all.map(\.name)))
    for (number, pass) in PassTable.passes.enumerated() {
      #expect(rows.contains { !$0[2 + number].isEmpty }, "\(pass) fires nowhere")
    }
  }

  /// What passes make of the graphs that are not ours, those included that run by name only, is what they computed before.
  @Test func graphsOfOthersAreProved() throws {
    let paths = try PassTable.goldens(in: [Self.graphs])
    #expect(!paths.isEmpty)
    for path in paths {
      let subject = try OptimizationSubject.open(path)
      let proof = try GraphProof(subject, pool: TestModels.pool)
      let standard = try OptimizationStage(.standard, proof: proof).run(subject)
      #expect(standard.difference?.isExact == true, "\(path)")
      let folding = PassRegistry.all.filter { $0.promise == .close }.map { $0.init() }
      let folded = try OptimizationStage(PassPipeline(folding), proof: proof).run(subject)
      #expect(folded.difference?.keeps(.close) == true, "\(path)")
    }
  }

  /// Every document of the room names every pass.
  @Test func theDocumentNamesEveryPass() throws {
    let text = try text()
    for pass in PassTable.passes { #expect(text.contains("| `\(pass)` |"), "\(pass)") }
  }

  @Test(
    .enabled(
      if: FamilyDocument.isBlessing && SharedData.isAvailable, "only with BLESS=1 and the reference data"))
  func writeTheTable() throws {
    var text = try text()
    let head = ["golden", "family"] + PassTable.passes
    let lines = [head, head.map { _ in "---" }] + (try table())
    text.replaceSubrange(
      try range(text), with: lines.map { "| " + $0.joined(separator: " | ") + " |\n" }.joined())
    try AtomicFile.write(Array(text.utf8), to: Self.path)
  }
}
