import Codecs

/// How GPTQ goes through the columns of a layer.
public enum ColumnSequence: String, Sendable, CaseIterable {
  /// From the first to the last; scales are fitted to the compensated weights as their first column is reached.
  case natural
  /// By falling importance; scales are fitted to the original weights before.
  case importance
  /// Whole fits by falling importance, and so the columns inside of each; scales are fitted to compensated weights.
  case blocks
}

/// The order in which columns are rounded.
struct ColumnOrder {
  /// Column of each step.
  let columns: [Int]
  /// Whether the columns of a fit follow each other, so that parameters can be fitted when its first is reached.
  let keepsFits: Bool

  init(diagonal: [Float], fitLength: Int, sequence: ColumnSequence) {
    func byImportance(_ range: Range<Int>) -> [Int] {
      range.sorted { (diagonal[$0], -$0) > (diagonal[$1], -$1) }
    }
    switch sequence {
    case .natural:
      columns = Array(diagonal.indices)
    case .importance:
      columns = byImportance(diagonal.indices)
    case .blocks:
      let fits = stride(from: 0, to: diagonal.count, by: fitLength).map {
        $0..<min($0 + fitLength, diagonal.count)
      }
      let weights = fits.map { range in
        range.reduce(0.0) { $0 + Double(diagonal[$1]) } / Double(range.count)
      }
      columns = fits.indices.sorted { (weights[$0], -$0) > (weights[$1], -$1) }.flatMap {
        byImportance(fits[$0])
      }
    }
    keepsFits = sequence != .importance
  }
}
