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
}
