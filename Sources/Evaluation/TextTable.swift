/// A table for terminals and documents.
public struct TextTable: Sendable, Equatable {
  /// Where the text of a column stands.
  public enum Alignment: Sendable {
    /// At the left, for words.
    case leading
    /// At the right, for numbers.
    case trailing
  }

  /// Headings of the columns.
  public private(set) var header: [String]
  /// Rows; each has a cell for every column.
  public private(set) var rows: [[String]] = []
  /// Alignment of each column.
  public private(set) var alignments: [Alignment]

  /// A table without rows. Columns beyond `alignments` are trailing.
  public init(_ header: [String], alignments: [Alignment] = []) {
    self.header = header
    self.alignments = (0..<header.count).map { $0 < alignments.count ? alignments[$0] : .trailing }
  }

  /// Adds columns at the right; rows that are there get empty cells.
  public mutating func addColumns(_ names: [String], alignment: Alignment = .trailing) {
    header += names
    alignments += names.map { _ in alignment }
    for index in rows.indices { rows[index] += names.map { _ in "" } }
  }

  /// Adds a row; missing cells are empty, those beyond the last column are dropped.
  public mutating func addRow(_ cells: [String]) {
    rows.append((0..<header.count).map { $0 < cells.count ? cells[$0] : "" })
  }

  /// Columns padded with spaces, a rule under the header, no space at the ends of lines.
  public var plain: String {
    let widths = widths(cells: { $0 })
    let rule = widths.map { String(repeating: "─", count: $0) }.joined(separator: "  ")
    let lines = [line(header, widths)] + [rule] + rows.map { line($0, widths) }
    return lines.map { $0 + "\n" }.joined()
  }

  /// A table in Markdown.
  public var markdown: String {
    func escape(_ cell: String) -> String {
      cell.split(separator: "|", omittingEmptySubsequences: false).joined(separator: "\\|")
        .split(separator: "\n", omittingEmptySubsequences: false).joined(separator: " ")
    }
    let widths = widths(cells: escape).map { max($0, 3) }
    func row(_ cells: [String]) -> String {
      let padded = cells.indices.map { pad(escape(cells[$0]), widths[$0], alignments[$0]) }
      return "| " + padded.joined(separator: " | ") + " |\n"
    }
    let rule = widths.indices.map { index in
      alignments[index] == .leading
        ? String(repeating: "-", count: widths[index])
        : String(repeating: "-", count: widths[index] - 1) + ":"
    }
    return row(header) + "| " + rule.joined(separator: " | ") + " |\n" + rows.map(row).joined()
  }

  /// Values separated by commas; cells with commas, quotation marks or line breaks are quoted (RFC 4180,
  /// lines end in LF).
  public var commaSeparated: String {
    func escape(_ cell: String) -> String {
      guard cell.unicodeScalars.contains(where: { ",\"\n\r".unicodeScalars.contains($0) }) else {
        return cell
      }
      return "\"" + cell.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"")
        + "\""
    }
    return ([header] + rows).map { $0.map(escape).joined(separator: ",") + "\n" }.joined()
  }

  private func widths(cells: (String) -> String) -> [Int] {
    header.indices.map { column in
      ([header] + rows).map { cells($0[column]).count }.max() ?? 0
    }
  }

  private func line(_ cells: [String], _ widths: [Int]) -> String {
    let text = cells.indices.map { pad(cells[$0], widths[$0], alignments[$0]) }.joined(separator: "  ")
    return String(text.reversed().drop { $0 == " " }.reversed())
  }

  private func pad(_ cell: String, _ width: Int, _ alignment: Alignment) -> String {
    let space = String(repeating: " ", count: max(0, width - cell.count))
    return alignment == .leading ? cell + space : space + cell
  }
}
