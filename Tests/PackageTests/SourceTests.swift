import TestSupport
import Testing

/// Rules that hold for every file.
@Suite struct SourceTests {
  private static let root = SharedData.projectRoot
  private static let folders = ["Sources", "Formats", "Calibration", "Tests"]

  @Test func roomsDoWithoutFoundation() {
    for path in ["Sources", "Formats", "Calibration"].flatMap({ Files.swift(below: Self.root + "/" + $0) }) {
      #expect(
        !Files.text(path).split(separator: "\n").contains { $0.hasPrefix("import Foundation") },
        "\(Files.short(path))")
    }
  }

  @Test func everyFormatIsSpecified() {
    let formats = Set(
      Files.all(below: Self.root + "/Formats").compactMap {
        Files.short($0).split(separator: "/").dropFirst().first
      })
    #expect(formats.count >= 7)
    for format in formats {
      let document = Files.text(Self.root + "/Formats/\(format)/SPEC.md")
      #expect(document.count > 500, "Formats/\(format)/SPEC.md")
    }
  }

  @Test func filesAreShort() {
    let paths = Self.folders.flatMap { Files.swift(below: Self.root + "/" + $0) }
    #expect(paths.count > 100)
    for path in paths {
      let lines = Files.text(path).split(separator: "\n", omittingEmptySubsequences: false).count - 1
      #expect(lines <= 450, "\(Files.short(path)) has \(lines) lines")
    }
  }

  @Test func nothingIsLeftForLater() {
    let marks = ["TO" + "DO", "FIX" + "ME", "fatal" + "Error(", "try" + "!"]
    for path in ["Sources", "Formats", "Calibration"].flatMap({ Files.swift(below: Self.root + "/" + $0) }) {
      let text = Files.text(path)
      for mark in marks { #expect(!text.contains(mark), "\(Files.short(path)) contains \(mark)") }
    }
  }

  /// The table of hostile inputs names tests that are there, and leaves none of the 25 out.
  @Test func hostileInputsHaveTests() throws {
    let rows = Files.text(Self.root + "/SECURITY.md").split(separator: "\n").filter {
      $0.firstMatch(of: /^\| [0-9]+ \|/) != nil
    }
    #expect(
      rows.compactMap { $0.split(separator: " ").dropFirst().first.flatMap { Int($0) } } == Array(1...25))
    let tests = Files.swift(below: Self.root + "/Tests")
    for row in rows {
      let names = row.matches(of: /`([A-Za-z0-9]+)\.([A-Za-z0-9]+)`/)
      #expect(!names.isEmpty, "\(row)")
      for name in names {
        let files = tests.filter { $0.hasSuffix("/\(name.output.1).swift") }
        let isThere = files.contains { Files.text($0).contains("func \(name.output.2)(") }
        #expect(isThere, "\(name.output.0)")
      }
    }
  }
}
