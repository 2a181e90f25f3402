import Architectures
import Glibc
import OrderedCollections
import Pipeline
import SafeIO
import TestSupport
import Testing

/// The tables of FAMILIES.md that a run fills in: lines of family files, and the largest error of every golden in every mode.
struct FamilyDocument {
  static let sources = SharedData.projectRoot + "/Sources/Architectures"
  static let path = sources + "/FAMILIES.md"
  static let isBlessing = unsafe getenv("BLESS") != nil
  /// Stands for modes that cannot equal the whole sequence.
  static let none = "–"

  private(set) var text: String

  init() throws { text = String(decoding: try FileReading.readAll(Self.path, limit: 1 << 20), as: UTF8.self) }

  /// Cells of the rows of a table between its marks, without the two lines of its head.
  func rows(_ table: String) -> [[String]] {
    let (begin, end) = Self.marks(table)
    guard let from = text.firstRange(of: begin)?.upperBound, let to = text.firstRange(of: end)?.lowerBound,
      from <= to
    else { return [] }
    return text[from..<to].split(separator: "\n").dropFirst(2).map { line in
      line.split(separator: "|").map { cell in
        String(cell.drop { $0 == " " || $0 == "`" }.reversed().drop { $0 == " " || $0 == "`" }.reversed())
      }
    }
  }

  private static func marks(_ table: String) -> (String, String) {
    ("<!-- \(table) -->\n", "<!-- /\(table) -->")
  }

  /// Puts rows into the place of a table.
  mutating func replace(_ table: String, head: [String], rows: [[String]]) {
    let (begin, end) = Self.marks(table)
    guard let from = text.firstRange(of: begin)?.upperBound, let to = text.firstRange(of: end)?.lowerBound
    else {
      return
    }
    let lines = [head, head.map { _ in "---" }] + rows
    text.replaceSubrange(from..<to, with: lines.map { "| " + $0.joined(separator: " | ") + " |\n" }.joined())
  }

  func write() throws { try AtomicFile.write(Array(text.utf8), to: Self.path) }

  /// What GGUF calls families, each once.
  private static func architectures(of names: [String]) throws -> String {
    let families = try names.map { name in try #require(ModelFamily.all.first { $0.name == name }) }
    let known = OrderedSet(families.compactMap(\.ggufArchitecture))
    return known.isEmpty ? none : known.joined(separator: ", ")
  }

  /// File, lines, families and their names in GGUF of each source that registers families, most used first as the registry has them.
  static func files() throws -> [[String]] {
    try FileReading.list(sources).sorted().compactMap { file -> [String]? in
      guard file.hasSuffix(".swift") else { return nil }
      let source = String(
        decoding: try FileReading.readAll(sources + "/" + file, limit: 1 << 20), as: UTF8.self)
      let names = source.matches(of: /= decoder\(\s*name: "([^"]+)"/).map { String($0.output.1) }
      guard !names.isEmpty else { return nil }
      return [
        file, "\(source.split(separator: "\n", omittingEmptySubsequences: false).count - 1)",
        names.joined(separator: ", "), try architectures(of: names),
      ]
    }
  }

  /// Two digits and an exponent.
  static func text(_ error: Double) -> String {
    guard error > 0, error.isFinite else { return "\(error)" }
    let exponent = Int(log10(error).rounded(.down))
    let mantissa = (error / pow(10, Double(exponent)) * 10).rounded() / 10
    return "\(mantissa)e\(exponent)"
  }
}
