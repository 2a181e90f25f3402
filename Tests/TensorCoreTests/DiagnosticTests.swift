import TensorCore
import Testing

@Suite struct DiagnosticTests {
  @Test func everyPartHasItsPlace() {
    let full = Diagnostic(
      code: "room.what", message: "something is wrong", file: "a/b.bin", subject: "w", offset: 12,
      expected: "x",
      found: "y", hint: "do this")
    #expect(
      full.rendered
        == "error[room.what]: a/b.bin: 'w' at byte 12: something is wrong (expected x, found y)\nhint: do this"
    )
    #expect(Diagnostic(code: "c", message: "m").rendered == "error[c]: m")
    #expect(Diagnostic(code: "c", message: "m", file: "f").rendered == "error[c]: f: m")
    #expect(Diagnostic(code: "c", message: "m", subject: "s").rendered == "error[c]: 's': m")
    #expect(Diagnostic(code: "c", message: "m", offset: 3).rendered == "error[c]: at byte 3: m")
    #expect(Diagnostic(code: "c", message: "m", expected: "e").rendered == "error[c]: m (expected e)")
    #expect(Diagnostic(code: "c", message: "m", found: "f").rendered == "error[c]: m (found f)")
    #expect(Diagnostic(code: "c", message: "m").status == .badInput)
  }

  @Test func textFromFilesCannotMoveTheCursorOrBreakLines() {
    let hostile = "a\nb\u{1B}[31m\r\u{0}\u{7F}\u{9B}\u{202E}\u{2066}z"
    let escaped = Diagnostic.escaped(hostile)
    #expect(escaped == "a\\u{a}b\\u{1b}[31m\\u{d}\\u{0}\\u{7f}\\u{9b}\\u{202e}\\u{2066}z")
    let rendered = Diagnostic(
      code: "c", message: hostile, file: hostile, subject: hostile, expected: hostile, found: hostile,
      hint: hostile
    ).rendered
    let controls = rendered.unicodeScalars.filter { $0.value < 0x20 || (0x7F...0x9F).contains($0.value) }
    #expect(controls.map(\.value) == [10])
    #expect(!rendered.unicodeScalars.contains { (0x202A...0x202E).contains($0.value) })
  }

  @Test func longTextIsCut() {
    let long = String(repeating: "é", count: 5000)
    #expect(Diagnostic.escaped(long).unicodeScalars.count == 301)
    #expect(Diagnostic.escaped(long).hasSuffix("…"))
    #expect(Diagnostic.escaped(String(repeating: "x", count: 300)).hasSuffix("x"))
    #expect(Diagnostic.escaped("abc", limit: 0) == "…")
    #expect(Diagnostic.escaped("", limit: 0).isEmpty)
    #expect(Diagnostic(code: "c", message: long, file: long, hint: long).rendered.unicodeScalars.count < 5000)
    #expect(Diagnostic.escaped("Größe 日本語 🙂") == "Größe 日本語 🙂")
  }

  @Test func errorsOfThisRoomPresentThemselves() {
    let errors: [TensorCoreError] = [
      .overflow("1 * 2"), .negative(-1), .byteCountMismatch(expected: 1, found: 2),
      .unsupportedElementType(.f4, purpose: "arithmetic"), .shapeMismatch(expected: "a", found: "b"),
    ]
    #expect(Set(errors.map(\.diagnostic.code)).count == errors.count)
    for error in errors {
      #expect(error.diagnostic.code.hasPrefix("tensor."))
      #expect(error.diagnostic.status == .badInput)
      #expect(error.description == error.diagnostic.rendered)
    }
    #expect(errors[2].description.contains("expected 1, found 2"))
  }

  @Test func exitStatusesAreThoseOfSysexits() {
    let statuses: [Diagnostic.ExitStatus] = [
      .usage, .badInput, .missingInput, .bug, .cannotCreateOutput, .inputOutput, .limit,
    ]
    #expect(statuses.map(\.rawValue) == [64, 65, 66, 70, 73, 74, 75])
  }
}
