import Glibc
import GraphIR
import GraphPasses
import TestSupport
import Testing

@Suite struct PassCaseTests {
  static let isBlessing = unsafe getenv("BLESS") != nil

  @Test func everyPassHasCasesAndEveryFileAPass() {
    let names = PassRegistry.all.map { $0.name }
    #expect(Set(names).count == names.count)
    #expect(Set(PassCaseFile.all.map(\.pass)) == Set(names))
    #expect(PassCaseFile.all.allSatisfy { $0.fileName == $0.pass + ".ir" && !$0.cases.isEmpty })
    for pass in PassRegistry.all { #expect(pass.summary.hasSuffix("."), "\(pass.name)") }
  }

  /// With `BLESS=1` in the environment the expected graphs are written anew instead.
  @Test(arguments: PassCaseFile.all)
  func casesAreRewrittenAsExpected(file: PassCaseFile) throws {
    var blessed = file
    let pass = try #require(PassRegistry.pass(named: file.pass))
    for (index, item) in file.cases.enumerated() {
      let before = try Graph(parsing: item.input)
      var after = before
      let report = try pass.run(&after)
      try after.verify()
      let printed = after.printed()
      if Self.isBlessing {
        blessed.cases[index].expected = printed
        continue
      }
      #expect(printed == item.expected, "\(item)\n\(firstDifference(printed, item.expected))")
      #expect(try Graph(parsing: printed) == after, "\(item)")
      #expect(report.changed == (after != before), "\(item)")
      #expect(report.firedCount == report.sites.count)
      var again = after
      #expect(try pass.run(&again).changed == false, "\(item) a second time")
      #expect(again == after, "\(item) a second time")
      var folds = FoldedConstants()
      folds.add(report)
      for seed: UInt64 in 1...2 {
        let expected = try Evaluation.values(of: before, seed: seed)
        let found = try Evaluation.values(of: after, seed: seed, folds: folds, original: before)
        let deviation = Evaluation.deviation(found, expected)
        #expect(deviation <= pass.promise.bound, "\(item), seed \(seed): \(deviation)")
      }
    }
    if Self.isBlessing { #expect(blessed.write()) }
  }

  /// The first line that is not equal.
  private func firstDifference(_ found: String, _ expected: String) -> String {
    let a = found.split(separator: "\n", omittingEmptySubsequences: false)
    let b = expected.split(separator: "\n", omittingEmptySubsequences: false)
    guard
      let line = (0..<max(a.count, b.count)).first(where: { $0 >= a.count || $0 >= b.count || a[$0] != b[$0] }
      )
    else { return "no difference" }
    return
      "line \(line + 1)\n  found    \(line < a.count ? a[line] : "")\n  expected \(line < b.count ? b[line] : "")"
  }
}
