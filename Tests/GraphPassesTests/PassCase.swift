import Glibc
import GraphIR
import TestSupport

/// One case of a file in `Cases/`: what a pass gets and what it must leave.
///
/// A file starts with `// pass: <name>`. Each case starts with `// case: <what it shows>`, then the input, `// ---`, and
/// the expected graph.
struct PassCase: Sendable, CustomStringConvertible {
  let pass: String
  let name: String
  let input: String
  var expected: String

  var description: String { "\(pass): \(name)" }
}

/// A file of cases.
struct PassCaseFile: Sendable, CustomStringConvertible {
  static let folder = SharedData.projectRoot + "/Tests/GraphPassesTests/Cases"

  let fileName: String
  let pass: String
  var cases: [PassCase]

  var description: String { fileName }
  var path: String { Self.folder + "/" + fileName }

  /// Every file of the folder, in the order of names.
  static let all: [PassCaseFile] = fileNames().compactMap(PassCaseFile.init)

  private static func fileNames() -> [String] {
    guard let directory = unsafe opendir(folder) else { return [] }
    defer { unsafe closedir(directory) }
    var names: [String] = []
    while let entry = unsafe readdir(directory) {
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in
        unsafe pointer.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
      }
      if name.hasSuffix(".ir") { names.append(name) }
    }
    return names.sorted()
  }

  /// Nil when the file has not the form above.
  init?(_ fileName: String) {
    self.fileName = fileName
    cases = []
    guard let text = Self.read(Self.folder + "/" + fileName) else { return nil }
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    guard let first = lines.first, first.hasPrefix("// pass: ") else { return nil }
    let pass = String(first.dropFirst("// pass: ".count))
    self.pass = pass
    for part in lines.dropFirst().split(whereSeparator: { $0.hasPrefix("// case: ") }, keepingSeparator: true)
    {
      guard let title = part.first, title.hasPrefix("// case: ") else { continue }
      let halves = part.dropFirst().split(separator: "// ---", omittingEmptySubsequences: false)
      guard let input = halves.first else { return nil }
      let expected = halves.count > 1 ? halves[1].joined(separator: "\n") : ""
      cases.append(
        PassCase(
          pass: pass, name: String(title.dropFirst("// case: ".count)), input: input.joined(separator: "\n"),
          expected: expected.trimmed + "\n"))
    }
  }

  /// Writes the cases back.
  func write() -> Bool {
    var text = "// pass: \(pass)\n"
    for item in cases { text += "// case: \(item.name)\n\(item.input.trimmed)\n// ---\n\(item.expected)" }
    guard let file = unsafe fopen(path, "w") else { return false }
    let written = unsafe fputs(text, file)
    return unsafe fclose(file) == 0 && written >= 0
  }

  private static func read(_ path: String) -> String? {
    guard let file = unsafe fopen(path, "r") else { return nil }
    defer { unsafe fclose(file) }
    var bytes: [UInt8] = []
    while case let byte = unsafe fgetc(file), byte != EOF { bytes.append(UInt8(truncatingIfNeeded: byte)) }
    return String(decoding: bytes, as: UTF8.self)
  }
}

extension ArraySlice<Substring> {
  /// Parts that each begin with a line for which `isStart` holds; what comes before the first one is a part too.
  fileprivate func split(
    whereSeparator isStart: (Substring) -> Bool, keepingSeparator: Bool
  ) -> [ArraySlice<Substring>] {
    var parts: [ArraySlice<Substring>] = []
    var start = startIndex
    for index in indices where isStart(self[index]) && index > start {
      parts.append(self[start..<index])
      start = index
    }
    return parts + [self[start...]]
  }
}

extension String {
  /// Without newlines at both ends.
  var trimmed: String {
    var text = Substring(self)
    while text.first == "\n" { text.removeFirst() }
    while text.last == "\n" { text.removeLast() }
    return String(text)
  }
}
